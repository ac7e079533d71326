"""What a file shall hold: a text of the plan, or an artifact."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.errors import StepError, UserError
from tasks.operations.base import OperationContext
from tasks.runners.sftp import too_large
from tool_catalog.model import Reason


@dataclass(frozen=True, slots=True)
class FileSource:
    """Bytes to write, read from their beginning."""

    bytes_: io.BufferedIOBase
    size_bytes: int
    #: Hex.
    sha256: str


@contextmanager
def open_source(parameters: Mapping[str, Any], context: OperationContext) -> Iterator[FileSource]:
    """`content` or `artifact`; raises StepError where it is too long or not the wanted one."""
    with _open(parameters, context) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        source = FileSource(file, file.seek(0, io.SEEK_END), sha256)
        file.seek(0)
        if source.size_bytes > parameters["max_bytes"]:
            raise too_large("what is to be written", source.size_bytes, parameters["max_bytes"])
        if parameters.get("sha256", sha256) != sha256:
            raise StepError(
                Reason.CHECK_FAILED,
                f"what is to be written has the SHA-256 {sha256}, not the wanted one; "
                "nothing was sent",
            )
        yield source


def _open(parameters: Mapping[str, Any], context: OperationContext) -> io.BufferedIOBase:
    if "content" in parameters:
        return io.BytesIO(parameters["content"].encode())
    try:
        return context.find_artifact(parameters["artifact"]["$artifact"]).open("rb")
    except UserError as error:  # no such artifact, or one that was altered
        raise StepError(Reason.NOT_FOUND, f"artifact: {error.message}") from None
