"""A server as a child of the test: started, awaited, ended."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.waiting import wait_until

STOP_S = 30


@contextmanager
def run_daemon(argv: Sequence[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """A server that runs meanwhile; its output goes to `log`."""
    process = start_daemon(argv, log, ready)
    try:
        yield
    finally:
        stop_daemon(process)


def start_daemon(
    argv: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server and wait until it is ready; raises AssertionError with its log if it ends."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        wait_until(lambda: process.poll() is not None or ready(), log.read_text)
        assert process.poll() is None, f"{argv[0]} ended: {log.read_text()}"
    except BaseException:
        stop_daemon(process)
        raise
    return process


def stop_daemon(process: subprocess.Popen[bytes], timeout_s: float = STOP_S) -> None:
    """End a server in order; kill it when it does not end in time."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
