"""The one protocol of all runners, and what passes through it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.command import Command
from app.step import Credential, Target


class StepControl:
    """What a runner may ask of the step it serves: time left, stop, effect, live lines.

    `before_effect` arms the step: call it immediately before the first irreversible
    action, once connected and prepared. It raises when the step is no longer ours.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        cancelled: threading.Event | None = None,
        arms: bool = False,
        before_effect: Callable[[], None] = lambda: None,
        on_line: Callable[[str, str], None] = lambda _stream, _line: None,
    ) -> None:
        self.deadline = time.monotonic() + timeout_s
        self.timeout_s = timeout_s
        self.cancelled = cancelled or threading.Event()
        #: What runs cannot be taken back: everything that can be asked before is worth asking.
        self.arms = arms
        self.before_effect = before_effect
        #: `on_line("stdout" | "stderr", text)`, already scrubbed by the caller's sink.
        self.on_line = on_line

    @property
    def seconds_left(self) -> float:
        """Time until the deadline; never negative."""
        return max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class Whole:
    """A file with all of a stream that was longer than what is kept in memory."""

    #: It is the caller's to keep and to delete.
    path: Path
    size_bytes: int
    #: False: what came after that was dropped.
    complete: bool = True


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What came back, before anyone read meaning into it."""

    #: Of a process that a signal ended: 128 + its number, as shells say it.
    exit_code: int | None = None
    #: The first 256 KiB of each stream; whole lines where there was more.
    stdout: bytes = b""
    stderr: bytes = b""
    #: The last few KiB of each stream.
    stdout_tail: bytes = b""
    stderr_tail: bytes = b""
    #: An HTTP answer's status and headers; its body is in `stdout`.
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    #: Standard output was written here (operations whose output is an artifact).
    #: It is the caller's to keep and to delete.
    artifact: Path | None = None
    artifact_bytes: int = 0
    #: The deadline passed.
    timed_out: bool = False
    #: Where we ended it: "verified" when it and its children were seen to be gone.
    stopped: str | None = None
    #: What may run on where that is not so, for people.
    remains: str = ""
    #: `run_for` ended it: success.
    ran_its_time: bool = False
    #: Standard output is longer than `stdout`, or than its artifact may be.
    truncated: bool = False
    #: "stdout" and "stderr", where they are longer than what is above and the command keeps them.
    whole: Mapping[str, Whole] = field(default_factory=dict)
    duration_s: float = 0.0


class Runner(Protocol):
    """Runs one command on one target.

    Raises `app.errors.StepError` (and what `control.before_effect` raises), nothing else.
    """

    def run(
        self,
        command: Command,
        target: Target,
        credential: Credential | None,
        control: StepControl,
    ) -> RawOutput:
        """Run it, stream its lines to `control.on_line`, stop when `control.cancelled` is set."""
        ...

    def close(self) -> None:
        """Let go of kept connections."""
        ...
