"""Control groups as lists of the processes of a part of the lab; they outlive the parents."""

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.lab.waiting import wait_until

ROOT = Path("/sys/fs/cgroup")
END_S = 10


def in_group(name: str) -> list[str]:
    """What to put before a program; a name must be one run's alone."""
    return ["sh", str(Path(__file__).with_name("in-group.sh")), name]


def end_group(name: str) -> None:
    """Kill what runs in the groups of this name, in every hierarchy, and remove them."""
    for pattern in (name, f"*/{name}"):  # of one hierarchy, or of several
        for group in ROOT.glob(pattern):
            wait_until(partial(_removed, group), f"{group} is still in use", END_S)


def _removed(group: Path) -> bool:
    for folder in sorted([group, *group.rglob("*/")], reverse=True):  # the deepest first
        with suppress(OSError):  # processes take a moment to leave; the caller comes back
            for pid in (folder / "cgroup.procs").read_text().split():
                assert int(pid) > 0, f"{folder} holds processes that we cannot see"
                os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
    return not group.exists()
