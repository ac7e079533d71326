"""What people decide: resolve, resume, approve, reject.

Each is one SQL function (`migrations/sql/decisions.sql`, `approvals.sql`), as in
`app.store.ledger`. What the present state does not allow raises Conflict and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from app.errors import Conflict, Forbidden, NotFound
from app.json_text import write_json
from app.principal import Principal
from app.step import FINAL_EXECUTION_STATES
from app.store.db import guard_unavailable
from app.store.ledger import Sending, call, read_sending

#: Why a yes does not count, and what to do then.
_REFUSALS = {
    "expired": ("it expired", "submit the plan again"),
    "changed": ("what was shown is not what is asked for", "look at the approval again"),
    "own": ("it is your own plan", "somebody else must approve it"),
    "no_reason": ("it needs a reason", "say why in `reason`"),
    "group": ("your yes is not among those that it needs", ""),
    "again": ("you approved it already", "somebody else must approve it, too"),
}

#: Why an execution does not go on where it stopped; without a word here its state is the reason.
_NOT_RESUMED = {
    "not_approved": "it was not approved",
    "undone": "what it did was reversed",
    "nothing_failed": "nothing of it failed",
}


class Resolution(StrEnum):
    """How a person says that an interrupted row ended; `retry` lets it run once more."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY = "retry"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Decided:
    """The execution's state after a decision, and the rows to publish."""

    execution_id: UUID
    state: str
    sending: Sending
    #: Of an approval: "approved" once enough people said yes; None while more are needed.
    decision: str | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """Who says yes or no, from where, and why."""

    principal: Principal
    reason: str = ""
    #: In whose name: "approver" by the role, and the policy's own groups.
    groups: Sequence[str] = ()
    #: Where the request came from.
    origin: str = ""

    def as_json(self) -> str:
        """As the ledger keeps it."""
        who = {"id": self.principal.id, "name": self.principal.name, "from": self.origin}
        return write_json(who | {"groups": list(self.groups)})


class Decisions:
    """Every method raises `Unavailable` when the ledger cannot be reached."""

    def __init__(self, autocommit: Engine) -> None:
        self._engine = autocommit

    def resolve_step(  # noqa: PLR0913  # who says what of which row, and why
        self,
        execution_id: UUID,
        step_id: int,
        resolution: Resolution,
        *,
        actor: str,
        reason: str,
        send: int,
        origin: str = "",
    ) -> Decided:
        """Say how an interrupted row ended; its mutex is free then, and the plan goes on.

        The event keeps actor, reason and the evidence that there was. Skipping a row that a
        cancel covers cancels it. Raises NotFound, and Conflict for a row in any other state or a
        retry of a cancelled one.
        """
        answer = self._call(
            "resolve_step", execution_id, step_id, resolution.value, actor, reason, send, origin
        )
        if answer is None:
            raise _no_such_row(execution_id, step_id)
        if not answer["accepted"]:
            refuse_resolution(step_id, answer)
        return Decided(execution_id, answer["execution_state"], read_sending(answer))

    def ask_probe(
        self, execution_id: UUID, step_id: int, *, actor: str, reason: str, origin: str = ""
    ) -> None:
        """Have an interrupted row's probe asked again, soon.

        Raises NotFound, and Conflict for a row in another state, without a probe, or while it is
        asked already.
        """
        answer = self._call("ask_probe", execution_id, step_id, actor, reason, origin)
        if answer is None:
            raise _no_such_row(execution_id, step_id)
        if not answer["accepted"]:
            _refuse_ask(step_id, answer)

    def resume_execution(  # noqa: PLR0913  # who wants what of which execution, and why
        self,
        execution_id: UUID,
        *,
        only_failed: bool,
        actor: str,
        reason: str,
        send: int,
        origin: str = "",
    ) -> Decided:
        """Start a failed or cancelled execution again where it first failed.

        What failed, was cancelled or skipped from there on is to run once more, what succeeded is
        not; with `only_failed` on the failed targets alone. Raises NotFound, and Conflict for an
        execution that still runs, succeeded, or was not approved.
        """
        answer = self._call(
            "resume_execution", execution_id, only_failed, actor, reason, send, origin
        )
        if answer is None:
            raise NotFound(f"no execution {execution_id}", hint="see 'opsfarm executions list'")
        if not answer["accepted"]:
            refuse_resume(f"execution {execution_id}", execution_id, answer)
        return Decided(execution_id, answer["state"], read_sending(answer))

    def undo_execution(self, execution_id: UUID, voice: Voice) -> str:
        """Have the dispatcher reverse what a final execution did; its state then.

        Raises NotFound, and Conflict while it is not final, or where nothing is left to reverse.
        """
        answer = self._call(
            "undo_execution", execution_id, voice.principal.name, voice.reason, voice.origin
        )
        if answer is None:
            raise NotFound(f"no execution {execution_id}", hint="see 'opsfarm executions list'")
        if not answer["accepted"]:
            why = "nothing that changed anything is left to reverse"
            if not answer["final"]:
                why = f"it is {answer['state']}; only a final one can be undone"
            raise Conflict(
                f"execution {execution_id} cannot be undone: {why}",
                hint=f"'opsfarm executions show {execution_id}' shows what it did",
            )
        return str(answer["state"])

    def approve(self, approval_id: int, digest: str, voice: Voice, *, send: int) -> Decided:
        """Say yes to what was shown with this digest; the last yes needed lets its rows begin.

        Raises NotFound, Forbidden for one's own plan or outside of the groups, Conflict for an
        approval that was decided, expired, or is for something else.
        """
        tenant = voice.principal.tenant
        answer = self._call(
            "approve", tenant, approval_id, digest, voice.as_json(), voice.reason, send
        )
        return _read_decision(approval_id, answer)

    def reject(self, approval_id: int, voice: Voice, *, send: int) -> Decided:
        """Say no: what waits is cancelled, and the plan stops or goes on as after a failure.

        Where nothing had begun yet, the whole execution is cancelled. Raises NotFound, Conflict.
        """
        tenant, said = voice.principal.tenant, voice.as_json()
        answer = self._call(
            "end_approval", tenant, approval_id, "rejected", said, voice.reason, send
        )
        return _read_decision(approval_id, answer)

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401  # JSON
        with guard_unavailable(), self._engine.connect() as connection:
            return call(connection, function, *arguments)


