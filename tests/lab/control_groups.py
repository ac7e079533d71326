"""Control groups as lists of the processes of a part of the lab; they outlive the parents."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
END_S = 10


def end_group(name: str) -> None:
    """Kill what runs in the groups of this name, in every hierarchy, and remove them."""
    deadline = time.monotonic() + END_S
    for pattern in (name, f"*/{name}"):  # of one hierarchy, or of several
        for group in ROOT.glob(pattern):
            while not _removed(group):
                assert time.monotonic() < deadline, f"{group} is still in use"
                time.sleep(0.02)


def _removed(group: Path) -> bool:
    for folder in sorted([group, *group.rglob("*/")], reverse=True):  # the deepest first
        with suppress(OSError):  # processes take a moment to leave; the caller comes back
            for pid in (folder / "cgroup.procs").read_text().split():
                assert int(pid) > 0, f"{folder} holds processes that we cannot see"
                os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
    return not group.exists()
