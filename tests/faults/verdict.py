"""What a fault did, as one row of the table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tests.faults.checker import Ledger
from tests.faults.replay import UNASKED


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a fault did to the plans that were handed in around it."""

    fault: str
    plans: int
    rows: int
    lost: int
    doubled: int
    #: Rows that ran although no claim of theirs was asked for: forged or stale messages.
    forged: int
    interrupted: int
    #: Rows that had to be published more than once.
    resent: int
    #: From the fault to the end of the plans that were open then, seconds.
    recovery_p95_s: float
    breaches: tuple[str, ...] = ()


def sum_up(
    name: str, ledger: Ledger, before: set[int], hurt_at: float, breaches: Sequence[str]
) -> Verdict:
    """The verdict about the rows that are not among `before`."""
    rows = [row for row in ledger.rows if row["id"] not in before]
    ids = {row["execution_id"] for row in rows}
    mine = [each for each in ledger.executions if each["id"] in ids]
    return Verdict(
        fault=name,
        plans=len(ids),
        rows=len(rows),
        lost=sum("for ever" in text or "not in the ledger" in text for text in breaches),
        doubled=sum("must not repeat" in text for text in breaches),
        forged=sum(UNASKED in text for text in breaches),
        interrupted=sum(row["state"] == "interrupted" for row in rows),
        resent=sum(row["sends"] > 1 for row in rows),
        recovery_p95_s=_find_p95(mine, hurt_at),
        breaches=tuple(breaches),
    )


def _find_p95(executions: Iterable[Mapping[str, Any]], hurt_at: float) -> float:
    ends = [each["finished_at"].timestamp() for each in executions if each["finished_at"]]
    late = sorted(end - hurt_at for end in ends if end > hurt_at)
    return late[int(len(late) * 0.95)] if late else 0.0


def make_table(broker: str, verdicts: Sequence[Verdict]) -> Table:
    """One line a fault, over all seeds."""
    columns = ("fault", "plans", "rows", "lost", "doubled", "forged", "interrupted")
    table = Table(*columns, "sent again", "p95 s", "", title=broker)
    for name in dict.fromkeys(verdict.fault for verdict in verdicts):
        same = [verdict for verdict in verdicts if verdict.fault == name]
        rows, again = _add(same, "rows"), _add(same, "resent")
        table.add_row(
            name,
            *(str(_add(same, column)) for column in columns[1:]),
            f"{again / rows:.1%}" if rows else "",
            f"{max(verdict.recovery_p95_s for verdict in same):.1f}",
            "broken" if any(verdict.breaches for verdict in same) else "holds",
        )
    return table


def tell_totals(verdicts: Sequence[Verdict]) -> str:
    """The one line that counts."""
    return (
        f"{_add(verdicts, 'plans')} plans, {_add(verdicts, 'rows')} rows: "
        f"{_add(verdicts, 'lost')} plans lost, {_add(verdicts, 'doubled')} effects doubled, "
        f"{_add(verdicts, 'forged')} forged messages that ran something; "
        f"{sum(len(verdict.breaches) for verdict in verdicts)} promises broken"
    )


def _add(verdicts: Iterable[Verdict], column: str) -> int:
    return sum(getattr(verdict, column) for verdict in verdicts)
