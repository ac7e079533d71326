"""What the ledger tells: executions, their steps and their events, as JSON-ready data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, RowMapping, text

from app.errors import Conflict, NotFound
from app.store.approvals import Approvals
from app.store.db import guard_unavailable
from app.store.views import (
    show_event,
    show_execution,
    show_head,
    show_lock,
    show_wait,
    show_waiting,
)

MIN_PREFIX = 8
EXECUTIONS_LIMIT = 500
EVENTS_LIMIT = 1000
#: Queued rows that a watcher is told of: the first.
WAITS_LIMIT = 10

_EXECUTION = """
    select e.id, e.name, e.state, e.source, e.warnings, e.created_at, e.finished_at, e.plan_digest,
           e.cancel_requested_at, e.cancelled_by, e.cancel_reason, e.finally_stage,
           e.idempotency_key, e.plan_name, e.plan_version, e.rerun_of, e.run, e.waiting, e.reason,
           e.interrupted, p.name as principal,
           array(select r.id from executions r where r.rerun_of = e.id order by r.id) as reruns
    from executions e join principals p on p.id = e.principal_id
"""
_STEPS = """
    select id, position, key, stage, target_index, tool, operation, effect, state, attempt, queue,
           worker, blocked_by, reason, result, target, item, run_as, started_at, sent_at,
           not_before, caps is not null as capped, mutex, undoes
    from steps where execution_id = :execution order by position, stage, target_index, id
"""
# What stands in the way of queued rows: a limit, or whoever holds the mutex.
_WAITS = """
    with held as materialized (select held_caps(true) as caps)
    select s.id, h.id as step_id, h.execution_id, h.key, h.position, h.target, h.state,
           h.started_at, s.execution_id as own_execution, s.key as own_key,
           s.position as own_position, s.target as own_target, s.tool, s.operation, s.attempt,
           s.reason, case when s.not_before > clock_timestamp() then s.not_before end as not_before,
           s.queue, s.sent_at, clock_timestamp() as at,
           case when s.caps is not null and s.sent_at is null
                then tell_limit(s, (select caps from held)) end as limit
    from steps s
    left join steps h on h.tenant = s.tenant and h.mutex = s.mutex
        and h.state in ('running', 'interrupted') and h.id <> s.id
    where s.execution_id = :execution and s.state = 'queued'
"""
_HELD = _WAITS + " and (s.mutex is not null or s.caps is not null)"
_FIRST_WAITS = _WAITS + " order by s.id limit :limit"
_LOCKS = """
    with waits as materialized (
        select mutex, count(*) as waiting from steps
        where tenant = :tenant and mutex is not null and state = 'queued' group by mutex)
    select h.mutex, h.id as step_id, h.execution_id, h.key, h.position, h.target, h.state,
           h.started_at, coalesce(w.waiting, 0) as waiting
    from steps h left join waits w on w.mutex = h.mutex
    where h.tenant = :tenant and h.mutex is not null and h.state in ('running', 'interrupted')
      and (cast(:locks as text[]) is null or h.mutex = any (:locks))
    order by h.started_at, h.id limit :limit
"""
_EVIDENCE = """
    select s.id, step_evidence(s) as evidence from steps s
    where s.execution_id = :execution and s.state = 'interrupted'
"""
# Only what is below every running transaction: a late commit with a lower id would be missed
# for ever by a reader that goes by id alone.
_EVENTS = """
    select xid, id, at, tenant, execution_id, step_id, kind, actor, data from events
    where (xid, id) > (:xid, :id)
      and xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
      and (cast(:execution as uuid) is null or execution_id = :execution)
    order by xid, id limit :limit
"""
_CHUNKS = """
    select xid, id, at, tenant, execution_id, step_id, 'step.output' as kind, null as actor,
           jsonb_build_object('lines', lines) as data
    from output_chunks
    where (xid, id) > (:xid, :id)
      and xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
      and (cast(:execution as uuid) is null or execution_id = :execution)
    order by xid, id limit :limit
