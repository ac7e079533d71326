"""What a step leaves behind, and what that makes of its execution (pure).

The one written contract for expressions, the API and the CLI (docs/plans.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.step import FINAL_STATES, ExecutionState, State

#: Rows that did not do what they were asked to. A skipped row was not asked any more.
UNSUCCESSFUL = frozenset({State.FAILED, State.CANCELLED, State.INTERRUPTED})

#: Members of every step in an expression.
STEP_MEMBERS = ("state", "ok", "failed", "changed", "summary", "results", "failed_targets")
#: Members of a step that ran on one target only.
SINGLE_MEMBERS = ("output", "exit_code", "artifacts")
#: Members of one entry of `results`.
RESULT_MEMBERS = (
    "step_id",
    "target",
    "item",
    "state",
    "reason",
    "changed",
    "exit_code",
    "output",
    "truncated",
    "before",
    "after",
    "summary",
    "stdout_tail",
    "stderr_tail",
    "artifacts",
    "duration_s",
    "attempt",
    "queue",
    "worker",
    "blocked_by",
    "stopped",
)

_OPEN_ORDER = (State.QUEUED, State.WAITING, State.DUE, State.PENDING)
_NAMED_TARGETS = 5


def summarise(rows: Sequence[Mapping[str, Any]], *, section: str = "main") -> dict[str, Any]:
    """One step as JSON, from its rows (columns of `StepRow`, one row per target, in order)."""
    first = rows[0]
    results = [_show_row(row) for row in rows]
    state = _state_of(rows)
    unsuccessful = [row for row in results if row["state"] in UNSUCCESSFUL]
    step: dict[str, Any] = {
        "position": first["position"],
        "id": first["key"],
        "tool": first["tool"],
        "operation": first["operation"],
        "effect": first["effect"],
        "run_as": first.get("run_as"),
        "section": section if first.get("undoes") is None else "undo",
        "stage": first["stage"],
        "state": state.value,
        "ok": state is State.SUCCEEDED,
        "failed": bool(unsuccessful),
        "changed": _any_changed(results),
        "reason": next((row["reason"] for row in unsuccessful if row["reason"]), None),
        "summary": results[0]["summary"] if len(rows) == 1 else _summary(results),
        "results": results,
        "failed_targets": [row["target"] for row in unsuccessful if row["target"] is not None],
    }
    if len(rows) == 1:
        step |= {member: results[0][member] for member in SINGLE_MEMBERS}
        step["reason"] = results[0]["reason"]
    return step


def derive_state(rows: Sequence[Mapping[str, Any]]) -> ExecutionState:
    """The state of an execution: a pure function of its rows' states, first match.

    A row that waits for a decision makes the execution `waiting` only when nothing can move
    without it: rows of later stages (`pending`) do not count as moving, but they do while
    nothing waits.
    """
    states = {State(row["state"]) for row in rows}
    if State.INTERRUPTED in states:
        return ExecutionState.ATTENTION
    if states - FINAL_STATES:
        moving = states & {State.RUNNING, State.QUEUED, State.DUE}
        waits = State.WAITING in states and not moving
        return ExecutionState.WAITING if waits else ExecutionState.RUNNING
    if State.FAILED in states:
        return ExecutionState.FAILED
    return ExecutionState.CANCELLED if State.CANCELLED in states else ExecutionState.SUCCEEDED


def _show_row(row: Mapping[str, Any]) -> dict[str, Any]:
    result = row.get("result") or {}
    target = row.get("target")
    reason = row.get("reason") or result.get("reason")
    shown = {
        "step_id": row["id"],
        "target": target["name"] if target else None,
        "item": row.get("item"),
        "state": State(row["state"]).value,
        "reason": reason,
        "changed": result.get("changed"),
        "exit_code": result.get("exit_code"),
        "output": result.get("output"),
        "truncated": result.get("truncated", False),
        "before": result.get("before"),
        "after": result.get("after"),
        "summary": result.get("summary") or reason or _tell_wait(row),
        "stdout_tail": result.get("stdout_tail", ""),
        "stderr_tail": result.get("stderr_tail", ""),
        "artifacts": list(result.get("artifacts", ())),
        "duration_s": result.get("duration_s"),
        "attempt": row.get("attempt", 0),
        "queue": row.get("queue"),
        "worker": row.get("worker"),
        # Who holds the asset, while the row waits for it.
        "blocked_by": row.get("holder"),
        "stopped": result.get("stopped"),
    }
    # Of an interrupted row: what a person should know before saying how it ended.
    evidence = {"evidence": row["evidence"]} if row.get("evidence") else {}
    return shown | evidence | ({"undoes": row["undoes"]} if row.get("undoes") else {})


def _tell_wait(row: Mapping[str, Any]) -> str:
    return tell_holder(row["holder"]) if row.get("holder") else ""


def tell_holder(holder: Mapping[str, Any]) -> str:
    """Who holds the asset that a row waits for, in words."""
    on = f" on {holder['target']}" if holder["target"] else ""
    person = ", which is interrupted" if holder.get("state") == State.INTERRUPTED else ""
    return f"blocked by step {holder['step']}{on} of execution {holder['execution_id']}{person}"


def _state_of(rows: Sequence[Mapping[str, Any]]) -> State:
    """One word for all rows: the worst or most open one; begun but not done is `running`."""
    states = {State(row["state"]) for row in rows}
    if State.INTERRUPTED in states:
        return State.INTERRUPTED
    open_states = states - FINAL_STATES
    if open_states:
        begun = State.RUNNING in states or states & FINAL_STATES
        return State.RUNNING if begun else next(s for s in _OPEN_ORDER if s in open_states)
    for state in (State.FAILED, State.CANCELLED, State.SUCCEEDED):
        if state in states:
            return state
    return State.SKIPPED


def _any_changed(results: Sequence[Mapping[str, Any]]) -> bool | None:
    """True when any target changed, False when none did, None when some cannot tell."""
    told = {row["changed"] for row in results}
    if True in told:
        return True
    return False if told == {False} else None


def _summary(results: Sequence[Mapping[str, Any]]) -> str:
    """One line over several targets, naming the first that failed."""
    succeeded = sum(row["state"] == State.SUCCEEDED for row in results)
    is_open = any(State(row["state"]) not in FINAL_STATES for row in results)
    line = f"{succeeded} of {len(results)} targets succeeded" + (" so far" if is_open else "")
    bad = [row for row in results if row["state"] in UNSUCCESSFUL]
    if not bad:
        return line
    named = ", ".join(
        f"{row['target']} ({row['reason'] or row['state']})" for row in bad[:_NAMED_TARGETS]
    )
    more = len(bad) - _NAMED_TARGETS
    return f"{line}; not: {named}" + (f" and {more} more" if more > 0 else "")
