"""Schedules: plans that beat submits when they are due. Added, listed, paused, resumed, removed."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from uuid_utils.compat import uuid7

from app.calendar import Timing, next_due, next_dues
from app.errors import PlanRejected
from app.parts import Parts
from app.plan import Plan
from app.principal import Principal
from app.schedule_reader import NewSchedule, ScheduleRequest, join_faults, read_schedule
from app.store.models import ScheduleRow
from app.submit import check

#: How many coming due times are shown.
SHOWN_DUES = 5

Clock = Callable[[], datetime]


def read_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def add_schedule(
    body: bytes, principal: Principal, parts: Parts, clock: Clock = read_clock
) -> dict[str, Any]:
    """Check a schedule like a submit, keep it, and show its next five due times.

    Raises Malformed, PlanRejected (every fault at once), Conflict, Unavailable.
    """
    now = clock()
    new = read_schedule(body, now)
    plan, warnings = _check_plan(new, principal, parts)
    row = _make_row(new.request, plan, principal, now)
    parts.schedules.add(row, principal.name)
    return show_schedule(row, principal.name) | {"warnings": warnings}


def list_schedules(principal: Principal, parts: Parts) -> list[dict[str, Any]]:
    """Every schedule of the principal's tenant, by name."""
    return [show_schedule(row, owner) for row, owner in parts.schedules.read_all(principal.tenant)]


def pause_schedule(
    name: str, principal: Principal, parts: Parts, clock: Clock = read_clock
) -> dict[str, Any]:
    """Stop firing until it is resumed; a paused one stays as it is. Raises NotFound."""
    with parts.schedules.lock(principal.tenant, name) as turn:
        if turn.row.paused_at is None:
            turn.row.paused_at = clock()
            turn.record_change("schedule.paused", principal.name)
        return show_schedule(turn.row, turn.read_principal().name)


def resume_schedule(
    name: str, principal: Principal, parts: Parts, clock: Clock = read_clock
) -> dict[str, Any]:
    """Fire again, from the next due time on; what passed meanwhile is not made up for."""
    with parts.schedules.lock(principal.tenant, name) as turn:
        if turn.row.paused_at is not None:
            turn.row.paused_at = None
            turn.row.next_at = next_due(timing_of(turn.row), clock())
            turn.record_change("schedule.resumed", principal.name)
        return show_schedule(turn.row, turn.read_principal().name)


def remove_schedule(name: str, principal: Principal, parts: Parts) -> None:
    """Forget a schedule; the executions that it started stay. Raises NotFound."""
    with parts.schedules.lock(principal.tenant, name) as turn:
        turn.record_change("schedule.removed", principal.name)
        turn.remove()


def timing_of(row: ScheduleRow) -> Timing:
    """When a kept schedule is due."""
    return Timing(row.cron, row.interval_s, row.timezone)


def show_schedule(row: ScheduleRow, owner: str) -> dict[str, Any]:
    """A schedule as JSON; times carry the offset of the schedule's own time zone."""
    paused = row.paused_at is not None
    dues = [] if paused else next_dues(timing_of(row), row.next_at, SHOWN_DUES)
    return {
        "id": str(row.id),
        "name": row.name,
        "plan": row.plan.get("name"),
        "principal": owner,
        "cron": row.cron,
        "interval_s": row.interval_s,
        "timezone": row.timezone,
        "overlap": row.overlap,
        "catch_up": row.catch_up,
        "grace_s": row.grace_s,
        "paused": paused,
        "next_five": [due.isoformat() for due in dues],
        "last_at": row.last_at.isoformat() if row.last_at else None,
        "last_execution_id": str(row.last_execution_id) if row.last_execution_id else None,
        "last_outcome": row.last_outcome,
    }


def _check_plan(new: NewSchedule, principal: Principal, parts: Parts) -> tuple[Plan, list[str]]:
    """The plan and its warnings; raises PlanRejected with the timing's faults beside the plan's."""
    if new.plan is None:
        raise PlanRejected(new.faults)
    try:
        checked = check(new.plan, principal, parts)
    except PlanRejected as error:
        raise join_faults(new, error.faults) from None
    if new.faults:
        raise PlanRejected(new.faults)
    return new.plan, list(checked.warnings)


def _make_row(
    request: ScheduleRequest, plan: Plan, principal: Principal, now: datetime
) -> ScheduleRow:
    return ScheduleRow(
        id=uuid7(),
        tenant=principal.tenant,
        name=request.name,
        principal_id=principal.id,
        plan=dict(plan.document),
        cron=request.cron,
        interval_s=request.interval_s,
        timezone=request.timezone,
        overlap=request.overlap,
        catch_up=request.catch_up,
        grace_s=request.grace_s,
        next_at=next_due(request.timing, now),
    )
