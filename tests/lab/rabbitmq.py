"""A real RabbitMQ of the test's own on loopback, with its own port mapper, both ended by pid."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.admin.servers import find_free_port

START_S = 60
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class RabbitMq:
    """A server that can be killed and come back with its data."""

    def __init__(self, folder: Path, epmd: str) -> None:
        """`epmd` is Erlang's port mapper, which would stay behind as a daemon."""
        self._folder = folder
        mapper_port, self._port = find_free_port(), find_free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_NODENAME": f"test-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(find_free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        }
        argv = [epmd, "-port", str(mapper_port), "-address", "127.0.0.1"]
        self._mapper = subprocess.Popen(argv)
        self._starts = 0
        self.start()

    @property
    def url(self) -> str:
        """The broker URL of its default user."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        """Start it, with the data that it had, and wait until it serves."""
        self._starts += 1
        log = self._folder / f"rabbitmq-{self._starts}.log"
        with log.open("wb") as sink:
            self._server = subprocess.Popen(
                [SERVER], env=self._environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        deadline = time.monotonic() + START_S
        while "completed with" not in log.read_text():
            assert self._server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server in order."""
        self._server.terminate()
        self._server.wait(30)

    def close(self) -> None:
        """End the server and its port mapper."""
        if self._server.poll() is None:
            self.stop()
        self._mapper.terminate()
        self._mapper.wait(10)


@contextmanager
def run_rabbitmq(folder: Path, epmd: str) -> Iterator[str]:
    """Gives the URL of a server that runs meanwhile."""
    server = RabbitMq(folder, epmd)
    try:
        yield server.url
    finally:
        server.close()
