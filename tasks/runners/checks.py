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
    said = raw.stderr_tail.decode(errors="replace").strip().splitlines()
    why = said[-1] if said else f"exit code {raw.exit_code}"
    if raw.timed_out:
        why = "no answer in time"
    raise StepError(
        Reason.CHECK_FAILED,
        f"the check before the step failed: {why} (ran: {shlex.join(precheck)})",
    )
