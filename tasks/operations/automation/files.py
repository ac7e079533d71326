"""Files of a host over SFTP: looked at, fetched, written."""

import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.errors import StepError
from app.step import LOCAL, State, StepResult
from tasks.operations.automation.file_source import FileSource, open_source
from tasks.operations.automation.placing import Placed, place
from tasks.operations.base import OperationContext
from tasks.runners.sftp import Entry, RemoteFiles, too_large
from tasks.runners.ssh import SshRunner
from tasks.scratch import scratch_folder
from tool_catalog.model import Reason


def stat(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """What lies at a path: `output` is {path, kind, size_bytes, mode, uid, gid, modified, sha256}.

    `kind` is file, directory, link, other or none; a link has a `link_target`, a file of at most
    `max_bytes` a `sha256`.
    """
    path, most = parameters["path"], parameters["max_bytes"]
    with _open(context) as files:
        found = files.look(path)
        if found is None:
            output = {"path": path, "kind": "none"}
            return StepResult(State.SUCCEEDED, f"{path} does not exist", output=output)
        output = {"path": path, "kind": found.kind, **_facts(found)}
        if found.kind == "link":
            output["link_target"] = files.read_link(path)
        if found.kind == "file" and found.size_bytes <= most:
            output["sha256"] = files.digest(path, most)
    summary = f"{path}: {found.kind}, {found.size_bytes:,} bytes, mode {output['mode']}"
    return StepResult(State.SUCCEEDED, summary, output=output)


def get(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Fetch a file: `output` is {path, artifact, size_bytes, sha256, mode, uid, gid, modified}.

    A link is followed. The host's own checksum and that of what came must agree.
    """
    path, most = parameters["path"], parameters["max_bytes"]
    with _scratch_file(context) as draft:
        with _open(context) as files, draft.open("wb") as sink:
            found = _find_readable(files, path, most)
            copied = files.read(path, sink.write, most)
            theirs = files.digest(path, most)
        if theirs != copied.sha256:
            message = f"{path} changed while it was copied; run the step again"
            raise StepError(Reason.NOT_VERIFIED, message, transient=True)
        if parameters.get("sha256", theirs) != theirs:
            message = f"{path} has the SHA-256 {theirs}, not the wanted one"
            raise StepError(Reason.NOT_VERIFIED, message)
        artifact = context.keep_artifact(draft, posixpath.basename(path))
    output = {"path": path, "artifact": artifact.id, "sha256": theirs, **_facts(found)}
    output["size_bytes"] = copied.size_bytes  # what lies under /proc says 0 of itself
    summary = f"{path}: {copied.size_bytes:,} bytes, kept as artifact {artifact.id}"
    return StepResult(State.SUCCEEDED, summary, output=output, artifacts=(artifact,))


def put(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Write a file: `output` is {path, size_bytes, sha256, mode, uid, gid, modified, replaced}.

    Nothing changes where content, mode and owner are there already. Nobody sees half a file: it
    is written beside its place, compared by checksum, and moved there in one step.
    """
    path = parameters["path"]
    with open_source(parameters, context) as source, _open(context) as files:
        placed = place(files, parameters, source, context.step)
        found = files.look(path)
    facts = _facts(found) if found else {}
    output = {"path": path, "sha256": source.sha256, **facts, "replaced": placed is Placed.OVER}
    summary = _tell(path, source, placed)
    changed = placed is not Placed.THERE
    return StepResult(State.SUCCEEDED, summary, output=output, changed=changed)


def _open(context: OperationContext) -> AbstractContextManager[RemoteFiles]:
    target, runner = context.step.target or LOCAL, context.runner()
    if not isinstance(runner, SshRunner):
        message = f"{target.name} is reached by {target.connection}: files go over SSH only"
        raise StepError(Reason.INVALID_PARAMETER, message)
    return runner.files(target, context.credential, context.control, context.user)


def _find_readable(files: RemoteFiles, path: str, most: int) -> Entry:
    found = files.look(path, follow=True)
    if found is None:
        link = files.look(path)
        leads = f" is a link to {files.read_link(path)}, which" if link else ""
        raise StepError(Reason.NOT_FOUND, f"{path}{leads} does not exist on {files.host}")
    if found.kind != "file":
        raise StepError(
            Reason.INVALID_PARAMETER,
            f"{path} on {files.host} is no plain file ({found.kind}); name one",
        )
    if found.size_bytes > most:
        raise too_large(path, found.size_bytes, most)
    return found


@contextmanager
def _scratch_file(context: OperationContext) -> Iterator[Path]:
    """An empty file for us alone; it is gone afterwards, unless it was moved away."""
    folder = scratch_folder(context.settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _facts(found: Entry) -> dict[str, Any]:
    return {
        "size_bytes": found.size_bytes,
        "mode": f"{found.mode:04o}",
        "uid": found.uid,
        "gid": found.gid,
        "modified": datetime.fromtimestamp(found.modified, UTC).isoformat(),
    }


def _tell(path: str, source: FileSource, placed: Placed) -> str:
    size = f"{source.size_bytes:,} bytes"
    words = {
        Placed.NEW: f"{path} written: {size}",
        Placed.OVER: f"{path} replaced: {size}",
        Placed.ADJUSTED: f"{path} has that content already; its mode or owner was set",
        Placed.THERE: f"{path} is already as asked for",
    }
    return words[placed]
