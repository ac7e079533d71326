"""Firing: what beat does with a schedule whose time has come.

A due time's execution has the key `schedule:<id>:<due time>`: two beats, or one that died
between its submit and its commit, start it once.
"""

import logging
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from app.calendar import Passed, is_in_time, next_due, passed_dues
from app.errors import Fault, Forbidden, Malformed, PlanRejected, Unavailable, UserError
from app.parts import Parts
from app.plan import Plan
from app.principal import Principal, Role
from app.schedules import Clock, beside_plan, plan_of, read_clock, timing_of
from app.store.models import ScheduleRow
from app.store.schedules import Run, Turn
from app.stored_plans import open_plan
from app.submit import Accepted, submit

_log = logging.getLogger(__name__)


class Submit(Protocol):
    """`app.submit.submit`, or what stands for it in a test."""

    def __call__(
        self, plan: Plan, principal: Principal, parts: Parts, *, key: str, source: str
    ) -> Accepted:
        """Start the plan, once for each key."""


class Firing:
    """Submits the plans of due schedules. Any number may run side by side."""

    def __init__(self, parts: Parts, submit: Submit = submit, clock: Clock = read_clock) -> None:
        self._parts = parts
        self._submit = submit
        self._clock = clock

    def run_once(self) -> float | None:
        """Fire what is due; give the seconds until more is, None when nothing is planned.

        Raises Unavailable when the ledger is away: what was not fired stays due.
        """
        now = self._clock()
        for schedule_id in self._parts.schedules.due_ids(now):
            with self._parts.schedules.take_turn(schedule_id, now) as turn:
                if turn is not None:
                    self._serve(turn, now)
        following = self._parts.schedules.next_at(now)
        if following is None:
            return None
        return max(0.0, (following - self._clock()).total_seconds())

    def _serve(self, turn: Turn, now: datetime) -> None:
        """Start, skip, hold back or miss what has come due, and set the next due time."""
        row = turn.row
        timing = timing_of(row)
        passed = passed_dues(timing, row.next_at, now)
        latest = passed.latest[-1]
        started = _find_started(turn, passed)
        last_run = turn.read_last_run()
        if latest not in started and row.overlap == "queue" and last_run and last_run.open:
            _note_waiting(turn, latest, last_run)
            return
        fires = latest not in started and _in_time(row, latest, now, last_run)
        _note_lost(turn, passed.count - len(started) - fires, last_run)
        if fires:
            self._start(turn, latest, last_run)
        row.last_at = latest
        row.next_at = next_due(timing, latest)

    def _start(self, turn: Turn, due: datetime, last_run: Run | None) -> None:
        if turn.row.overlap == "skip" and last_run and last_run.open:
            turn.row.last_outcome = f"skipped: {_still(last_run)}"
            turn.record("schedule.skipped", last_run.id, due=due.isoformat(), count=1)
            return
        try:
            accepted = self._submit_plan(turn, due)
        except Unavailable:
            raise  # nothing was written: the schedule stays due
        except UserError as error:
            _note_refused(turn, due, _describe(error))
        except Exception as error:  # noqa: BLE001  # logged and recorded
            # One schedule that meets a fault of ours must not stop all the others.
            _log.exception("schedule %s could not be fired", turn.row.name)
            _note_refused(turn, due, f"internal error ({type(error).__name__}); see beat's log")
        else:
            delayed = " (the broker is down: delivery is delayed)" * (accepted.delivery != "sent")
            turn.row.last_execution_id = accepted.execution_id
            turn.row.last_outcome = f"started {accepted.execution_id}{delayed}"
            turn.record("schedule.fired", accepted.execution_id, due=due.isoformat())

    def _submit_plan(self, turn: Turn, due: datetime) -> Accepted:
        row, owner = turn.row, turn.read_principal()
        if owner.revoked_at is not None:
            raise Forbidden(f"the key of '{owner.name}' was revoked")
        principal = Principal(owner.id, owner.name, Role(owner.role), owner.tenant)
        return self._submit(
            open_plan(plan_of(row), beside_plan(row), row.tenant, self._parts),
            principal,
            self._parts,
            key=make_key(row.id, due),
            source=f"schedule:{row.name}",
        )


def make_key(schedule_id: UUID, due: datetime) -> str:
    """The idempotency key of one due time, which is in UTC."""
    return f"schedule:{schedule_id}:{due.astimezone(UTC).isoformat()}"


def _find_started(turn: Turn, passed: Passed) -> set[datetime]:
    """The due times that a beat started, and died before it could say so."""
    by_key = {make_key(turn.row.id, due): due for due in passed.latest}
    found = {by_key[key]: execution_id for key, execution_id in turn.find_submitted(by_key).items()}
    if found:
        turn.row.last_execution_id = found[max(found)]
        turn.row.last_outcome = f"started {found[max(found)]}"
    return set(found)


def _in_time(row: ScheduleRow, due: datetime, now: datetime, last_run: Run | None) -> bool:
    grace_s = row.grace_s if row.catch_up == "last" else None
    return is_in_time(due, now, grace_s, _free_at(row, last_run))


def _free_at(row: ScheduleRow, last_run: Run | None) -> datetime | None:
    """When a due time that waited could start at the earliest."""
    return last_run.finished_at if last_run and row.overlap == "queue" else None


def _note_waiting(turn: Turn, due: datetime, last_run: Run) -> None:
    """Once for each wait, not once for each look."""
    outcome = f"waiting: {_still(last_run)}"
    if turn.row.last_outcome != outcome:
        turn.row.last_outcome = outcome
        turn.record("schedule.waiting", last_run.id, due=due.isoformat())


def _note_lost(turn: Turn, count: int, last_run: Run | None) -> None:
    """Due times that nobody starts any more: behind one that waited, or while no beat ran."""
    if count <= 0:
        return
    row = turn.row
    free_at = _free_at(row, last_run)
    kind = "skipped" if free_at and free_at >= row.next_at else "missed"
    row.last_outcome = f"{kind}: {count} due time{'s' if count > 1 else ''}"
    turn.record(f"schedule.{kind}", None, count=count, since=row.next_at.isoformat())
    _log.warning("schedule %s: %d due times were %s", row.name, count, kind)


def _note_refused(turn: Turn, due: datetime, why: str) -> None:
    turn.row.last_outcome = f"refused: {why}"
    turn.record("schedule.refused", None, due=due.isoformat(), reason=why)
    _log.warning("schedule %s: the plan was refused: %s", turn.row.name, why)


def _describe(error: UserError) -> str:
    faults = error.faults if isinstance(error, PlanRejected | Malformed) else ()
    return "; ".join([error.message, *map(_say, faults)])[:500]


def _say(fault: Fault) -> str:
    line = f"line {fault.line}, " if fault.line else ""
    where = f"{line}step {fault.step}: " if fault.step else f"{line}{fault.path}: "
    return where + fault.message + (f" ({fault.hint})" if fault.hint else "")


def _still(run: Run) -> str:
    return f"execution {run.id} is {run.state}"
