"""What a queued step waits for, in words (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.cli.output import moment

_LINES = 10
#: How the reasons of queued rows begin that wait for something to become free.
_WAITS = ("limit: ", "no_worker: ")


def tell_holder(holder: Mapping[str, Any]) -> str:
    """Who holds an asset: "by step 2 (restart) on web-01 of execution 0190..., since 12:00"."""
    on = f" on {holder['target']}" if holder["target"] else ""
    show = f"'opsfarm executions show {holder['execution_id']}' says how to go on"
    state = f", interrupted: {show}" if holder["state"] == "interrupted" else ""
    return (
        f"by step {holder['position']} ({holder['step']}){on} "
        f"of execution {holder['execution_id']}, since {moment(holder['since'])} UTC{state}"
    )


def tell_waits(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each row that another one, a limit or no worker holds back: the first ten."""
    lines = list(_tell_each(steps))
    more = len(lines) - _LINES
    return lines[:_LINES] + ([f"... and {more} more"] if more > 0 else [])


def _tell_each(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        for row in step["results"]:
            on = f" on {row['target']}" if row["target"] else ""
            where = f"step {step['position']} ({step['tool']}){on}"
            if row["blocked_by"]:
                yield f"{where}: blocked {tell_holder(row['blocked_by'])}"
            elif row["state"] == "queued" and (row["reason"] or "").startswith(_WAITS):
                yield f"{where}: waits, {row['reason']}"
