"""The folder where a process keeps files until they are kept or dropped.

A worker holds a lock on its own for as long as it lives. The kernel lets go of the lock however the
process ends, so the next worker finds what one that was killed left behind, and removes it.
"""

import fcntl
import logging
import os
import shutil
from pathlib import Path

from app.config import Settings

log = logging.getLogger(__name__)

_PREFIX = "worker-"
_TRIES = 10


def scratch_folder(settings: Settings) -> Path:
    """This process's own; made when it is needed."""
    host = settings.host.replace("/", "-")
    return settings.state_dir.absolute() / "run" / f"{_PREFIX}{host}-{os.getpid()}"


class Scratch:
    """Holds this process's folder from `hold` to `close`."""

    def __init__(self, settings: Settings) -> None:
        self._folder = scratch_folder(settings)
        self._lock: int | None = None

    def hold(self) -> None:
        """Take the folder, and remove those of processes that are gone."""
        # Another worker may just be removing it, as what the last owner of our pid left.
        for _ in range(_TRIES):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self._folder)
            if self._lock is not None:
                break
        for folder in self._folder.parent.glob(f"{_PREFIX}*"):
            if folder != self._folder:
                _remove_left(folder)

    def close(self) -> None:
        """Remove it."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def _remove_left(folder: Path) -> None:
    lock = _lock(folder)
    if lock is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
    log.info("removed what a lost worker left in %s", folder)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None while another process does, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = folder.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        os.close(descriptor)
        return None
    return descriptor
