"""Events, replayed: what they tell of each row and execution must lead to what the tables hold."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

#: Of a row before anything is told of it: pending, due, waiting or queued.
_UNTOLD = "unstarted"
_FINAL = {"succeeded", "failed", "cancelled", "skipped"}
#: From what a row is told to have been to what it may be told to be next.
_NEXT = {
    _UNTOLD: {"queued", "running", "failed", "cancelled", "skipped"},
    "queued": {"running", "failed", "cancelled", "skipped"},
    "running": {"succeeded", "failed", "cancelled", "skipped", "queued", "interrupted"},
    "interrupted": {"succeeded", "failed", "cancelled", "skipped", "queued"},
}
#: What a row may be in the tables when its events end with this.
_HELD = {
    _UNTOLD: {"pending", "due", "waiting", "queued"},
    "queued": {"queued", "pending", "waiting"},
}
#: A person's word: what failed, was cancelled or skipped may begin anew.
_AGAIN = {"execution.resumed", "step.requeued"}
_TOLD = {f"step.{state}" for state in (_FINAL | _NEXT.keys())}
#: How a row is told to have begun although nothing let it.
UNASKED = "began and nobody had asked for it"


def replay_rows(
    rows: Iterable[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Breaches: a change that the state machine does not have, or an end that the row has not.

    `rows`: id, execution_id, state, shown, attempt; `events`: execution_id, step_id, kind,
    attempt, in the order in which they were written.
    """
    told: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    again: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if event["kind"] in _AGAIN:
            again[event["execution_id"]].append(event)
        elif event["step_id"] is not None and event["kind"] in _TOLD:
            told[event["step_id"]].append(event)
    for row in rows:
        mine = [*told[row["id"]], *again[row["execution_id"]]]
        yield from _replay_row(row, sorted(mine, key=lambda event: int(event["id"])))


def _replay_row(row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    state, attempt, allowed = _UNTOLD, 0, _HELD[_UNTOLD]
    for event in events:
        if event["kind"] in _AGAIN:
            if state in _FINAL - {"succeeded"}:  # it may be among those that begin anew, or not
                allowed, state = {state} | _HELD[_UNTOLD], _UNTOLD
            continue
        now = event["kind"].removeprefix("step.")
        if now not in _NEXT.get(state, set()):
            how = UNASKED if now == "running" else f"became {now}"
            yield f"{row['shown']}: was {state} and {how}"
        attempt = event["attempt"] if now == "running" else attempt
        state, allowed = now, _HELD.get(now, {now})
    if row["state"] not in allowed:
        yield f"{row['shown']}: {row['state']}, but its events lead to {state}"
    if row["state"] == "running" and row["attempt"] != attempt:
        yield f"{row['shown']}: attempt {row['attempt']}, but its events tell of {attempt}"


def replay_executions(
    executions: Iterable[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Breaches: accepted not once and first, or a last `finished` that tells another state."""
    told: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if event["kind"].startswith("execution."):
            told[str(event["execution_id"])].append(event)
    for execution in executions:
        mine = told[str(execution["id"])]
        kinds = [event["kind"] for event in mine]
        if kinds.count("execution.accepted") != 1 or kinds[0] != "execution.accepted":
            yield f"{execution['name']}: its events begin with {kinds[:2]}"
        ends = [event["told_state"] for event in mine if event["kind"] == "execution.finished"]
        last = ends[-1] if ends else None
        if execution["finished_at"] is not None and last != execution["state"]:
            yield f"{execution['name']} is {execution['state']}, but its events end with {last}"
