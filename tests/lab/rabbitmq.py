"""A real RabbitMQ of the test's own on loopback, with its own port mapper, both ended by pid."""

import os
import subprocess
import time
from contextlib import contextmanager

from app.admin.servers import find_free_port

START_S = 60
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@contextmanager
def run_rabbitmq(folder, epmd):
    """Gives the URL; `epmd` is Erlang's port mapper, which would stay behind as a daemon."""
    mapper_port, port = find_free_port(), find_free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper_port),
        "RABBITMQ_NODENAME": f"test-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(find_free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }
    log = folder / "rabbitmq.log"
    mapper = subprocess.Popen([epmd, "-port", str(mapper_port), "-address", "127.0.0.1"])
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [SERVER], env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        _wait_until_started(server, log)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        server.terminate()
        server.wait(30)
        mapper.terminate()
        mapper.wait(10)


def _wait_until_started(server, log):
    deadline = time.monotonic() + START_S
    while "completed with" not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
