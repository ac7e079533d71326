"""What the dispatcher reads and does: due steps, unsent rows, dead leases, old records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Engine, text

from app.json_text import write_json
from app.plan import Ask, CheckedStep
from app.principal import Principal, Role
from app.step import State
from app.store.db import guard_unavailable
from app.store.ledger import Link, Sending, ask_json, call, read_sending
from app.store.rows import expansion_json
from tool_catalog.model import Reason

DUE_LIMIT = 50
RETENTION_BATCH = 200

_DUE = """
    select s.id, s.execution_id, s.tenant, s.position, s.stage, s.template, e.name, e.state,
           e.finally_stage, e.failed, e.cancelled, e.cancel_below, e.approval_timeout_s,
           p.id as principal_id, p.name as principal, p.role
    from steps s
    join executions e on e.id = s.execution_id
    join principals p on p.id = s.principal_id
    where s.state = 'due' order by s.id limit :limit
"""
_BEFORE = """
    select id, position, key, stage, target_index, tool, operation, effect, state, attempt, queue,
           worker, blocked_by, reason, result, target, item, run_as
    from steps where execution_id = :execution and stage < :stage and key = any (:keys)
    order by stage, target_index, id
"""
_DONE = """
    select id, position, key, stage, tool, operation, domain, queue, effect, repeat, parameters,
           target, item, run_as, needs, timeout_s, max_retries, backoff_s, finished_at,
           coalesce(result, '{}') as result,
           (select coalesce(max(b.block), 0) + 1 from steps b
            where b.execution_id = :execution) as free_block
    from list_undoable(:execution)
"""
_UNSERVED = """
    update steps set reason = 'no_worker: ' || coalesce(
            nullif(array_to_string(array(
                select jsonb_array_elements_text(needs -> 'capabilities')), ', '), ''), queue)
        || coalesce(' on ' || (needs ->> 'vantage'), '')
    where id in (
        select id from steps where state = 'queued' and queue = :queue and reason is null
        for update skip locked)
"""
_OLD = """
    delete from executions where id in (
        select id from executions
        where finished_at < now() - make_interval(days => :days)
        order by id limit :limit for update skip locked)
"""
_OLD_CHUNKS = "delete from output_chunks where at < now() - make_interval(days => :days)"
_OLD_EVENTS = """
    delete from events where id in (
        select v.id from events v
        where v.at < now() - make_interval(days => :days)
          and not exists (select 1 from executions e where e.id = v.execution_id) limit :limit)
"""
# No limit's interval is longer (`app.limits.MAX_EVERY_S`).
_OLD_STARTS = "delete from cap_starts where started_at < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class DueStep:
    """A dynamic step whose turn has come."""

    step_id: int
    execution_id: UUID
    position: int
    stage: int
    section: str
    template: Mapping[str, Any]
    plan_name: str
    #: What `{{ execution.state }}` says: how the main part stands now.
    execution_state: str
    principal: Principal
    #: How long its plan wants an approval to stay open; None: as the farm says.
    approval_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unrun:
    """Why a due step does not run: skipped, or failed for a reason."""

    state: Literal[State.SKIPPED, State.FAILED]
    summary: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A running row, as the sweeper sees it."""

    step_id: int
    token: UUID
    heartbeats: int


