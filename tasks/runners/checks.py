"""What every runner refuses before the effect."""

import shlex

from app.errors import StepError, Stopped
from tasks.runners.base import RawOutput, StepControl
from tool_catalog.model import Reason


def refuse_stopped(control: StepControl) -> None:
    """Raise Stopped where the step was cancelled before anything began."""
    if control.cancelled.is_set():
        raise Stopped("stopped before it began", verified=True)


def raise_unless_passed(precheck: tuple[str, ...], raw: RawOutput) -> None:
    """Raise CHECK_FAILED with the last line of standard error, unless a precheck exited 0."""
    if raw.exit_code == 0 and not raw.timed_out:
        return
    raise StepError(
        Reason.CHECK_FAILED,
        f"the check before the step failed: {last_line(raw)} (ran: {shlex.join(precheck)})",
    )


def last_line(raw: RawOutput) -> str:
    """Why a command failed, as it says itself in the end."""
    if raw.timed_out:
        return "no answer in time"
    said = raw.stderr_tail.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"exit code {raw.exit_code}"
