"""A schedule as asked for: the request's members, read and checked (pure)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.calendar import Timing, find_timing_faults
from app.errors import Fault, PlanRejected
from app.faults import Faults
from app.inputs import read_given
from app.members import read_reason
from app.plan import MAX_STRING, Plan
from app.plan_name import ALLOWED, NAME, PlanName, is_plan_text, read_plan_name
from app.plan_reader import PlanRequest, fill_plan, read_plan_or_text
from app.request_reader import place_in_plan, read_body

#: A week; later than that a due time is history.
MAX_GRACE_S = 7 * 86400.0
_EXAMPLE = '{"name": ..., "cron": ..., "plan": "NAME"}'


class ScheduleRequest(BaseModel):
    """What `POST /schedules` takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    #: `NAME` or `NAME@VERSION` of a stored plan; or the plan itself, or its text in YAML or JSON
    #: (then faults name its lines): it is stored under the schedule's name.
    plan: dict[str, Any] | str
    #: What the plan's inputs are given, and a selector that narrows its targets.
    inputs: dict[str, Any] = Field(default_factory=dict)
    limit: Annotated[str, Field(min_length=1, max_length=MAX_STRING)] | None = None
    #: Why it is run; where the policy wants no more, this approves what each run destroys.
    reason: str | None = None
    #: Five fields: minute, hour, day of month, month, day of week.
    cron: str | None = None
    interval_s: float | None = None
    timezone: str = "UTC"
    #: When the execution before is not final: leave this due time out, wait, or start anyway.
    overlap: Literal["skip", "queue", "allow"] = "skip"
    #: Due times that passed while no beat ran: leave them out, or start the latest one.
    catch_up: Literal["none", "last"] = "none"
    grace_s: Annotated[float, Field(ge=0, le=MAX_GRACE_S)] = 3600.0

    @property
    def timing(self) -> Timing:
        """When it is due."""
        return Timing(self.cron, self.interval_s, self.timezone)


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A request that can be read; `faults` holds what is wrong with its timing or plan."""

    request: ScheduleRequest
    #: The plan that it brings; None where it names a stored one, or where it has faults.
    plan: Plan | None
    stored: PlanName | None
    #: What the plan is run with.
    beside: PlanRequest
    faults: tuple[Fault, ...]


def read_schedule(body: bytes, now: datetime) -> NewSchedule:
    """Read JSON or YAML; raises Malformed, or PlanRejected when the members are wrong."""
    request = read_body(body, ScheduleRequest, "a schedule", _EXAMPLE)
    noted = Faults(found=find_timing_faults(request.timing, now))
    inputs = read_given(request.inputs, noted)
    reason = read_reason({"reason": request.reason}, noted)
    beside = PlanRequest(None, inputs=inputs, limit=request.limit, reason=reason)
    given, faults = request.plan, noted.found
    if isinstance(given, str) and not is_plan_text(given):
        stored = read_plan_name(given)
        faults += [] if stored else [_refuse_name(given)]
        return NewSchedule(request, None, stored, beside, tuple(faults))
    if not NAME.fullmatch(request.name):
        faults.append(_refuse_own_name(request.name))
    try:
        plan = fill_plan(read_plan_or_text(given), beside)
    except PlanRejected as error:
        return NewSchedule(request, None, None, beside, (*faults, *place_in_plan(error.faults)))
    return NewSchedule(request, plan, None, beside, tuple(faults))


def join_faults(new: NewSchedule, error: PlanRejected) -> PlanRejected:
    """The refusal with the timing's faults, and those that a check found in the plan."""
    found = place_in_plan(error.faults, checked=True)
    return PlanRejected([*new.faults, *found], error.plan)


def _refuse_name(given: str) -> Fault:
    return Fault(
        path="plan",
        code="bad_format",
        message="'plan' names no stored plan",
        given=given[:80],
        allowed=f"NAME or NAME@VERSION; a name is {ALLOWED}",
        hint="or hand over the plan itself, or its text",
    )


def _refuse_own_name(name: str) -> Fault:
    return Fault(
        path="name",
        code="bad_format",
        message=f"the plan would be stored as '{name}', which is no name of a plan",
        given=name,
        allowed=ALLOWED,
        hint="name the schedule so, or store the plan first: opsfarm plans save FILE --name NAME",
    )
