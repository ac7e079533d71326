"""The state folder of an embedded farm: where each file lies, who holds it, what runs."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.errors import ConfigError, FarmUnreachable

#: How long a second `opsfarm up` waits for readers of the lock before it gives way.
LOCK_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The places in it. Nothing that the farm keeps lies anywhere else."""

    path: Path

    @property
    def farm_file(self) -> Path:
        """Addresses and ports, for every command that wants to find the farm."""
        return self.path / "farm.json"

    @property
    def admin_key_file(self) -> Path:
        """The API key of the administrator made on first start."""
        return self.path / "admin.key"

    @property
    def secret_key_file(self) -> Path:
        """The key that seals secrets; without it they cannot be read again."""
        return self.path / "secret.key"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.path / "logs"

    @property
    def status_file(self) -> Path:
        """What the supervisor sees, written at each change."""
        return self.path / "run" / "status.json"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor for as long as it lives; its text is its process id."""
        return self.path / "run" / "supervisor.lock"

    def make(self) -> None:
        """Make the folders. The servers' user passes through the first; the rest is ours."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o711)
        for name in ("logs", "run", "artifacts", "cache", "tmp"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)

    def log_of(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"


@dataclass(frozen=True, slots=True)
class FarmFile:
    """What `farm.json` holds: how to reach the farm. Its URLs contain passwords."""

    api_url: str
    flower_url: str
    database_url: str
    broker_url: str
    #: "api", "flower", "postgres", "redis" to the port taken.
    ports: dict[str, int]
    #: The file that says who may do what unasked.
    policy: str = ""

    def show(self) -> dict[str, Any]:
        """What anybody may see of it."""
        hidden = ("database_url", "broker_url")
        return {name: value for name, value in asdict(self).items() if name not in hidden}


class ProcessState(StrEnum):
    """What became of a process of the farm."""

    RUNNING = "running"
    #: It ended by itself and is started again after a pause.
    RESTARTING = "restarting"
    #: It said that its configuration is wrong (exit status 78); it is started again all the same.
    REFUSED = "refused"
    #: It said that this host cannot serve it (exit status 77); its last line says why.
    NOT_POSSIBLE = "not possible here"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process as the supervisor sees it."""

    name: str
    state: ProcessState
    pid: int | None
    #: Seconds since the epoch of its last start.
    since: float
    restarts: int
    note: str = ""


class FarmState(StrEnum):
    """What the supervisor is about."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FarmStatus:
    """What the supervisor last wrote about itself and its processes."""

    pid: int
    state: FarmState
    #: What it is doing, or why it failed.
    message: str
    processes: Sequence[ProcessStatus] = ()


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def write_farm(folder: StateFolder, farm: FarmFile) -> None:
    """Keep the addresses."""
    write_private(folder.farm_file, json.dumps(asdict(farm), indent=2) + "\n")


def read_farm(folder: StateFolder) -> FarmFile | None:
    """The addresses of the last start; None when there was none or the file was damaged."""
    try:
        return FarmFile(**json.loads(folder.farm_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_status(folder: StateFolder, status: FarmStatus) -> None:
    """Tell everybody who asks."""
    write_private(folder.status_file, json.dumps(asdict(status)) + "\n")


def read_status(folder: StateFolder) -> FarmStatus | None:
    """What the last supervisor wrote; it may be dead by now (see `find_supervisor`)."""
    try:
        given = json.loads(folder.status_file.read_text())
        given["state"] = FarmState(given["state"])
        given["processes"] = [
            ProcessStatus(**(each | {"state": ProcessState(each["state"])}))
            for each in given["processes"]
        ]
        return FarmStatus(**given)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def hold_lock(folder: StateFolder) -> Iterator[None]:
    """Be the farm's only supervisor; raises ConfigError when there is one."""
    with folder.lock_file.open("a+") as lock:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ConfigError(f"a farm runs from {folder.path} already; see 'opsfarm status'")
            time.sleep(0.02)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


def find_supervisor(folder: StateFolder) -> int | None:
    """The process id of the living supervisor, or None. The lock dies with its holder."""
    try:
        with folder.lock_file.open() as lock:
            if _try_lock(lock.fileno(), fcntl.LOCK_SH):
                return None
            text = lock.read()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_farm(folder: StateFolder) -> tuple[FarmStatus, FarmFile]:
    """The living farm's status and addresses; raises FarmUnreachable saying how to start one."""
    status, farm = read_status(folder), read_farm(folder)
    if find_supervisor(folder) is None or status is None or farm is None:
        raise FarmUnreachable(f"no farm runs from {folder.path}; start one with 'opsfarm up'")
    return status, farm
