"""The dead-letter desk: failed and interrupted rows, until somebody says what becomes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, RowMapping, text

from app.errors import Conflict, NotFound
from app.outcome import summarise
from app.store.db import guard_unavailable
from app.store.decisions import Decided, Voice, refuse_resolution, refuse_resume
from app.store.ledger import call, read_sending
from app.store.views import show_event

LETTERS_LIMIT = 500
HISTORY_LIMIT = 200

_LETTERS = """
    select s.id, s.execution_id, e.name, e.state as execution_state, p.name as principal,
           s.position, s.key, s.tool, s.operation, s.state, s.reason, s.target, s.item, s.attempt,
           s.worker, s.result ->> 'summary' as summary, s.armed, s.undoes,
           coalesce(s.finished_at, s.started_at, s.queued_at) as at
    from steps s
    join executions e on e.id = s.execution_id join principals p on p.id = s.principal_id
    where s.tenant = :tenant and s.state in ('failed', 'interrupted') and s.discarded_at is null
      and (cast(:reason as text) is null or s.reason = :reason)
      and (cast(:tool as text) is null or s.tool = :tool)
      and (cast(:target as text) is null or s.target ->> 'name' = :target)
      and (cast(:since as timestamptz) is null
           or coalesce(s.finished_at, s.started_at, s.queued_at) >= :since)
      and (cast(:before as bigint) is null or s.id < :before)
    order by s.id desc limit :limit
"""
_LETTER = """
    select s.*, e.name, e.state as execution_state, p.name as principal, e.finally_stage,
           case when s.state = 'interrupted' then step_evidence(s) end as evidence
    from steps s
    join executions e on e.id = s.execution_id join principals p on p.id = s.principal_id
    where s.tenant = :tenant and s.id = :step
"""
_HISTORY = """
    select xid, id, at, tenant, execution_id, step_id, kind, actor, data from events
    where execution_id = :execution and step_id = :step order by id desc limit :limit
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are asked for; None: whatever it is."""

    reason: str | None = None
    tool: str | None = None
    target: str | None = None
    since: datetime | None = None
    #: Only rows with a lower id: the next page.
    before: int | None = None
    limit: int = 50


class DeadLetters:
    """Every method raises `Unavailable` when the ledger cannot be reached."""

    def __init__(self, autocommit: Engine) -> None:
        self._engine = autocommit

    def list(self, tenant: str, wanted: Wanted) -> list[dict[str, Any]]:
        """The newest first."""
        rows = self._read(
            _LETTERS,
            tenant=tenant,
            reason=wanted.reason,
            tool=wanted.tool,
            target=wanted.target,
            since=wanted.since,
            before=wanted.before,
            limit=min(wanted.limit, LETTERS_LIMIT),
        )
        return [_show_letter(row) for row in rows]

    def read(self, tenant: str, step_id: int) -> dict[str, Any]:
        """One row, whatever its state, with what it left behind and its history.

        Raises NotFound.
        """
        rows = self._read(_LETTER, tenant=tenant, step=step_id)
        if not rows:
            raise _not_found(step_id)
        row = rows[0]
        section = "finally" if row["stage"] >= row["finally_stage"] else "main"
        history = self._read(
            _HISTORY, execution=row["execution_id"], step=step_id, limit=HISTORY_LIMIT
        )
        return {
            "step_id": row["id"],
            "execution_id": str(row["execution_id"]),
            "name": row["name"],
            "execution_state": row["execution_state"],
            "principal": row["principal"],
            "discarded_at": row["discarded_at"].isoformat() if row["discarded_at"] else None,
            "step": summarise([dict(row)], section=section),
            "history": [show_event(event, str(event["id"])) for event in reversed(history)],
        }

    def requeue(self, step_id: int, voice: Voice, *, send: int) -> Decided:
        """Run a failed or interrupted row again, and what was skipped because of it.

        Raises NotFound, and Conflict for a row in another state, or a failed one whose execution
        is not final or was undone.
        """
        who = voice.principal
        answer = self._call(
            "requeue_step", who.tenant, step_id, who.name, voice.reason, send, voice.origin
        )
        if answer is None:
            raise _not_found(step_id)
        if not answer["accepted"]:
            _refuse_requeue(step_id, self._execution_of(who.tenant, step_id), answer)
        state = answer.get("execution_state") or answer["state"]
        return Decided(self._execution_of(who.tenant, step_id), state, read_sending(answer))

    def discard(self, step_id: int, voice: Voice) -> None:
        """Take a failed row from the desk. Raises NotFound, and Conflict for any other."""
        who = voice.principal
        answer = self._call(
            "discard_step", who.tenant, step_id, who.name, voice.reason, voice.origin
        )
        if answer is None:
            raise _not_found(step_id)
        if answer["accepted"]:
            return
        why = "it was discarded already" if answer["discarded"] else f"it is {answer['state']}"
        hint = None
        if answer["state"] == "interrupted":
            hint = "say how it ended: 'opsfarm executions resolve'; until then it holds its asset"
        raise Conflict(f"step {step_id} cannot be discarded: {why}", hint=hint)

    def _execution_of(self, tenant: str, step_id: int) -> UUID:
        rows = self._read(
            "select execution_id from steps where tenant = :tenant and id = :step",
            tenant=tenant,
            step=step_id,
        )
        if not rows:
            raise _not_found(step_id)
        return UUID(str(rows[0]["execution_id"]))

    def _read(self, query: str, **values: Any) -> Sequence[RowMapping]:  # noqa: ANN401  # bound values
        with guard_unavailable(), self._engine.connect() as connection:
            return connection.execute(text(query), values).mappings().all()

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401  # JSON
        with guard_unavailable(), self._engine.connect() as connection:
            return call(connection, function, *arguments)


def _show_letter(row: RowMapping) -> dict[str, Any]:
    return {
        "step_id": row["id"],
        "execution_id": str(row["execution_id"]),
        "name": row["name"],
        "execution_state": row["execution_state"],
        "principal": row["principal"],
        "position": row["position"],
        "id": row["key"],
        "tool": row["tool"],
        "operation": row["operation"],
        "target": row["target"]["name"] if row["target"] else None,
        "item": row["item"],
        "state": row["state"],
        "reason": row["reason"],
        "summary": row["summary"] or row["reason"] or "",
        "attempt": row["attempt"],
        "worker": row["worker"],
        "at": row["at"].isoformat() if row["at"] else None,
        "armed_at": row["armed"].isoformat() if row["armed"] else None,
    }


def _refuse_requeue(step_id: int, execution_id: UUID, answer: Mapping[str, Any]) -> None:
    if "why" not in answer:
        refuse_resolution(step_id, answer)
    if answer["why"] == "state":
        raise Conflict(
            f"step {step_id} is {answer['state']}; only a failed or interrupted one is requeued"
        )
    if answer["why"] == "not_final":
        raise Conflict(
            f"step {step_id} is failed, but its execution is {answer['execution_state']}: "
            "it is requeued once that has ended",
            hint=f"'opsfarm executions watch {execution_id}' shows its end",
        )
    refuse_resume(f"step {step_id}", execution_id, answer)


def _not_found(step_id: int) -> NotFound:
    return NotFound(
        f"no step {step_id}", hint="'opsfarm deadletter list' shows the ids of dead letters"
    )
