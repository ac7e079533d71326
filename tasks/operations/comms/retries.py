"""How long to wait before trying again, and the wait itself."""

import random

from app.errors import Stopped
from tasks.runners.base import StepControl


def wait_before(tries_left: int, backoff_s: float, control: StepControl) -> float | None:
    """Seconds until the next try, spread a little; None when none is left or in time."""
    jitter = random.uniform(0.75, 1.25)  # noqa: S311  # spreads load, guards nothing
    wait_s = backoff_s * jitter
    return wait_s if tries_left > 0 and wait_s < control.seconds_left else None


def pause(control: StepControl, why: str, wait_s: float, *, unknown: bool) -> None:
    """Wait, telling the watchers why; raises Stopped at once when the step is cancelled.

    `unknown`: something was sent and not answered, so a stop is not verified.
    """
    control.on_line("stderr", f"{why}; next try in {wait_s:.1f} s")
    if control.cancelled.wait(wait_s):
        raise Stopped("stopped before the next try", verified=not unknown)
