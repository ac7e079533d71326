"""Puts a file into its place on a host: beside it first, compared, then moved in one step."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Self

from app.errors import StepError
from app.step import Step
from tasks.operations.automation.file_source import FileSource
from tasks.runners.sftp import Entry, RemoteFiles
from tool_catalog.model import Reason

_NEW_MODE = 0o644
#: The number in a line of getent: name, password, number.
_NUMBER = re.compile(rb"[^:\n]*:[^:\n]*:(\d+):")


class Placed(Enum):
    """What was done."""

    NEW = auto()
    OVER = auto()
    #: The content was there; mode or owner were not.
    ADJUSTED = auto()
    THERE = auto()


@dataclass(frozen=True, slots=True)
class _Traits:
    """Mode and owner that are asked for; None: as they were."""

    mode: int | None
    uid: int | None
    gid: int | None

    @classmethod
    def read(cls, parameters: Mapping[str, Any], files: RemoteFiles) -> Self:
        mode = parameters.get("mode")
        return cls(
            None if mode is None else int(mode, 8),
            _find_number(files, "passwd", parameters.get("owner")),
            _find_number(files, "group", parameters.get("group")),
        )

    def give(self, files: RemoteFiles, path: str, now: Entry, like: Entry) -> None:
        """Set on a file, which is `now`, what is asked for, else what `like` has."""
        owner = self._owner(like)
        if owner != (now.uid, now.gid):
            files.set_owner(path, *owner)
        mode = like.mode if self.mode is None else self.mode
        if mode != now.mode or owner != (now.uid, now.gid):  # a change of owner takes bits away
            files.set_mode(path, mode)

    def are_had_by(self, entry: Entry) -> bool:
        return self.mode in {None, entry.mode} and self._owner(entry) == (entry.uid, entry.gid)

    def _owner(self, like: Entry) -> tuple[int, int]:
        return (
            like.uid if self.uid is None else self.uid,
            like.gid if self.gid is None else self.gid,
        )


def place(
    files: RemoteFiles, parameters: Mapping[str, Any], source: FileSource, step: Step
) -> Placed:
    """Make a path hold a source; raises StepError with the path as it was."""
    path = parameters["path"]
    before = _find_place(files, path)
    traits = _Traits.read(parameters, files)
    if before is not None and _holds(files, path, before, source):
        if traits.are_had_by(before):
            return Placed.THERE
        files.arm()
        traits.give(files, path, before, before)
        return Placed.ADJUSTED
    if before is not None and not parameters["overwrite"]:
        raise _occupied(files, path)
    with _draft(files, path, step) as draft:
        _write(files, draft, source)
        _dress(files, draft, before, traits)
        files.arm()
        if before is not None:
            files.replace(draft, path)
        else:
            _move(files, draft, path)
    return Placed.NEW if before is None else Placed.OVER


def _find_place(files: RemoteFiles, path: str) -> Entry | None:
    """The file that is there; raises StepError where none can be."""
    folder = posixpath.dirname(path)
    above = files.look(folder, follow=True)
    if above is None:
        message = f"the folder {folder} does not exist on {files.host}; make it first"
        raise StepError(Reason.NOT_FOUND, message)
    found = files.look(path)
    if above.kind != "directory" or (found is not None and found.kind == "directory"):
        wrong = path if above.kind == "directory" else folder
        is_ = "a folder; name a file in it" if wrong == path else "no folder"
        raise StepError(Reason.INVALID_PARAMETER, f"{wrong} on {files.host} is {is_}")
    if found is not None and found.kind != "file":
        leads = f"a link to {files.read_link(path)}" if found.kind == "link" else "no plain file"
        message = f"{path} on {files.host} is {leads}; name the file itself, or remove it first"
        raise StepError(Reason.CONFLICT, message)
    return found


def _find_number(files: RemoteFiles, database: str, given: str | None) -> int | None:
    """The number of a user or group on the host."""
    if given is None or given.isdecimal():
        return None if given is None else int(given)
    found = _NUMBER.match(files.ask("getent", database, given))
    if found is None:
        kind = "user" if database == "passwd" else "group"
        raise StepError(
            Reason.NOT_FOUND,
            f"{files.host} knows no {kind} {given}; add it there, or give a number",
        )
    return int(found[1])


def _holds(files: RemoteFiles, path: str, entry: Entry, source: FileSource) -> bool:
    same_size = entry.size_bytes == source.size_bytes
    return same_size and files.digest(path, source.size_bytes) == source.sha256


@contextmanager
def _draft(files: RemoteFiles, path: str, step: Step) -> Iterator[str]:
    """A name beside the path, free of what lost attempts left there; nothing has it afterwards."""
    stem = posixpath.join(posixpath.dirname(path), f".opsfarm-{step.execution_id.hex}-{step.id}")
    for attempt in range(1, step.attempt):
        files.remove(f"{stem}-{attempt}")
    draft = f"{stem}-{step.attempt}"
    try:
        yield draft
    except BaseException as error:
        with suppress(StepError):  # what went wrong is told, not that it cannot be tidied up
            files.remove(draft)
        if isinstance(error, StepError) and draft in error.message:
            error.message = error.message.replace(draft, path)
            error.args = (error.message,)
        raise


def _write(files: RemoteFiles, draft: str, source: FileSource) -> None:
    files.write(draft, source.bytes_, source.size_bytes)
    theirs = files.digest(draft, source.size_bytes)
    if theirs != source.sha256:
        raise StepError(
            Reason.NOT_VERIFIED,
            f"{draft} on {files.host} has the SHA-256 {theirs}, not {source.sha256}; "
            "nothing was put in place",
            transient=True,
        )


def _dress(files: RemoteFiles, draft: str, before: Entry | None, traits: _Traits) -> None:
    now = files.look(draft)
    if now is None:
        raise StepError(Reason.CONFLICT, f"somebody removed {draft} on {files.host}")
    # Another content shall not inherit that it runs as its owner.
    mode = _NEW_MODE if before is None else before.mode & 0o777
    traits.give(files, draft, now, replace(before or now, mode=mode))


def _move(files: RemoteFiles, draft: str, path: str) -> None:
    """To a place that was free; somebody may have taken it meanwhile."""
    try:
        files.put_in_place(draft, path)
    except StepError as error:
        if error.reason is Reason.REFUSED_BY_DEVICE and files.look(path) is not None:
            raise _occupied(files, path) from None
        raise


def _occupied(files: RemoteFiles, path: str) -> StepError:
    return StepError(
        Reason.CONFLICT,
        f"{path} on {files.host} has another content; say overwrite: true to replace it",
    )