"""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """How far a reader got: in the events, and in the live output. Its text is an SSE id."""

    event: tuple[int, int] = (0, 0)
    chunk: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return ".".join(str(number) for number in (*self.event, *self.chunk))

    @classmethod
    def parse(cls, given: str) -> "Cursor":
        """Read the text back; raises ValueError."""
        numbers = [int(part) for part in given.split(".")]
        if len(numbers) != 4 or min(numbers) < 0:  # noqa: PLR2004  # two pairs
            raise ValueError(given)
        return cls((numbers[0], numbers[1]), (numbers[2], numbers[3]))


@dataclass(frozen=True, slots=True)
class EventView:
    """One event and the cursor that stands behind it."""

    cursor: Cursor
    execution_id: UUID | None
    tenant: str
    #: {id, at, execution_id, step_id, kind, actor, data}.
    body: dict[str, Any]


class Records:
    """Reads; every method raises `Unavailable` when the ledger cannot be reached."""

    def __init__(self, autocommit: Engine) -> None:
        self._engine = autocommit
        self._approvals = Approvals(autocommit)

    def find_execution_id(self, tenant: str, given: str) -> UUID:
        """The execution with this id, or the only one whose id begins so (8 characters)."""
        bare = given.strip().lower().replace("-", "")
        if len(bare) < MIN_PREFIX or len(bare) > 32 or set(bare) - set("0123456789abcdef"):  # noqa: PLR2004  # a UUID's digits
            raise NotFound(
                f"{given[:40]!r} is not an execution id",
                hint="give the id, or its first 8 or more characters",
            )
        low, high = UUID(bare.ljust(32, "0")), UUID(bare.ljust(32, "f"))
        rows = self._read(
            "select id from executions"
            " where tenant = :tenant and id between :low and :high limit 2",
            tenant=tenant,
            low=low,
            high=high,
        )
        if not rows:
            raise NotFound(f"no execution {given!r}", hint="see 'opsfarm executions list'")
        if len(rows) > 1:
            raise Conflict(f"several executions begin with {given!r}", hint="give more of the id")
        return UUID(str(rows[0]["id"]))

    def read_execution(self, tenant: str, execution_id: UUID) -> dict[str, Any]:
        """One execution with its steps and results, in the shape that API and CLI show."""
        found = self._read(
            _EXECUTION + " where e.tenant = :tenant and e.id = :id", tenant=tenant, id=execution_id
        )
        if not found:
            raise NotFound(f"no execution {execution_id}", hint="see 'opsfarm executions list'")
        head = found[0]
        rows = [dict(row) for row in self._read(_STEPS, execution=execution_id)]
        if head["interrupted"]:
            known = {
                row["id"]: row["evidence"] for row in self._read(_EVIDENCE, execution=execution_id)
            }
            rows = [row | {"evidence": known.get(row["id"])} for row in rows]
        if any(row["state"] == "queued" and (row["capped"] or row["mutex"]) for row in rows):
            held = {row["id"]: show_wait(row) for row in self._read(_HELD, execution=execution_id)}
            rows = [row | held.get(row["id"], {}) for row in rows]
        asked = self._approvals.of_execution(tenant, execution_id) if head["waiting"] else []
        waits = [each for each in asked if each["decision"] is None]
        return show_execution(head, rows) | {"approvals": waits}

    def list_locks(self, tenant: str, locks: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Held locks, the oldest first: who holds each, and how many rows wait for it.

        With `locks` only those of these.
        """
        given = None if locks is None else list(locks)
        rows = self._read(_LOCKS, tenant=tenant, locks=given, limit=EXECUTIONS_LIMIT)
        return [show_lock(row) for row in rows]

    def read_plan(self, execution_id: UUID) -> dict[str, Any]:
        """The plan of an execution as it is kept, with what its request gave; raises NotFound."""
        found = self._read(
            "select plan from execution_plans where execution_id = :id", id=execution_id
        )
        if not found:
            raise NotFound(f"no plan of execution {execution_id} is kept")
        plan: dict[str, Any] = found[0]["plan"]
        return plan

    def read_tools(self, execution_id: UUID) -> dict[str, str]:
        """The digests of its tools' files, by tool, as they were when it was submitted."""
        found = self._read(
            "select tools from execution_plans where execution_id = :id", id=execution_id
        )
        return dict(found[0]["tools"]) if found else {}

    def list_executions(
        self,
        tenant: str,
        *,
        state: str | None = None,
        limit: int = 50,
        before: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """Newest first, without steps. `before` is a `created_at` to go on from."""
        clauses = ["e.tenant = :tenant"]
        clauses += ["e.state = :state"] if state else []
        clauses += ["e.created_at < :before"] if before else []
        rows = self._read(
            _EXECUTION
            + f" where {' and '.join(clauses)} order by e.created_at desc, e.id desc limit :limit",
            tenant=tenant,
            state=state,
            before=before,
            limit=min(limit, EXECUTIONS_LIMIT),
        )
        return [show_head(row) for row in rows]

    def read_state(self, execution_id: UUID) -> str:
        """The state alone: what a waiter asks."""
        return self.read_progress(execution_id)[0]

    def read_progress(self, execution_id: UUID) -> tuple[str, int]:
        """The state, and the number of the run that it is in."""
        rows = self._read("select state, run from executions where id = :id", id=execution_id)
        return (str(rows[0]["state"]), int(rows[0]["run"])) if rows else ("", 1)

    def read_events(
        self, cursor: Cursor, execution_id: UUID | None = None, limit: int = EVENTS_LIMIT
    ) -> tuple[list[EventView], Cursor]:
        """Events and live output behind the cursor, in order, and the cursor to go on from."""
        events = self._behind(_EVENTS, cursor.event, execution_id, limit)
        chunks = self._behind(_CHUNKS, cursor.chunk, execution_id, limit)
        views = []
        for row in sorted([*events, *chunks], key=lambda row: (row["xid"], row["at"])):
            place = (row["xid"], row["id"])
            is_output = row["kind"] == "step.output"
            cursor = Cursor(cursor.event, place) if is_output else Cursor(place, cursor.chunk)
            body = show_event(row, str(cursor))
            views.append(EventView(cursor, row["execution_id"], row["tenant"], body))
        return views, cursor

    def read_waits(self, execution_id: UUID) -> list[dict[str, Any]]:
        """What its first queued rows wait for, as events `step.waits`.

        They are of this moment: nothing keeps them, and they have no id.
        """
        rows = self._read(_FIRST_WAITS, execution=execution_id, limit=WAITS_LIMIT)
        return [show_waiting(row) for row in rows]

    def newest_cursor(self) -> Cursor:
        """Behind everything that can be read now: where a live watcher starts."""
        rows = self._read("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 as xid")
        place = (int(rows[0]["xid"]), 2**62)
        return Cursor(place, place)

    def _behind(
        self, query: str, place: tuple[int, int], execution_id: UUID | None, limit: int
    ) -> Sequence[RowMapping]:
        return self._read(query, xid=place[0], id=place[1], execution=execution_id, limit=limit)

    def _read(self, query: str, **values: Any) -> Sequence[RowMapping]:  # noqa: ANN401  # bound values
        with guard_unavailable(), self._engine.connect() as connection:
            return connection.execute(text(query), values).mappings().all()
