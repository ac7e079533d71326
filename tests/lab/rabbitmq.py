"""A real RabbitMQ of the test's own on loopback, with its own port mapper, both ended by pid."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.admin.servers import answers, find_free_port
from tests.lab.daemon import start_daemon, stop_daemon
from tests.lab.warden import mark

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class RabbitMq:
    """A server that can be stopped and come back with its data."""

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
            **mark(),
        }
        argv = [epmd, "-port", str(mapper_port), "-address", "127.0.0.1"]
        self._mapper = start_daemon(argv, folder / "epmd.log", lambda: answers(mapper_port))
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
        self._server = start_daemon(
            [SERVER], log, lambda: "completed with" in log.read_text(), self._environment
        )

    def stop(self) -> None:
        """End the server in order."""
        stop_daemon(self._server)

    def close(self) -> None:
        """End the server and its port mapper."""
        for process in (self._server, self._mapper):
            stop_daemon(process)


@contextmanager
def run_rabbitmq(folder: Path, epmd: str) -> Iterator[str]:
    """Gives the URL of a server that runs meanwhile."""
    server = RabbitMq(folder, epmd)
    try:
        yield server.url
    finally:
        server.close()
