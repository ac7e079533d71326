"""Find and end processes of this host by group, session, parent and marker (Linux, proc(5))."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tasks.runners.environment import MARKER

#: How often a process that must go is looked for.
_LOOK_S = 0.02
#: Between SIGTERM and SIGKILL, and after SIGKILL.
_GRACE_S = 1.0


def end_processes(group: int, marker: str) -> str:
    """SIGTERM, then SIGKILL after a second; what is left then, empty when all were seen to go.

    `group` is a session leader that nobody has waited for, so that its number is not used again.
    """
    family = Family(group, marker)
    family.find()  # while parents are there to tell their children by
    for number in (signal.SIGTERM, signal.SIGKILL):
        signal_group(group, number)
        if family.end(number, _GRACE_S):
            return ""
    return f"there is still {family.describe()}"


def signal_group(group: int, number: int) -> None:
    """Signal every process of a group that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or another user's: the search afterwards tells which


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    group: int
    session: int
    #: In ticks since the host started: a number that is used again has another.
    started: int


@dataclass(slots=True)
class Family:
    """A command's processes: of its group or session, with its marker, and all their children.

    Who was seen once still belongs to it when its parent has ended.
    """

    group: int
    marker: str
    _known: dict[int, _Process] = field(default_factory=dict)

    def find(self) -> list[int]:
        """Those that live now."""
        living = {each.pid: each for each in _living() if each.pid != os.getpid()}
        self._known = {
            each.pid: each for each in living.values() if self._knows(each) or self._is_rooted(each)
        }
        self._adopt(living)
        return list(self._known)

    def end(self, number: int, within_s: float) -> bool:
        """Signal each once; True when nothing is left within so many seconds."""
        until = time.monotonic() + within_s
        told: set[int] = set()
        while found := self.find():
            for pid in set(found) - told:
                _send(pid, number)
            told |= set(found)
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_S)
        return True

    def describe(self) -> str:
        """Those seen last, as "4242(sleep) 4243(sh)"."""
        return " ".join(f"{pid}({_name_of(pid)})" for pid in sorted(self._known))

    def _knows(self, process: _Process) -> bool:
        known = self._known.get(process.pid)
        return known is not None and known.started == process.started

    def _is_rooted(self, process: _Process) -> bool:
        if self.group in {process.group, process.session}:
            return True
        wanted = f"{MARKER}={self.marker}".encode()
        with suppress(OSError):  # it ended meanwhile, or it is another user's
            return wanted in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        return False

    def _adopt(self, living: dict[int, _Process]) -> None:
        """Add who shares a session with one of the family, and children of children."""
        while True:
            # A session that began outside of a container is 0 inside: it says nothing.
            sessions = {each.session for each in self._known.values()} - {0}
            more = {
                each.pid: each
                for each in living.values()
                if each.pid not in self._known
                and (each.parent in self._known or each.session in sessions)
            }
            if not more:
                return
            self._known |= more


def _living() -> Iterator[_Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if fields[0] not in b"ZX":
            numbers = (int(fields[place]) for place in (1, 2, 3, 19))
            yield _Process(int(entry.name), *numbers)


def _name_of(pid: int) -> str:
    with suppress(OSError):  # it ended meanwhile
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # as in signal_group
