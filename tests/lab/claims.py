"""Numbers that runs hold on this machine, and what is swept up after runs that died (root).

A number stands for names and addresses that only one run may use. Its file names the process
that holds it; when that process is gone, the next claim sweeps up what was left, then takes it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/opsfarm-lab")


@dataclass(frozen=True)
class Claim:
    """A number that is ours until `release`."""

    kind: str
    number: int
    sweep: Callable[[int], None]

    def release(self) -> None:
        """Sweep up, and let others have the number."""
        with exclusive("claims"):
            self.sweep(self.number)
            _file(self.kind, self.number).unlink()


def claim(kind: str, last: int, sweep: Callable[[int], None]) -> Claim:
    """Take a number from 1 to `last`; `sweep(number)` removes what a dead holder left behind."""
    with exclusive("claims"):
        for path in RUN.glob(f"{kind}-*"):
            if not _is_alive(path.read_text()):
                sweep(int(path.name.rpartition("-")[2]))
                path.unlink()
        number = next(n for n in range(1, last + 1) if not _file(kind, n).exists())
        _file(kind, number).write_text(_identity(os.getpid()))
    return Claim(kind, number, sweep)


def _file(kind: str, number: int) -> Path:
    return RUN / f"{kind}-{number}"


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold what this machine can have once only; other processes wait."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    with (RUN / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_alive(identity: str) -> bool:
    pid, _, _ = identity.partition(" ")
    return _identity(int(pid)) == identity


def _identity(pid: int) -> str:
    """A pid and when it started, in ticks since boot: a pid alone is given out again."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid} gone"
    return f"{pid} {'gone' if after_name[0] == 'Z' else after_name[19]}"