class Outbox:
    """Raises `Unavailable` when the ledger cannot be reached."""

    def __init__(self, autocommit: Engine) -> None:
        self._engine = autocommit

    def due_steps(self) -> list[DueStep]:
        """Dynamic steps to render now, oldest first."""
        return [_read_due(row) for row in self._read(_DUE, limit=DUE_LIMIT)]

    def rows_before(self, due: DueStep, keys: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of earlier steps that a template names."""
        rows = self._read(_BEFORE, execution=due.execution_id, stage=due.stage, keys=list(keys))
        return [dict(row) for row in rows]

    def rows_done(self, due: DueStep) -> list[dict[str, Any]]:
        """What an execution did and nothing reversed yet, in any order.

        `free_block` is a number that none of its blocks has.
        """
        return [dict(row) for row in self._read(_DONE, execution=due.execution_id)]

    def expand_step(
        self, step_id: int, steps: Sequence[CheckedStep], send: int, ask: Ask | None = None
    ) -> Sending:
        """Put rendered steps, their stages counted from 0, in a due row's place.

        With `ask` they wait for an approval. Gives the rows to publish, at most `send`.
        """
        rows = write_json(expansion_json(steps))
        asked = write_json(ask_json(ask)) if ask else None
        return read_sending(self._call("expand_step", step_id, rows, asked, send))

    def settle_due(self, step_id: int, ended: Unrun, send: int) -> Sending:
        """End a due step, or its whole block, without running it; what follows, at most `send`."""
        answer = self._call(
            "settle_due",
            step_id,
            ended.state.value,
            ended.reason.value if ended.reason else None,
            ended.summary,
            send,
        )
        return read_sending(answer)

    def queues(self) -> list[str]:
        """Queues that have rows waiting."""
        rows = self._read("select queue from queued_queues() as queue order by queue")
        return [row["queue"] for row in rows]

    def count_sent(self, queue: str) -> int:
        """Rows that were published to a queue and not claimed yet."""
        rows = self._read(
            "select count(*) as n from steps"
            " where state = 'queued' and queue = :queue and sent_at is not null",
            queue=queue,
        )
        return int(rows[0]["n"])

    def live_slots(self, queue: str, within_s: float) -> int:
        """How many steps the live workers of a queue can run at once."""
        rows = self._read(
            "select coalesce(sum(slots), 0) as n from workers where :queue = any (queues)"
            " and stopped_at is null and seen_at > now() - make_interval(secs => :within)",
            queue=queue,
            within=within_s,
        )
        return int(rows[0]["n"])

    def tell_unserved(self, queue: str) -> None:
        """Let rows say what they wait for: no live worker serves their queue."""
        with guard_unavailable(), self._engine.connect() as connection:
            connection.execute(text(_UNSERVED), {"queue": queue})

    def take_unsent(self, queue: str, limit: int, resend_s: float | None) -> list[Sending]:
        """Mark rows as sent and give them; `resend_s` None takes only those never sent."""
        rows = self._call("take_unsent", queue, limit, resend_s)
        return [Sending(run=(Link(*row[:6]),), plan_name=row[6]) for row in rows]

    def probe_queues(self) -> list[str]:
        """Queues with interrupted rows whose probe is to be asked now."""
        return [row["queue"] for row in self._read("select probe_queues() as queue")]

    def take_probes(self, queue: str, limit: int, resend_s: float) -> list[Sending]:
        """Count rows as asked and give them; a lost message is due again after `resend_s`."""
        rows = self._call("take_probes", queue, limit, resend_s)
        return [Sending(run=(Link(*row[:6]),), plan_name=row[6]) for row in rows]

    def leases(self) -> list[Lease]:
        """Every running row."""
        rows = self._read("select id, token, heartbeats from steps where state = 'running'")
        return [Lease(row["id"], row["token"], row["heartbeats"]) for row in rows]

    def reap_step(self, lease: Lease, starts: int, backoff_s: float) -> tuple[str | None, Sending]:
        """End a dead lease: the state it went to (None: it was alive after all), what follows."""
        answer = self._call(
            "reap_step", lease.step_id, lease.token, lease.heartbeats, starts, backoff_s
        )
        return answer.get("to"), read_sending(answer)

    def next_start_s(self) -> float | None:
        """Seconds until the interval of some limit lets a waiting row begin, or a probe is due.

        None: nothing waits for a moment.
        """
        wait_s = self._call("next_start_s")
        return None if wait_s is None else max(0.0, float(wait_s))

    def expire_executions(self) -> int:
        """Cancel what took longer than its plan allows; how many."""
        return int(self._call("expire_executions", 100))

    def expire_queued(self) -> int:
        """Fail rows that waited too long for a worker; how many."""
        return int(self._call("expire_queued", 100))

    def expire_approvals(self) -> int:
        """Cancel what nobody approved in time; how many approvals ended so."""
        return int(self._call("expire_approvals", 100))

    def remove_old(self, days: int) -> int:
        """Remove executions past their retention with their events and output; how many."""
        with guard_unavailable(), self._engine.connect() as connection:
            connection.execute(text(_OLD_CHUNKS), {"days": min(days, 7)})
            gone = connection.execute(text(_OLD), {"days": days, "limit": RETENTION_BATCH})
            connection.execute(text(_OLD_STARTS))
            connection.execute(text(_OLD_EVENTS), {"days": days, "limit": RETENTION_BATCH * 50})
        return int(gone.rowcount)

    def _read(self, query: str, **values: Any) -> Sequence[Any]:  # noqa: ANN401  # bound values
        with guard_unavailable(), self._engine.connect() as connection:
            return connection.execute(text(query), values).mappings().all()

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401  # JSON
        with guard_unavailable(), self._engine.connect() as connection:
            return call(connection, function, *arguments)


def _read_due(row: Any) -> DueStep:  # noqa: ANN401  # a row of _DUE
    in_main = row["stage"] < row["finally_stage"]
    state = row["state"]
    if not in_main:
        state = "failed" if row["failed"] else "cancelled" if row["cancelled"] else "succeeded"
    return DueStep(
        step_id=row["id"],
        execution_id=row["execution_id"],
        position=row["position"],
        stage=row["stage"],
        section="main" if in_main else "finally",
        template=row["template"],
        plan_name=row["name"],
        execution_state=state,
        principal=Principal(
            row["principal_id"], row["principal"], Role(row["role"]), row["tenant"]
        ),
        approval_timeout_s=row["approval_timeout_s"],
    )
