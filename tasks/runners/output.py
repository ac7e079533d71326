"""What a command prints: bounded in memory, cut into lines, what is longer kept in a file."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.command import Command
from tasks.runners.base import RawOutput, Whole

#: What of each stream is kept inline, from its beginning.
HEAD_BYTES = 256 * 1024
#: What of each stream's end is kept beside it: enough for 2,000 characters of UTF-8.
TAIL_BYTES = 8 * 1024
#: A longer line is cut before it is shown live.
LINE_BYTES = 16 * 1024
#: The cap of an artifact whose tool names none.
ARTIFACT_BYTES = 1024 * 1024 * 1024
#: The cap of what is kept in a file of a stream that is longer than its head.
WHOLE_BYTES = 256 * 1024 * 1024


class Stream:
    """One output stream of a running command: head, tail, and lines as they come.

    With a `folder` a stream that is longer than its head is kept whole in a file there.
    """

    def __init__(
        self, name: str, on_line: Callable[[str, str], None], folder: Path | None = None
    ) -> None:
        self._name = name
        self._on_line = on_line
        self._folder = folder
        self._file: ArtifactFile | None = None
        self._head = bytearray()
        self._tail = bytearray()
        self._line = bytearray()
        #: More came than the head holds.
        self.truncated = False

    def feed(self, data: bytes) -> None:
        """Take what was read; hand on each line that is complete."""
        room = HEAD_BYTES - len(self._head)
        if self._folder is not None and len(data) > room:
            self._keep_whole(self._folder, data)
        self._head += data[:room]
        self.truncated = self.truncated or len(data) > room
        self._tail += data[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._keep(line)
            self._show()
        self._keep(rest)

    def finish(self) -> None:
        """Hand on a last line that has no newline."""
        if self._line:
            self._show()
        if self._file is not None:
            self._file.finish()

    def discard(self) -> None:
        """Nobody will take its file."""
        if self._file is not None:
            self._file.discard()

    @property
    def whole(self) -> Whole | None:
        """The file of a stream that was longer than its head."""
        if self._file is None:
            return None
        return Whole(self._file.path, self._file.size_bytes, complete=not self._file.truncated)

    @property
    def head(self) -> bytes:
        """The first bytes; only whole lines when there were more, if there is a line end."""
        end = self._head.rfind(b"\n") + 1 if self.truncated else 0
        return bytes(self._head[: end or None])

    @property
    def tail(self) -> bytes:
        """The last bytes; only whole lines when there were more, if there is a line end."""
        start = self._tail.find(b"\n") + 1 if len(self._tail) == TAIL_BYTES else 0
        return bytes(self._tail[start:]) or bytes(self._tail)

    def _keep_whole(self, folder: Path, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = ArtifactFile(folder, WHOLE_BYTES)
                self._file.feed(bytes(self._head))
            self._file.feed(data)
        except OSError:  # a full disk must not end what runs: the head and the tail are there
            self.discard()
            self._file = self._folder = None

    def _keep(self, piece: bytes) -> None:
        self._line += piece[: LINE_BYTES - len(self._line)]

    def _show(self) -> None:
        self._on_line(self._name, self._line.decode(errors="replace").rstrip("\r"))
        self._line.clear()


class ArtifactFile:
    """Standard output that goes to a file, up to a cap."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="artifact-", dir=folder)
        self._file = os.fdopen(handle, "wb")
        self._left_bytes = max_bytes
        self.path = Path(name)
        self.size_bytes = 0
        #: The cap was reached.
        self.truncated = False

    def feed(self, data: bytes) -> None:
        """Take what was read, as far as the cap allows."""
        kept = data[: self._left_bytes]
        self._file.write(kept)
        self._left_bytes -= len(kept)
        self.size_bytes += len(kept)
        self.truncated = self.truncated or len(kept) < len(data)

    def finish(self) -> None:
        """Everything is in the file."""
        self._file.close()

    def discard(self) -> None:
        """Nobody will take it."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def open_outputs(command: Command, scratch: Path, on_line: Callable[[str, str], None]) -> "Outputs":
    """Where a command's output goes; an artifact goes to a new file in `scratch`."""
    folder = scratch if command.keeps_whole else None
    if command.artifact is None:
        return Outputs(on_line, folder=folder)
    file = ArtifactFile(scratch, command.artifact_max_bytes or ARTIFACT_BYTES)
    return Outputs(on_line, file, folder=folder)


class Outputs:
    """Both streams of one run, as `watch` feeds and returns them."""

    def __init__(
        self,
        on_line: Callable[[str, str], None],
        artifact: ArtifactFile | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self._streams = {name: Stream(name, on_line, folder) for name in ("stdout", "stderr")}
        self._artifact = artifact

    def feed(self, name: str, data: bytes) -> None:
        """Take what was read from "stdout" or "stderr"."""
        if name == "stdout" and self._artifact is not None:
            self._artifact.feed(data)
        else:
            self._streams[name].feed(data)

    @property
    def full(self) -> bool:
        """The artifact has reached its cap: nothing more is wanted."""
        return self._artifact is not None and self._artifact.truncated

    def discard(self) -> None:
        """The run failed before its output could be handed on."""
        if self._artifact is not None:
            self._artifact.discard()
        for stream in self._streams.values():
            stream.discard()

    def collect(self) -> RawOutput:
        """Everything that came, once it has ended."""
        stdout, stderr = self._streams["stdout"], self._streams["stderr"]
        stdout.finish()
        stderr.finish()
        if self._artifact is not None:
            self._artifact.finish()
        return RawOutput(
            stdout=stdout.head,
            stderr=stderr.head,
            stdout_tail=stdout.tail,
            stderr_tail=stderr.tail,
            artifact=self._artifact.path if self._artifact else None,
            artifact_bytes=self._artifact.size_bytes if self._artifact else 0,
            truncated=stdout.truncated or self.full,
            whole={name: each.whole for name, each in self._streams.items() if each.whole},
        )
