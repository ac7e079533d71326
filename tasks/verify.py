"""Looks, after an effect or an unknown outcome, whether the world is as the operation promises."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import ExpressionError, StepError, Stopped
from app.promises import is_reached
from tasks.caller import Caller
from tasks.result import describe
from tasks.runners.base import StepControl
from tool_catalog.model import Verify

#: The pause between two looks: short at first, for what is done at once.
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in the end."""

    reached: bool
    #: Whether any look gave an answer: else nothing is known.
    answered: bool = False
    #: What the last answer was.
    output: Any = None
    #: Why `until` does not hold, for people.
    why: str = ""


def look_until(
    caller: Caller,
    verify: Verify,
    before: object,
    control: StepControl,
    *,
    unknown: bool = False,
) -> Seen:
    """Look again and again until `until` holds or `within_s` is over.

    `unknown` says that nobody saw the effect's own end. Raises Stopped when the step is cancelled.
    """
    facts = {"before": before, "parameters": caller.step.parameters, "unknown": unknown}
    over_at = time.monotonic() + min(verify.within_s, control.seconds_left)
    pause_s = _FIRST_PAUSE_S
    seen = Seen(reached=False)
    while True:
        seen = _look(caller, verify, facts, seen, control)
        if seen.reached or time.monotonic() + pause_s > over_at:
            return seen
        if control.cancelled.wait(pause_s):
            raise Stopped("stopped while its effect was looked for", verified=True)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def _look(
    caller: Caller, verify: Verify, known: Mapping[str, Any], last: Seen, control: StepControl
) -> Seen:
    """One look. What cannot be read or judged now may be so at the next look."""
    try:
        output = caller.read(verify.operation, verify.with_, known["before"], control)
    except Stopped:
        raise
    except StepError as error:
        return Seen(False, last.answered, last.output, f"{verify.operation}: {error.message}")
    facts = {**known, "output": output, "previous": last.output}
    try:
        reached = is_reached(verify.until, facts)
    except ExpressionError as error:
        return Seen(False, last.answered, output, str(error))
    return Seen(reached, True, output, f"last seen: {describe(output)}; wanted: {verify.until}")
