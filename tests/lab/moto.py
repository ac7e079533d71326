"""An AWS of the test's own: moto's server on loopback, with nothing in it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.admin.servers import answers, find_free_port
from tests.lab.daemon import run_daemon


@contextmanager
def run_moto(folder: Path) -> Iterator[str]:
    """Gives the value of AWS_ENDPOINT_URL; any key and any region will do."""
    port = find_free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with run_daemon(argv, folder / "moto.log", lambda: answers(port)):
        yield f"http://127.0.0.1:{port}"
