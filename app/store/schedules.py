"""Schedules in the ledger: rows, their events, and the lock under which beat fires one."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.step import FINAL_EXECUTION_STATES
from app.store.db import guard_unavailable, make_sessions
from app.store.models import Event, ExecutionRow, Principal, ScheduleRow
from app.store.plans import NewPlan, add_version


@dataclass(frozen=True, slots=True)
class Run:
    """An execution that a schedule started."""

    id: UUID
    state: str
    finished_at: datetime | None

    @property
    def open(self) -> bool:
        """Whether it still runs or waits for somebody."""
        return self.state not in FINAL_EXECUTION_STATES


class Turn:
    """One schedule, locked: all that is done to it here is committed together at the end."""

    def __init__(self, session: Session, row: ScheduleRow) -> None:
        self._session = session
        self.row = row

    def record(self, kind: str, execution_id: UUID | None = None, **data: Any) -> None:  # noqa: ANN401  # any JSON
        """Add an event of what beat did with the schedule."""
        actor = f"schedule:{self.row.name}"
        self._session.add(_make_event(self.row, kind, actor, execution_id, data))

    def record_change(self, kind: str, actor: str) -> None:
        """Add an event of what somebody did to the schedule."""
        self._session.add(_make_event(self.row, kind, actor, None, {}))

    def remove(self) -> None:
        """Forget the schedule; its executions and events stay."""
        self._session.delete(self.row)

    def read_principal(self) -> Principal:
        """Whose plan it is, with their role of today."""
        return self._session.get_one(Principal, self.row.principal_id)

    def read_last_run(self) -> Run | None:
        """The execution that this schedule started last."""
        found = self._session.get(ExecutionRow, self.row.last_execution_id or UUID(int=0))
        return Run(found.id, found.state, found.finished_at) if found else None

    def find_submitted(self, keys: Collection[str]) -> dict[str, UUID]:
        """Which of these idempotency keys already stand for an execution."""
        rows = select(ExecutionRow.idempotency_key, ExecutionRow.id).where(
            ExecutionRow.tenant == self.row.tenant,
            ExecutionRow.principal_id == self.row.principal_id,
            ExecutionRow.idempotency_key.in_(keys),
        )
        return {str(key): found for key, found in self._session.execute(rows)}


class Schedules:
    """Reads and writes schedules. Raises Unavailable when the ledger is away."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = make_sessions(engine)

    def add(self, row: ScheduleRow, actor: str, plan: NewPlan | None = None) -> None:
        """Keep a new schedule, which runs the version that a `plan` becomes.

        Raises Conflict when the name is taken; then the plan is not stored either.
        """
        try:
            with guard_unavailable(), self._sessions.begin() as session:
                if plan is not None:
                    row.plan_version = add_version(session, plan)[0].version
                session.add(row)
                session.add(_make_event(row, "schedule.added", actor, None, {}))
        except IntegrityError as error:
            raise Conflict(
                f"a schedule '{row.name}' exists",
                hint=f"choose another name, or 'opsfarm schedules remove {row.name}' first",
            ) from error

    def read_all(self, tenant: str) -> list[tuple[ScheduleRow, str]]:
        """Every schedule of a tenant with its principal's name, by name."""
        rows = (
            select(ScheduleRow, Principal.name)
            .join(Principal, Principal.id == ScheduleRow.principal_id)
            .where(ScheduleRow.tenant == tenant)
            .order_by(ScheduleRow.name)
        )
        with guard_unavailable(), self._sessions() as session:
            return [(row, name) for row, name in session.execute(rows)]

    @contextmanager
    def lock(self, tenant: str, name: str) -> Iterator[Turn]:
        """Lock a schedule by its name; raises NotFound. One that fires right now is waited for."""
        row = select(ScheduleRow).where(ScheduleRow.tenant == tenant, ScheduleRow.name == name)
        with guard_unavailable(), self._sessions.begin() as session:
            found = session.scalar(row.with_for_update())
            if found is None:
                raise NotFound(
                    f"no schedule '{name[:80]}'", hint="'opsfarm schedules list' shows them"
                )
            yield Turn(session, found)

    def due_ids(self, now: datetime) -> list[UUID]:
        """The schedules that are due, longest due first."""
        ids = select(ScheduleRow.id).where(ScheduleRow.paused_at.is_(None))
        ids = ids.where(ScheduleRow.next_at <= now).order_by(ScheduleRow.next_at)
        with guard_unavailable(), self._sessions() as session:
            return list(session.scalars(ids))

    def next_at(self, after: datetime) -> datetime | None:
        """When the next schedule is due, later than `after`."""
        times = select(ScheduleRow.next_at).where(ScheduleRow.paused_at.is_(None))
        times = times.where(ScheduleRow.next_at > after).order_by(ScheduleRow.next_at).limit(1)
        with guard_unavailable(), self._sessions() as session:
            return session.scalar(times)

    @contextmanager
    def take_turn(self, schedule_id: UUID, now: datetime) -> Iterator[Turn | None]:
        """Lock a due schedule; None when another beat has it, or it is not due any more."""
        row = select(ScheduleRow).where(ScheduleRow.id == schedule_id)
        row = row.where(ScheduleRow.paused_at.is_(None), ScheduleRow.next_at <= now)
        with guard_unavailable(), self._sessions.begin() as session:
            found = session.scalar(row.with_for_update(skip_locked=True))
            yield Turn(session, found) if found else None


def _make_event(
    row: ScheduleRow, kind: str, actor: str, execution_id: UUID | None, data: dict[str, Any]
) -> Event:
    return Event(
        tenant=row.tenant,
        execution_id=execution_id,
        kind=kind,
        actor=actor,
        data={"schedule_id": str(row.id), "schedule": row.name, **data},
    )
