"""Following an execution to its end: the wait's limit, Ctrl-C once and twice."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from app.cli.asked import note_waiting
from app.cli.display import make_display
from app.cli.exits import Exit, exit_of
from app.cli.output import note
from app.cli.waits import tell_waits
from app.errors import Conflict
from app.farm_execution import Execution
from app.step import ExecutionState

#: A second Ctrl-C within this time cancels.
SECOND_INTERRUPT_S = 2.0
_NEEDS_A_PERSON = {ExecutionState.WAITING, ExecutionState.ATTENTION}
#: Events behind which an execution may need a person, at once or when the rest of it has ended.
_ASKS = {"step.interrupted", "approval.asked"}


class _WaitEnded(Exception):
    """The time of `--wait-s` is over."""


def follow(execution: Execution, wait_s: float | None = None) -> tuple[Exit, dict[str, Any]]:
    """Show an execution until it is final or needs a person; gives exit status and its JSON."""
    try:
        with _time_limit(wait_s):
            return _follow(execution)
    except _WaitEnded:
        note(f"execution {execution.id} goes on after {wait_s:g} s")
        shown = execution.status()
        _say_how_to_go_on(execution, shown)
        return Exit.WAIT_ENDED, shown
    except KeyboardInterrupt:
        return _detach_or_cancel(execution)


def _follow(execution: Execution) -> tuple[Exit, dict[str, Any]]:
    with make_display(execution.status()) as display:
        asked = False
        for event in execution.events():
            display.show(event)
            asked = asked or event["kind"] in _ASKS
            if asked and not _goes_on(event) and execution.status()["state"] in _NEEDS_A_PERSON:
                break
    shown = execution.status()
    if shown["state"] in _NEEDS_A_PERSON:
        note(f"execution {execution.id} needs a person: {shown['state']}")
        note_waiting(shown)
        _say_how_to_go_on(execution)
    return exit_of(shown["state"]), shown


def _goes_on(event: Mapping[str, Any]) -> bool:
    """An event behind which an execution cannot begin to wait."""
    return event["kind"] in {"step.output", "step.running", "step.waits"}


def _detach_or_cancel(execution: Execution) -> tuple[Exit, dict[str, Any]]:
    try:
        note(f"detached: execution {execution.id} goes on")
        _say_how_to_go_on(execution)
        note(f"press Ctrl-C again within {SECOND_INTERRUPT_S:g} s to cancel it")
        time.sleep(SECOND_INTERRUPT_S)
    except KeyboardInterrupt:
        return _cancel(execution)
    return Exit.INTERRUPTED, execution.status()


def _cancel(execution: Execution) -> tuple[Exit, dict[str, Any]]:
    try:
        execution.cancel("cancelled with Ctrl-C")
    except Conflict as error:
        note(str(error))
    else:
        note(f"cancelling execution {execution.id}")
    return _follow(execution)


def _say_how_to_go_on(execution: Execution, shown: Mapping[str, Any] | None = None) -> None:
    for line in tell_waits(shown["steps"] if shown else ()):
        note(f"  {line}")
    note(f"  watch it:   opsfarm executions watch {execution.id}")
    note(f"  cancel it:  opsfarm executions cancel {execution.id}")


@contextmanager
def _time_limit(wait_s: float | None) -> Iterator[None]:
    """Raise _WaitEnded in the body after `wait_s` seconds, wherever it waits."""
    if wait_s is None:
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise _WaitEnded

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(wait_s, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
