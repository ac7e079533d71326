"""RFC 9457 problems: what an error of ours looks like on the wire, and the way back (pure)."""

from collections.abc import Mapping
from typing import Any

from app.errors import (
    Conflict,
    Fault,
    Forbidden,
    Malformed,
    NotFound,
    OpsfarmError,
    PlanRejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UserError,
)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:opsfarm:problem:"
_UNAVAILABLE = "unavailable"
_UNAVAILABLE_STATUS = 503

_KINDS: Mapping[str, type[UserError]] = {
    kind.code: kind
    for kind in (
        Malformed,
        Unauthenticated,
        Forbidden,
        NotFound,
        Conflict,
        TooLarge,
        UserError,
    )
}
_FAULT_MEMBERS = frozenset(Fault.__slots__)


def show_problem(error: UserError | Unavailable) -> dict[str, Any]:
    """An error as problem members: type, title, status, detail, hint and faults if any."""
    if isinstance(error, Unavailable):
        hint = "nothing was written; try again in a few seconds"
        return make_problem(_UNAVAILABLE, _UNAVAILABLE_STATUS, str(error), hint=hint)
    problem = make_problem(error.code, error.status, error.message, hint=error.hint)
    if isinstance(error, PlanRejected | Malformed) and error.faults:
        problem["faults"] = [fault.as_json() for fault in error.faults]
    if isinstance(error, PlanRejected) and error.plan:
        problem["plan"] = error.plan
    return problem


def make_problem(code: str, status: int, detail: str, *, hint: str | None = None) -> dict[str, Any]:
    """The members that every problem has."""
    problem: dict[str, Any] = {
        "type": _TYPE + code,
        "title": code.replace("_", " "),
        "status": status,
        "detail": detail,
    }
    return problem | {"hint": hint} if hint else problem


def read_problem(problem: Mapping[str, Any]) -> OpsfarmError:
    """The error that a problem stands for; one of an unknown type becomes a UserError."""
    code = str(problem.get("type", "")).removeprefix(_TYPE)
    detail = str(problem.get("detail") or problem.get("title") or "the farm refused")
    if code == _UNAVAILABLE:
        return Unavailable(detail)
    faults = [_read_fault(fault) for fault in problem.get("faults", ())]
    if code == PlanRejected.code:
        return PlanRejected(faults, problem.get("plan"))
    hint = problem.get("hint")
    if code == Malformed.code:
        return Malformed(detail, hint=hint, faults=faults)
    return _KINDS.get(code, UserError)(detail, hint=hint)


def _read_fault(members: Mapping[str, Any]) -> Fault:
    """Members that a newer farm added are left out."""
    known = {name: value for name, value in members.items() if name in _FAULT_MEMBERS}
    return Fault(**{"path": "", "code": "", "message": "", **known})
