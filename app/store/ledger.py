"""The ledger's commands: each is one SQL function, one round trip, one commit.

The functions and what each guards are in `migrations/sql/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from app.json_text import write_json
from app.plan import Ask, CheckedPlan
from app.principal import Principal
from app.step import Found, Probe, Step, StepResult, Target
from app.store.db import guard_unavailable
from app.store.rows import need_json, plan_json, result_json, rows_json
from tool_catalog.model import Effect, Repeat


@dataclass(frozen=True, slots=True)
class Link:
    """One row as the broker sees it; what Flower shows of it is in tool, operation, position."""

    step_id: int
    attempt: int
    queue: str
    tool: str
    operation: str
    position: int


@dataclass(frozen=True, slots=True)
class Sending:
    """Rows that the caller must publish now; the ledger holds them as sent already."""

    run: tuple[Link, ...] = ()
    #: Publish `run` as one chain; otherwise each row by itself.
    chain: bool = False
    #: Celery publishes the next link of the chain by itself.
    link: bool = False
    plan_name: str = ""
    targets: int = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer of `open_execution`; `created` is False for a repeated idempotency key."""

    execution_id: UUID
    state: str
    created: bool
    same_plan: bool
    sending: Sending


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer of `finish_step`; not accepted means that the step was not ours any more."""

    accepted: bool
    sending: Sending
    state: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """What `open_execution` needs beside the plan."""

    execution_id: UUID
    principal: Principal
    source: str
    key: str | None = None
    #: Somebody must say yes before anything begins.
    ask: Ask | None = None


class Ledger:
    """Postgres as the only truth; every method raises `Unavailable` when it cannot be reached."""

    def __init__(self, autocommit: Engine) -> None:
        self._engine = autocommit

    def open_execution(self, plan: CheckedPlan, asked: Submission, send: int) -> Opened:
        """Write an execution with all its steps; mark up to `send` rows (or one run) as sent."""
        answer = self._call(
            "open_execution",
            write_json(plan_json(plan) | _submission_json(asked)),
            write_json(rows_json(plan.steps)),
            send,
        )
        return Opened(
            execution_id=UUID(answer["execution_id"]),
            state=answer["state"],
            created=answer["created"],
            same_plan=answer.get("same", True),
            sending=read_sending(answer),
        )

    def claim_step(
        self, step_id: int, attempt: int, token: UUID, worker: str, queues: Sequence[str]
    ) -> Step | Sending | None:
        """The step when it is ours now, or interrupted and ours to probe; None when it is not.

        A `Sending` means that the row was settled instead (its principal may no longer run
        plans) and that these rows follow.
        """
        answer = self._call("claim_step", step_id, attempt, token, worker, list(queues))
        if answer is None:
            return None
        if "settled" in answer:
            return read_sending(answer["settled"])
        return _read_step(answer, token)

    def heartbeat(self, worker: str, tokens: Sequence[UUID]) -> tuple[set[UUID], set[UUID]]:
        """Tell that these steps are alive. Gives the tokens still ours, and those to stop."""
        answer = self._call("heartbeat", worker, list(tokens))
        return {UUID(t) for t in answer["mine"]}, {UUID(t) for t in answer["stop"]}

    def arm_step(self, step: Step, before: object = None) -> bool:
        """Say that the effect is about to happen, and how the world is. False: do not act."""
        told = None if before is None else write_json(before)
        return bool(self._call("arm_step", step.id, step.token, told))

    def finish_step(
        self,
        step: Step,
        result: StepResult,
        *,
        link: int | None,
        send: int,
        connection: Connection | None = None,
    ) -> Finished:
        """Bring a step to its end; on `connection` inside the caller's own transaction."""
        arguments = (
            step.id,
            step.token,
            result.state.value,
            result.reason.value if result.reason else None,
            write_json(result_json(result)),
            link,
            send,
        )
        if connection is None:
            answer = self._call("finish_step", *arguments)
        else:
            answer = call(connection, "finish_step", *arguments)
        return read_finished(answer)

    def retry_step(self, step: Step, result: StepResult, *, unknown: bool = False) -> bool:
        """Put a failed step back, later. False: no retry is left or allowed.

        An unknown outcome that may be repeated is tried again without a retry of the plan's.
        """
        reason = result.reason.value if result.reason else None
        text = write_json(result_json(result))
        return bool(self._call("retry_step", step.id, step.token, reason, text, unknown))

    def interrupt_step(self, step: Step, result: StepResult) -> bool:
        """Record an unknown outcome that a person must resolve."""
        reason = result.reason.value if result.reason else None
        return bool(
            self._call(
                "interrupt_step", step.id, step.token, reason, write_json(result_json(result))
            )
        )

    def probe_step(
        self, step: Step, found: Found, result: StepResult, *, pause_s: float, send: int
    ) -> Finished:
        """Say what an interrupted step's probe found; the result's `output` is its evidence.

        Done: succeeded. Not done: once nothing of it is on its way any more, queued again while it
        has starts left, then failed (`not_verified`). No answer: asked again after `pause_s`, a few
        times. Not accepted: somebody settled it meanwhile.
        """
        asked_at = step.probe.asked_at if step.probe else None
        text = write_json(result_json(result))
        return read_finished(
            self._call(
                "probe_step", step.id, step.token, found.value, asked_at, text, pause_s, send
            )
        )

    def release_step(self, step: Step) -> bool:
        """Give back a running step that has not armed."""
        return bool(self._call("release_step", step.id, step.token))

    def unsend_steps(self, step_ids: Sequence[int]) -> int:
        """Rows whose message was not delivered: the dispatcher will publish them."""
        return int(self._call("unsend_steps", list(step_ids)))

    def unsend_queue(self, queue: str) -> int:
        """All published rows of a queue whose messages are gone: the dispatcher publishes them."""
        return int(self._call("unsend_queue", queue))

    def cancel_execution(
        self, execution_id: UUID, actor: str, reason: str, send: int
    ) -> tuple[Mapping[str, Any], Sending]:
        """Ask an execution to stop: ({accepted, state, asked}, rows of `finally` to publish)."""
        answer = self._call("cancel_execution", execution_id, actor, reason, send)
        return answer, read_sending(answer)

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401  # JSON
        with guard_unavailable(), self._engine.connect() as connection:
            return call(connection, function, *arguments)


