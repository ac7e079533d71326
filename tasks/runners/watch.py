"""Follow a running command to its end: lines, deadline, stop and `run_for`, for every runner."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Protocol

from app.command import Command
from app.errors import Stopped
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.output import Outputs

#: How soon a set `cancelled` or a passed deadline is noticed; output and exit wake at once.
_TICK_S = 0.1
#: What a command gets to finish after the stop signal that `run_for` sends.
_STOP_GRACE_S = 5.0
#: What remains in the pipes of a command that we ended.
_DRAIN_S = 0.5

Feed = Callable[[str, bytes], None]


class Running(Protocol):
    """A started command, local or remote."""

    def pump(self, feed: Feed, timeout_s: float) -> bool:
        """Wait for output or the end, feed what came; False once it ended and all was read."""
        ...

    def signal(self, name: str) -> None:
        """Send "INT" or "TERM" to the command."""
        ...

    def end(self) -> str:
        """End it and its children, by force if need be; empty when they were seen to be gone.

        Else it says what may remain.
        """
        ...

    def exit_code(self) -> int | None:
        """The exit status of a command that ended by itself; None when it is not known."""
        ...


class _Ending(Enum):
    ITSELF = "itself"
    ENOUGH = "enough"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


def watch(running: Running, command: Command, outputs: Outputs, control: StepControl) -> RawOutput:
    """Follow a command to its end; raises Stopped when `control.cancelled` ended it."""
    started = time.monotonic()
    ending = _follow(running, command, outputs, control)
    remains = ""
    if ending is _Ending.ENOUGH:
        running.signal(command.stop_signal)
        remains = "" if _drain(running, outputs, _STOP_GRACE_S) else running.end()
    elif ending is not _Ending.ITSELF:
        remains = running.end()
        _drain(running, outputs, _DRAIN_S)
    if ending is _Ending.CANCELLED:
        outputs.collect()
        raise Stopped(_stop_message(command, remains), verified=not remains)
    return replace(
        outputs.collect(),
        exit_code=running.exit_code(),
        timed_out=ending is _Ending.TIMED_OUT,
        ran_its_time=ending is _Ending.ENOUGH,
        stopped=_stopped(ending, remains),
        remains=remains,
        duration_s=time.monotonic() - started,
    )


def _follow(running: Running, command: Command, outputs: Outputs, control: StepControl) -> _Ending:
    run_for_s = math.inf if command.run_for_s is None else command.run_for_s
    enough_at = time.monotonic() + run_for_s
    while True:
        wait_s = min(_TICK_S, control.seconds_left)
        if not running.pump(outputs.feed, wait_s):
            return _Ending.ITSELF
        if control.cancelled.is_set():
            return _Ending.CANCELLED
        if time.monotonic() >= enough_at or outputs.full:
            return _Ending.ENOUGH
        if not control.seconds_left:
            return _Ending.TIMED_OUT


def _drain(running: Running, outputs: Outputs, for_s: float) -> bool:
    """Read on for a while; True when the command ended meanwhile."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        if not running.pump(outputs.feed, _TICK_S):
            return True
    return False


def _stopped(ending: _Ending, remains: str) -> str | None:
    if ending is _Ending.ITSELF:
        return None
    return "unverified" if remains else "verified"


def _stop_message(command: Command, remains: str) -> str:
    name = command.argv[0] if command.argv else "the script"
    if not remains:
        return f"{name} was stopped; it and its children are gone"
    return (
        f"{name} was told to stop, but not seen to end: {remains}; "
        "look on the target for what may still run"
    )
