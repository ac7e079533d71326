"""pytest-celery's nodes as processes of this host: no Docker, no image, the same interface.

The plugin asks containers for little; this is all of it. `get_running_processes_info` is left
out: it looks into a container.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_celery import CeleryTestContainer, CeleryWorkerContainer

from app.admin.servers import find_free_port, start_redis
from tests.lab.daemon import stop_daemon
from tests.lab.warden import mark

PROJECT = Path(__file__).parents[2]
PASSWORD = "test-password"


class _ProcessNode:
    """The life of one process; `start` gives it."""

    # Read-only properties of the container that come to stand behind ours.
    name: str = ""
    id: str = ""

    def __init__(self, name: str, log: Path) -> None:
        # Without super(): the container's own wants one of Docker's.
        self.name = name
        self.id = name
        self._log = log
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    @property
    def status(self) -> str:
        return "running" if self.process.poll() is None else "exited"

    def ready(self) -> bool:
        return self.status == "running" and self._wait_ready()

    def reload(self) -> None:
        """Docker's view of a container grows old; ours of a process does not."""

    def logs(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def kill(self, signal: str | int = signal.SIGKILL) -> None:
        self.process.send_signal(_number(signal))
        self.process.wait(20)

    def restart(self, timeout: float) -> None:
        self.teardown(timeout)
        self._log.unlink(missing_ok=True)  # what it says of being ready must be new
        self.process = self.start()
        assert self.ready()

    def teardown(self, timeout: float = 20) -> None:
        stop_daemon(self.process, timeout)


def _number(given: str | int) -> int:
    return signal.Signals[given] if isinstance(given, str) else given


class ProcessRedis(_ProcessNode, CeleryTestContainer):
    """A broker; it keeps its data and its port when it is killed and started again."""

    ready_prompt = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = find_free_port()
        super().__init__("broker", folder / "redis.log")

    def start(self) -> subprocess.Popen[bytes]:
        server = start_redis(self._folder, self._port, PASSWORD)
        self._url = server.url
        return server.process

    @property
    def celeryconfig(self) -> dict:
        return {
            "url": self._url,
            "host_url": self._url,
            "hostname": "127.0.0.1",
            "port": self._port,
            "vhost": "0",
        }


class ProcessWorker(_ProcessNode, CeleryWorkerContainer):
    """A worker of ours, started as a Celery user starts one."""

    def __init__(self, folder: Path, queue: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._queue = queue
        self._environment = environment
        super().__init__("node-1", folder / "worker.log")

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "celery", "-A", "workers.entry", "worker"]
        argv += ["-Q", self._queue, "-n", f"{self.worker_name()}@{self.id}"]
        with self._log.open("wb") as sink:
            return subprocess.Popen(
                argv,
                cwd=self._folder,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(PROJECT),
                    **mark(),
                    **self._environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