def call(connection: Connection, function: str, *arguments: Any) -> Any:  # noqa: ANN401  # JSON
    """Call one SQL function by position and give its single value."""
    marks = ", ".join(_mark(argument) for argument in arguments)
    return connection.exec_driver_sql(f"select {function}({marks})", arguments).scalar()


def _mark(argument: object) -> str:
    """A placeholder with the type that psycopg2 would leave unknown."""
    if isinstance(argument, UUID):
        return "%s::uuid"
    if isinstance(argument, list):
        return "%s::uuid[]" if argument and isinstance(argument[0], UUID) else "%s"
    return "%s"


def _submission_json(asked: Submission) -> dict[str, Any]:
    return {
        "id": str(asked.execution_id),
        "tenant": asked.principal.tenant,
        "principal_id": asked.principal.id,
        "principal": asked.principal.name,
        "idempotency_key": asked.key,
        "source": asked.source,
    } | ({"approval": ask_json(asked.ask)} if asked.ask else {})


def ask_json(ask: Ask) -> dict[str, Any]:
    """An approval as the ledger's functions take it."""
    return {
        "digest": ask.digest,
        "shown": ask.shown,
        "expires_s": ask.expires_s,
        "needed": need_json(ask.need),
    }


def _read_step(answer: Mapping[str, Any], token: UUID) -> Step:
    target, probe = answer["target"], answer.get("probe")
    return Step(
        id=answer["id"],
        execution_id=UUID(answer["execution_id"]),
        tenant=answer["tenant"],
        plan_name=answer["plan_name"],
        position=answer["position"],
        key=answer["key"],
        tool=answer["tool"],
        operation=answer["operation"],
        effect=Effect(answer["effect"]),
        repeat=Repeat(answer["repeat"]),
        parameters=answer["parameters"],
        target=Target(**target) if target else None,
        attempt=answer["attempt"],
        token=UUID(answer["token"]) if probe else token,
        timeout_s=answer["timeout_s"],
        retries_left=answer["retries_left"],
        backoff_s=answer["backoff_s"],
        secrets=tuple(answer["secrets"]),
        principal=answer["principal"],
        run_as=answer["run_as"],
        bound=answer["bound"],
        probe=Probe(**probe) if probe else None,
    )


def read_finished(answer: Mapping[str, Any]) -> Finished:
    """Whether a word about a step was taken, from the JSON of the ledger's function."""
    return Finished(
        accepted=answer["accepted"],
        sending=read_sending(answer),
        state=answer.get("execution_state") or answer.get("state") or "",
    )


def read_sending(answer: Mapping[str, Any]) -> Sending:
    """The rows to publish, from the JSON of any ledger function."""
    return Sending(
        run=tuple(Link(*link) for link in answer.get("run") or ()),
        chain=answer.get("chain", False),
        link=answer.get("link", False),
        plan_name=answer.get("name") or "",
        targets=answer.get("targets") or 1,
    )
