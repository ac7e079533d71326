"""Schedules: plans that beat submits when they are due. Added, listed, paused, resumed, removed."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from uuid_utils.compat import uuid7

from app.calendar import Timing, next_due, next_dues
from app.errors import PlanRejected
from app.parts import Parts
from app.plan import CheckedPlan, Plan
from app.plan_name import PlanName
from app.plan_reader import PlanRequest
from app.principal import Principal
from app.schedule_reader import NewSchedule, join_faults, read_schedule
from app.store.models import ScheduleRow
from app.store.plans import NewPlan
from app.stored_plans import as_text, open_plan, tools_of
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

    A plan that it brings is stored under its name; the schedule runs that version.
    Raises Malformed, PlanRejected (every fault at once), Conflict, Unavailable.
    """
    now = clock()
    new = read_schedule(body, now)
    checked = _check_plan(new, principal, parts)
    row = _make_row(new, principal, now)
    brought = None if new.plan is None else _make_plan(new, checked, principal, parts)
    parts.schedules.add(row, principal.name, brought)
    return show_schedule(row, principal.name) | {"warnings": list(checked.warnings)}


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
        "plan": str(plan_of(row)),
        "inputs": dict(row.inputs),
        "limit": row.limit,
        "reason": row.reason,
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


def plan_of(row: ScheduleRow) -> PlanName:
    """The stored plan that a schedule runs; without a version the newest."""
    return PlanName(row.plan_name, row.plan_version)


def beside_plan(row: ScheduleRow) -> PlanRequest:
    """What a schedule runs its plan with."""
    return PlanRequest(None, inputs=row.inputs, limit=row.limit, reason=row.reason)


def _check_plan(new: NewSchedule, principal: Principal, parts: Parts) -> CheckedPlan:
    """Check as a submit does; raises PlanRejected with the timing's faults beside the plan's."""
    plan = _find_plan(new, principal, parts)
    try:
        checked = check(plan, principal, parts)
    except PlanRejected as error:
        raise join_faults(new, error) from None
    if new.faults:
        raise PlanRejected(new.faults)
    return checked


def _find_plan(new: NewSchedule, principal: Principal, parts: Parts) -> Plan:
    """The plan that the schedule brings or names; raises PlanRejected."""
    if new.plan is not None:
        return new.plan
    if new.stored is None:
        raise PlanRejected(new.faults)
    try:
        return open_plan(new.stored, new.beside, principal.tenant, parts)
    except PlanRejected as error:
        raise PlanRejected([*new.faults, *error.faults], error.plan) from None


def _make_row(new: NewSchedule, principal: Principal, now: datetime) -> ScheduleRow:
    request, stored = new.request, new.stored or PlanName(new.request.name)
    return ScheduleRow(
        id=uuid7(),
        tenant=principal.tenant,
        name=request.name,
        principal_id=principal.id,
        plan_name=stored.name,
        plan_version=stored.version,
        inputs=dict(new.beside.inputs),
        limit=new.beside.limit,
        reason=new.beside.reason,
        cron=request.cron,
        interval_s=request.interval_s,
        timezone=request.timezone,
        overlap=request.overlap,
        catch_up=request.catch_up,
        grace_s=request.grace_s,
        next_at=next_due(request.timing, now),
    )


def _make_plan(
    new: NewSchedule, checked: CheckedPlan, principal: Principal, parts: Parts
) -> NewPlan:
    """The plan that the schedule brought, to be stored with it."""
    return NewPlan(
        tenant=principal.tenant,
        name=new.request.name,
        document=as_text(new.request.plan),
        saved_by=principal.name,
        tools=tools_of(checked, parts.catalog),
        note=f"of the schedule {new.request.name}",
    )
