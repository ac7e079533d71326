"""What a word must do to the row that it is said of, from nothing but what stands in the tables.

Written anew from ARCHITECTURE.md's state table, not from the SQL: the two are compared.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.step import State

STARTS = 3
REPEATABLE = {"read", "transactional", "idempotent", "keyed"}
HELD = {State.RUNNING, State.INTERRUPTED}
#: A worker's word for how a step ended.
ENDS = {"succeed": State.SUCCEEDED, "fail": State.FAILED, "stop": State.CANCELLED}

#: A table's row by its columns.
Columns = Mapping[str, Any]


def predict(word: str, s: Columns, e: Columns, *, given_up: bool) -> State | None:
    """The state that the holder's (or the sweeper's) word brings a row to; None: refused.

    `given_up`: its step or block had more failures than it bears.
    """
    if word in ENDS:
        return ENDS[word] if s["state"] in HELD else None
    if word in {"done", "not done", "no answer"}:
        return _probed(word, s, e)
    if s["state"] != State.RUNNING:
        return None
    covered = _is_covered(s, e)
    return {
        "arm": None if covered else State.RUNNING,
        "interrupt": State.INTERRUPTED if s["armed"] else None,
        "retry": None if covered else _tried_again(s),
        "release": _released(s, covered=covered, given_up=given_up),
        "reap": _reaped(s, covered=covered),
    }[word]


def _is_covered(s: Columns, e: Columns) -> bool:
    """A cancel was asked for, and it covers the row."""
    return bool(s["stage"] < e["cancel_below"])


def _is_unsafe(s: Columns) -> bool:
    return s["armed"] is not None and s["repeat"] not in REPEATABLE


def _has_starts(s: Columns) -> bool:
    return bool(s["attempt"] < max(STARTS, s["max_retries"] + 1))


def _tried_again(s: Columns) -> State | None:
    left = s["attempt"] <= s["max_retries"]
    return State.QUEUED if left and not _is_unsafe(s) else None


def _released(s: Columns, *, covered: bool, given_up: bool) -> State | None:
    if s["armed"]:
        return None
    if covered:
        return State.CANCELLED
    return State.SKIPPED if given_up else State.QUEUED


def _reaped(s: Columns, *, covered: bool) -> State:
    if _is_unsafe(s):
        return State.INTERRUPTED
    if covered:
        return State.CANCELLED
    return State.QUEUED if _has_starts(s) else State.FAILED


def _probed(found: str, s: Columns, e: Columns) -> State | None:
    if s["repeat"] != "probe" or s["state"] != State.INTERRUPTED:
        return None
    if found != "not done":
        return State.SUCCEEDED if found == "done" else State.INTERRUPTED
    if _is_covered(s, e):
        return State.CANCELLED
    return State.QUEUED if _has_starts(s) else State.FAILED


def resolved(said: str, s: Columns, e: Columns) -> State | None:
    """As `predict`, of a person's word for an interrupted row."""
    if s["state"] != State.INTERRUPTED or (said == "retry" and _is_covered(s, e)):
        return None
    if said == "skipped" and _is_covered(s, e):
        return State.CANCELLED
    return State.QUEUED if said == "retry" else State(said)


def may_start(s: Columns, e: Columns, others: Iterable[Columns]) -> bool:
    """Whether the message of a queued row's present attempt starts it; `others`: all rows."""
    if _is_covered(s, e):
        return False
    holders = [o for o in others if o["id"] != s["id"]]
    if s["mutex"] and any(o["mutex"] == s["mutex"] and o["state"] in HELD for o in holders):
        return False
    running = [o for o in holders if o["state"] == State.RUNNING]
    return all(_count(running, cap["key"]) < cap["running"] for cap in s["caps"] or ())


def _count(rows: Iterable[Columns], key: str) -> int:
    return sum(key in {cap["key"] for cap in row["caps"] or ()} for row in rows)


def check_batch(batch: list[Columns], before: list[Columns]) -> None:
    """What a dispatcher took to publish, never published before: `before`, all rows until then."""
    assert all(row["state"] == State.QUEUED and row["sent_at"] is None for row in batch)
    held = {o["mutex"] for o in before if o["state"] in HELD}
    wanted = [row["mutex"] for row in batch if row["mutex"]]
    assert len(wanted) == len(set(wanted)), "of those that want one mutex, one"
    assert not held & set(wanted), "and none while it is held"
    busy = [o for o in before if o["state"] == State.RUNNING or _is_sent(o)]
    for cap in (cap for row in batch for cap in row["caps"] or ()):
        assert _count(busy, cap["key"]) + _count(batch, cap["key"]) <= cap["running"]


def _is_sent(row: Columns) -> bool:
    return row["state"] == State.QUEUED and row["sent_at"] is not None
