"""Rows of the ledger as the JSON that API and CLI show (pure)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import RowMapping

from app.outcome import summarise, tell_holder


def show_execution(head: RowMapping, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The execution JSON: its head and one entry for each step of the plan."""
    steps = []
    for _, group in groupby(rows, key=lambda row: row["position"]):
        of_step = list(group)
        section = "finally" if of_step[0]["stage"] >= head["finally_stage"] else "main"
        steps.append(summarise(of_step, section=section))
    started = [row["started_at"] for row in rows if row["started_at"]]
    delayed = any(_waits_for_the_broker(row) for row in rows)
    return show_head(head) | {
        "started_at": _iso(min(started)) if started else None,
        "delivery": "delayed" if delayed else "sent",
        "run": head["run"],
        "warnings": list(head["warnings"]),
        "cancel_reason": head["cancel_reason"],
        "plan_digest": head["plan_digest"],
        "steps": steps,
    }


def _waits_for_the_broker(row: Mapping[str, Any]) -> bool:
    """Runnable and not published: not held by a mutex or limit, not waiting for its next try."""
    blocked = row["blocked_by"] is not None or row.get("holder") is not None
    held = blocked or row["capped"] or row["not_before"] is not None
    return row["state"] == "queued" and row["sent_at"] is None and not held


def show_wait(row: RowMapping) -> dict[str, Any]:
    """What a queued row waits for: members of the row as `summarise` takes it."""
    reason = {"reason": row["limit"]} if row["limit"] else {}
    return reason | {"holder": show_holder(row) if row["step_id"] else None}


def show_waiting(row: RowMapping) -> dict[str, Any]:
    """What a queued row waits for, as an event without an id; `summary` says it in words."""
    holder = show_holder(row) if row["step_id"] else None
    reason = row["limit"] or row["reason"]
    return {
        "id": None,
        "at": _iso(row["at"]),
        "execution_id": str(row["own_execution"]),
        "step_id": row["id"],
        "kind": "step.waits",
        "actor": None,
        "data": {
            "position": row["own_position"],
            "key": row["own_key"],
            "tool": row["tool"],
            "operation": row["operation"],
            "target": row["own_target"]["name"] if row["own_target"] else None,
            "attempt": row["attempt"],
            "reason": reason,
            "blocked_by": holder,
            "summary": _tell_wait(row, holder, reason or ""),
        },
    }


def _tell_wait(row: RowMapping, holder: Mapping[str, Any] | None, reason: str) -> str:
    if holder is not None:
        return tell_holder(holder)
    if row["not_before"] is not None:
        return f"tries again at {row['not_before']:%H:%M:%S} UTC"
    if reason.startswith(("limit: ", "no_worker: ")):
        return reason
    if row["sent_at"] is None:
        return f"waits for its turn in queue {row['queue']}, or for the broker"
    return f"waits for a free worker of queue {row['queue']}"


def show_lock(row: RowMapping) -> dict[str, Any]:
    """A held lock: {"lock", "waiting", "held_by"}."""
    return {"lock": row["mutex"], "waiting": row["waiting"], "held_by": show_holder(row)}


def show_holder(row: RowMapping) -> dict[str, Any]:
    """Whoever holds a mutex: an interrupted row does until a person says how it ended."""
    return {
        "execution_id": str(row["execution_id"]),
        "step_id": row["step_id"],
        "step": row["key"],
        "position": row["position"],
        "target": row["target"]["name"] if row["target"] else None,
        "state": row["state"],
        "since": _iso(row["started_at"]),
    }


def show_head(row: RowMapping) -> dict[str, Any]:
    """An execution without its steps, as lists show it."""
    return {
        "execution_id": str(row["id"]),
        "name": row["name"],
        "state": row["state"],
        "principal": row["principal"],
        "source": row["source"],
        "reason": row["reason"],
        "plan": {"name": row["plan_name"], "version": row["plan_version"]}
        if row["plan_name"]
        else None,
        "rerun_of": str(row["rerun_of"]) if row["rerun_of"] else None,
        "reruns": [str(rerun) for rerun in row["reruns"]],
        "key": row["idempotency_key"],
        "created_at": _iso(row["created_at"]),
        "finished_at": _iso(row["finished_at"]),
        "cancel_requested_at": _iso(row["cancel_requested_at"]),
        "cancelled_by": row["cancelled_by"],
    }


def show_approval(row: RowMapping) -> dict[str, Any]:
    """An approval as people see it, but for what it shows."""
    return {
        "id": row["id"],
        "execution_id": str(row["execution_id"]),
        "name": row["name"],
        "principal": row["principal"],
        "step_id": row["step_id"],
        "digest": row["digest"],
        "needed": row["needed"],
        "given": row["given"],
        "asked_at": _iso(row["asked_at"]),
        "asked_why": row["asked_why"],
        "asked_from": row["source"],
        "expires_at": _iso(row["expires_at"]),
        "decision": row["decision"],
        "decided_at": _iso(row["decided_at"]),
        "decided_by": row["decided_by"],
        "reason": row["reason"],
    }


def show_event(row: RowMapping, cursor: str) -> dict[str, Any]:
    """One event as watchers get it; `cursor` stands behind it."""
    execution_id = row["execution_id"]
    return {
        "id": cursor,
        "at": _iso(row["at"]),
        "execution_id": str(execution_id) if execution_id else None,
        "step_id": row["step_id"],
        "kind": row["kind"],
        "actor": row["actor"],
        "data": row["data"],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
