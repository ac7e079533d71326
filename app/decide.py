"""What a person does with an execution that stopped: resolve, resume, undo, requeue, discard.

Whoever submitted it may, as an operator, and so may approvers and admins. What the present state
does not allow raises Conflict and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.changed_tools import find_changed
from app.errors import Conflict, Forbidden, Malformed, NotFound
from app.json_text import make_storable
from app.parts import Parts
from app.principal import Principal, Role
from app.step import State
from app.store.decisions import Resolution, Voice

_NAMED_ROWS = 5


@dataclass(frozen=True, slots=True)
class RowName:
    """One row of an execution, as people name it."""

    #: Id or position of its step; or `row:` and the row's own id.
    step: str
    #: Of a step that fanned out: whom the row acts on.
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Decider:
    """A person before an execution that stopped; every decision's event keeps the reason.

    Each raises NotFound, Forbidden, Malformed without a reason, Conflict, Unavailable.
    """

    principal: Principal
    reason: str
    parts: Parts
    #: Where the request came from.
    origin: str = ""

    def resolve(self, execution_id: UUID, named: RowName, resolution: Resolution) -> dict[str, Any]:
        """Say how an interrupted row ended, or let it run once more; the execution then."""
        execution = self._open(execution_id)
        reason = self._speak().reason
        row = _find_interrupted(execution, named)
        decided = self.parts.decisions.resolve_step(
            execution_id,
            row["step_id"],
            resolution,
            actor=self.principal.name,
            reason=reason,
            send=self.parts.settings.window,
            origin=self.origin,
        )
        self.parts.publisher.publish(decided.sending)
        return self._read(execution_id)

    def ask_probe(self, execution_id: UUID, named: RowName) -> dict[str, Any]:
        """Have an interrupted row's probe asked again; no reason is needed."""
        row = _find_interrupted(self._open(execution_id), named)
        self.parts.decisions.ask_probe(
            execution_id,
            row["step_id"],
            actor=self.principal.name,
            reason=self._reason,
            origin=self.origin,
        )
        return self._read(execution_id)

    def resume(self, execution_id: UUID, *, only_failed: bool) -> dict[str, Any]:
        """Let a failed or cancelled execution go on where it first failed.

        Its `warnings` name the tools whose files changed since it was submitted; behind
        `events_after` stand the events of what is to come.
        """
        self._open(execution_id)
        changed = find_changed(self.parts.records.read_tools(execution_id), self.parts.catalog)
        cursor = self.parts.records.newest_cursor()
        decided = self.parts.decisions.resume_execution(
            execution_id,
            only_failed=only_failed,
            actor=self.principal.name,
            reason=self._reason,
            send=self.parts.settings.window,
            origin=self.origin,
        )
        self.parts.publisher.publish(decided.sending)
        warnings = [f"{tool} changed since this execution was submitted" for tool in changed]
        beside = {"warnings": warnings, "events_after": str(cursor)}
        return self._read(execution_id) | beside

    def undo(self, execution_id: UUID) -> dict[str, Any]:
        """Have reversed what a final execution did, the last first; the execution then."""
        self._open(execution_id)
        voice, cursor = self._speak(), self.parts.records.newest_cursor()
        self.parts.decisions.undo_execution(execution_id, voice)
        return self._read(execution_id) | {"events_after": str(cursor)}

    def requeue(self, step_id: int) -> dict[str, Any]:
        """Run a dead letter again, and what was skipped because of it; the execution then."""
        self._open_letter(step_id)
        decided = self.parts.dead_letters.requeue(
            step_id, self._speak(), send=self.parts.settings.window
        )
        self.parts.publisher.publish(decided.sending)
        return self._read(decided.execution_id)

    def discard(self, step_id: int) -> dict[str, Any]:
        """Take a failed row from the dead-letter desk; the letter then."""
        self._open_letter(step_id)
        self.parts.dead_letters.discard(step_id, self._speak())
        return self.parts.dead_letters.read(self.principal.tenant, step_id)

    @property
    def _reason(self) -> str:
        return str(make_storable(self.reason.strip()))

    def _speak(self) -> Voice:
        """Who decides; raises Malformed without a reason."""
        if not self._reason:
            raise Malformed("this needs a reason", hint="say why: `reason`, or --reason TEXT")
        return Voice(self.principal, self._reason, origin=self.origin)

    def _open(self, execution_id: UUID) -> dict[str, Any]:
        execution = self._read(execution_id)
        self._check_right(execution["principal"])
        return execution

    def _open_letter(self, step_id: int) -> None:
        letter = self.parts.dead_letters.read(self.principal.tenant, step_id)
        self._check_right(letter["principal"])

    def _read(self, execution_id: UUID) -> dict[str, Any]:
        return self.parts.records.read_execution(self.principal.tenant, execution_id)

    def _check_right(self, owner: str) -> None:
        role = self.principal.role
        owns = role is Role.OPERATOR and self.principal.name == owner
        if owns or role in {Role.APPROVER, Role.ADMIN}:
            return
        raise Forbidden(
            f"{self.principal.name} is {role.value}, and the execution is {owner}'s",
            hint="whoever submitted it may decide, an approver, or an admin",
        )


def _find_interrupted(execution: Mapping[str, Any], named: RowName) -> dict[str, Any]:
    row = find_row(execution, named)
    if row["state"] != State.INTERRUPTED:
        raise Conflict(
            f"step {named.step}{_on(row)} is {row['state']}; "
            "only an interrupted step can be resolved",
            hint=f"'opsfarm executions show {execution['execution_id']}' shows what it did",
        )
    return row


def find_row(execution: Mapping[str, Any], named: RowName) -> dict[str, Any]:
    """The one row that is meant, an entry of `results`; raises NotFound, or Malformed for several.

    Of several rows the only interrupted one is meant.
    """
    step, rows = _find_rows(execution, named.step)
    if named.target is not None:
        rows = [row for row in rows if row["target"] == named.target]
        if not rows:
            known = ", ".join(str(row["target"]) for row in step["results"][:_NAMED_ROWS])
            raise NotFound(f"step {named.step} has no target {named.target!r}; there are: {known}")
    if len(rows) > 1:
        rows = [row for row in rows if row["state"] == State.INTERRUPTED] or rows
    if len(rows) > 1:
        raise _several(named, rows)
    return dict(rows[0])


def _find_rows(
    execution: Mapping[str, Any], name: str
) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    for step in execution["steps"]:
        if name in {step["id"], str(step["position"])}:
            return step, step["results"]
        rows = [row for row in step["results"] if name == f"row:{row['step_id']}"]
        if rows:
            return step, rows
    known = ", ".join(step["id"] for step in execution["steps"][:20])
    raise NotFound(f"no step {name[:80]!r} in execution {execution['execution_id']}; "
                   f"there are: {known}")  # fmt: skip


def _several(named: RowName, rows: Sequence[Mapping[str, Any]]) -> Malformed:
    shown = ", ".join(f"{row['target']} (row:{row['step_id']})" for row in rows[:_NAMED_ROWS])
    more = f" and {len(rows) - _NAMED_ROWS} more" if len(rows) > _NAMED_ROWS else ""
    return Malformed(
        f"step {named.step} has {len(rows)} rows that fit: {shown}{more}",
        hint="name its target (`target`, --target), or the row itself",
    )


def _on(row: Mapping[str, Any]) -> str:
    return f" on {row['target']}" if row["target"] else ""
