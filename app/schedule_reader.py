"""A schedule as asked for: the request's members, read and checked (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from app.calendar import Timing, find_timing_faults
from app.errors import Fault, Malformed, PlanRejected
from app.plan import Plan
from app.plan_reader import read_plan, read_request
from tool_catalog.document import DocumentError, read_document
from tool_catalog.names import did_you_mean, shorten, suggest

#: A week; later than that a due time is history.
MAX_GRACE_S = 7 * 86400.0

_CODES = {
    "missing": "missing_parameter",
    "extra_forbidden": "unknown_key",
    "literal_error": "not_allowed",
    "string_pattern_mismatch": "bad_format",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
}


class ScheduleRequest(BaseModel):
    """What `POST /schedules` takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    #: The plan itself, or its text in YAML or JSON: then faults name its lines.
    plan: dict[str, Any] | str
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
    plan: Plan | None
    faults: tuple[Fault, ...]


def read_schedule(body: bytes, now: datetime) -> NewSchedule:
    """Read JSON or YAML; raises Malformed, or PlanRejected when the members are wrong."""
    try:
        value = read_document(body, source="request").value
    except DocumentError as error:
        fault = Fault("", "malformed", error.message, line=error.line, column=error.column)
        raise Malformed("the request cannot be read", faults=[fault]) from None
    if not isinstance(value, dict):
        raise Malformed("a schedule is a mapping", hint='{"name": ..., "cron": ..., "plan": ...}')
    try:
        request = ScheduleRequest.model_validate(value)
    except ValidationError as error:
        raise PlanRejected([_show_fault(each) for each in error.errors()]) from None
    faults = find_timing_faults(request.timing, now)
    try:
        plan = _read_plan(request.plan)
    except PlanRejected as error:
        return NewSchedule(request, None, (*faults, *_place_in_plan(error.faults)))
    return NewSchedule(request, plan, tuple(faults))


def join_faults(new: NewSchedule, faults: Sequence[Fault]) -> PlanRejected:
    """The refusal with the timing's faults, and those that a check found in the plan."""
    return PlanRejected([*new.faults, *_place_in_plan(faults)])


def _read_plan(given: dict[str, Any] | str) -> Plan:
    if isinstance(given, dict):
        return read_plan(given)
    request = read_request(given.encode(), source="plan")
    if request.key is not None:
        fault = Fault(
            path="execution_id",
            code="not_allowed",
            message="a schedule makes the key of each execution itself",
            hint="leave execution_id out",
        )
        raise PlanRejected([fault])
    return request.plan


def _place_in_plan(faults: Sequence[Fault]) -> list[Fault]:
    """Paths begin at the request; lines stay those of the plan's text, where it came as one."""
    return [replace(fault, path=f"plan.{fault.path}".rstrip(".")) for fault in faults]


def _show_fault(error: ErrorDetails) -> Fault:
    path = str(error["loc"][0])
    message, given = error["msg"], None
    if error["type"] == "extra_forbidden":
        near = suggest(path, ScheduleRequest.model_fields)
        message = f"a schedule has no key '{shorten(path)}'{did_you_mean(near)}"
    elif error["type"] != "missing":
        given = shorten(str(error["input"]))
    return Fault(path, _CODES.get(error["type"], "wrong_type"), message, given=given)
