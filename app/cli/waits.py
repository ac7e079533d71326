"""What a queued step waits for, in words (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LINES = 10


def tell_holder(holder: Mapping[str, Any]) -> str:
    """Who holds an asset: "by step 2 (restart) on web-01 of execution 0190..., since 12:00"."""
    on = f" on {holder['target']}" if holder["target"] else ""
    state = ", interrupted" if holder["state"] == "interrupted" else ""
    return (
        f"by step {holder['position']} ({holder['step']}){on} "
        f"of execution {holder['execution_id']}, since {holder['since']}{state}"
    )


def tell_waits(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each row that another one, or a limit, holds back; of many the first ten."""
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
            elif row["state"] == "queued" and (row["reason"] or "").startswith("limit: "):
                yield f"{where}: waits, {row['reason']}"
