"""Find and end processes of this host by group, session and marker (Linux /proc, proc(5))."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.runners.environment import MARKER

#: How often a process that must go is looked for.
_LOOK_S = 0.02
#: Between SIGTERM and SIGKILL, and after SIGKILL.
_GRACE_S = 2.0


def end_processes(group: int, marker: str) -> bool:
    """SIGTERM, then SIGKILL after 2 s; True when nothing of the group or the marker is left.

    `group` is a session leader that nobody has waited for, so that its number is not used again.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        signal_group(group, number)
        for pid in find_processes(group, marker):
            _send(pid, number)
        if _gone_within(_GRACE_S, group, marker):
            return True
    return False


def signal_group(group: int, number: int) -> None:
    """Signal every process of a group that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or another user's: the search afterwards tells which


def find_processes(group: int, marker: str) -> list[int]:
    """Living processes of that group or session, or with that marker in their environment."""
    wanted = f"{MARKER}={marker}".encode()
    return [pid for pid in _living(group, wanted) if pid != os.getpid()]


def _living(group: int, wanted: bytes) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            after_name = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if after_name[0] in b"ZX":
                continue
            family = {int(after_name[2]), int(after_name[3])}
            if group in family or wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or it is another user's


def _gone_within(seconds: float, group: int, marker: str) -> bool:
    until = time.monotonic() + seconds
    while find_processes(group, marker):
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_S)
    return True


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # as in signal_group