def _no_such_row(execution_id: UUID, step_id: int) -> NotFound:
    return NotFound(
        f"execution {execution_id} has no step {step_id}",
        hint=f"'opsfarm executions show {execution_id}' shows the ids of its rows",
    )


def _refuse_ask(step_id: int, answer: Mapping[str, Any]) -> None:
    why, hint = {
        "state": (f"it is {answer['state']}; only an interrupted step is probed", ""),
        "no_probe": ("its operation has no probe", "look at the target, and say how it ended"),
        "asked": ("it is asked now", "its answer comes within two minutes, or you may ask again"),
    }[answer["why"]]
    raise Conflict(f"the probe of step {step_id} cannot be asked: {why}", hint=hint)


def refuse_resume(what: str, execution_id: UUID, answer: Mapping[str, Any]) -> None:
    """Raise Conflict: why something of a final execution does not go on, and what to do then."""
    why = _NOT_RESUMED.get(answer["why"], "")
    state = answer.get("execution_state") or answer["state"]
    hint = f"'opsfarm executions rerun {execution_id}' starts the plan anew"
    if state not in FINAL_EXECUTION_STATES:
        hint = f"'opsfarm executions watch {execution_id}' shows its end"
    told = f"{why} (state {state})" if why else f"it is {state}"
    raise Conflict(f"{what} cannot be resumed: {told}", hint=hint)


def refuse_resolution(step_id: int, answer: Mapping[str, Any]) -> None:
    """Raise Conflict: why the outcome of a row is nobody's to say."""
    if answer["state"] == "interrupted":
        raise Conflict(
            f"step {step_id} cannot run again: its execution was cancelled",
            hint="resolve it as succeeded, failed or skipped",
        )
    raise Conflict(f"step {step_id} is {answer['state']}; only an interrupted step can be resolved")


def _read_decision(approval_id: int, answer: Mapping[str, Any] | None) -> Decided:
    if answer is None:
        raise NotFound(f"no approval {approval_id}", hint="see 'opsfarm approvals list'")
    if not answer["accepted"]:
        _refuse_decision(approval_id, answer)
    return Decided(
        UUID(answer["execution_id"]), answer["state"], read_sending(answer), answer["decision"]
    )


def _refuse_decision(approval_id: int, answer: Mapping[str, Any]) -> None:
    if answer["why"] == "decided":
        raise Conflict(f"approval {approval_id} is decided already: {answer['decision']}")
    why, hint = _REFUSALS[answer["why"]]
    if answer["why"] == "group":
        hint = f"it needs {' and '.join(map(_tell_group, answer['needed'])) or _tell_group()}"
    refused = Forbidden if answer["why"] in {"own", "group"} else Conflict
    raise refused(f"approval {approval_id}: {why}", hint=hint)


def _tell_group(name: str = "approver") -> str:
    return "the role approver" if name == "approver" else f"a member of the group {name!r}"
