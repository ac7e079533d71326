"""Reads one step of a plan (pure)."""

from collections.abc import Mapping
from typing import Any

from app.faults import Faults
from app.members import (
    check_keys,
    check_strings,
    read_number,
    read_on_empty,
    read_on_failure,
    read_text,
    read_user,
    read_when,
    read_whole,
    unalias,
)
from app.plan import MAX_FAILURES, MAX_PARALLEL, MAX_TEXT, PlanStep

DAY_S = 86_400
MAX_RETRIES = 10
MAX_BACKOFF_S = 3600
DEFAULT_BACKOFF_S = 5.0

STEP_KEYS = (
    "tool",
    "operation",
    "id",
    "parameters",
    "targets",
    "when",
    "on_failure",
    "timeout_s",
    "queue_timeout_s",
    "retries",
    "vantage",
    "confirm",
    "for_each",
    "run_as",
    "max_parallel",
    "max_failures",
    "on_empty",
)
#: Keys of the other things that may stand in `steps`.
_ELSEWHERE = {
    "batch": "it belongs to a block: {batch: 1, targets: ..., steps: [{tool: ...}]}",
    "item": 'it is a name for expressions: for_each: [a, b], then "{{ item }}"',
}
SHORTEST_S = 0.1


def name_step(position: int, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A step as faults call it: "3 (df)"."""
    tool = value.get("tool") if isinstance(value, Mapping) else None
    named = isinstance(tool, str) and tool.isprintable()
    return f"{position} ({tool[:40]})" if named else str(position)  # type: ignore[index]  # a str


def read_step(value: Any, faults: Faults) -> tuple[PlanStep, dict[str, Any]]:  # noqa: ANN401  # any JSON value
    """A step, and its members as they are kept. Notes every fault of its form."""
    if not isinstance(value, Mapping):
        faults.add("", "wrong_type", "a step is a mapping", given=value, allowed="{tool: NAME}")
        return PlanStep(tool=""), {}
    check_keys(value, STEP_KEYS, faults, _ELSEWHERE)
    members = unalias(value, faults)
    check_strings({k: v for k, v in members.items() if k != "parameters"}, "", faults)
    if "tool" not in members:
        faults.add(
            "tool", "missing", "the step names no tool", hint="'opsfarm tools list' shows them"
        )
    step = PlanStep(
        tool=read_text(members, "tool", faults) or "",
        operation=read_text(members, "operation", faults),
        id=read_text(members, "id", faults),
        parameters=_read_parameters(members, faults),
        targets=members.get("targets"),
        when=read_when(members, faults),
        on_failure=read_on_failure(members, faults),
        vantage=read_text(members, "vantage", faults),
        confirm=members.get("confirm"),
        for_each=_read_for_each(members, faults),
        run_as=read_user(members, "run_as", faults),
        on_empty=read_on_empty(members, faults),
        **_read_limits(members, faults),
    )
    return step, members


def _read_limits(members: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """The numbers that bound how often, how long and how widely a step runs."""
    retries, backoff_s = _read_retries(members, faults)
    waits_s = (SHORTEST_S, 7 * DAY_S)
    return {
        "timeout_s": read_number(members, "timeout_s", faults, limits=(SHORTEST_S, DAY_S)),
        "queue_timeout_s": read_number(members, "queue_timeout_s", faults, limits=waits_s),
        "retries": retries,
        "backoff_s": backoff_s,
        "max_parallel": read_whole(members, "max_parallel", faults, limits=(1, MAX_PARALLEL)),
        "max_failures": read_whole(members, "max_failures", faults, limits=(0, MAX_FAILURES)),
    }


def _read_parameters(members: Mapping[str, Any], faults: Faults) -> Mapping[str, Any]:
    value = members.get("parameters", {})
    if isinstance(value, Mapping):
        check_strings(value, "parameters", faults, limit=MAX_TEXT)
        return value
    faults.add(
        "parameters",
        "wrong_type",
        "'parameters' is not a mapping",
        given=value,
        allowed="a mapping of name to value",
    )
    return {}


def _read_for_each(members: Mapping[str, Any], faults: Faults) -> Any:  # noqa: ANN401  # a list or an expression
    value = members.get("for_each")
    if value is None or isinstance(value, list) or (isinstance(value, str) and "{{" in value):
        return value
    faults.add(
        "for_each",
        "wrong_type",
        "'for_each' is no list",
        given=value,
        allowed="a list, or one expression that gives a list",
        hint='for_each: "{{ steps.scan.output.hosts }}"',
    )
    return None


def _read_retries(members: Mapping[str, Any], faults: Faults) -> tuple[int, float]:
    """`retries: 2`, or `retries: {max: 2, backoff_s: 5}`."""
    value = members.get("retries", 0)
    inner = faults.at(f"{faults.base}.retries", faults.step)
    if isinstance(value, Mapping):
        check_keys(value, ("max", "backoff_s"), inner)
    else:
        inner, value = faults, {"retries": value}
    key = "max" if "retries" not in value else "retries"
    most = read_number(value, key, inner, limits=(0, MAX_RETRIES)) or 0
    if most != int(most):
        inner.add(key, "wrong_type", f"{key!r} is not a whole number", given=most)
    backoff_s = read_number(value, "backoff_s", inner, limits=(0, MAX_BACKOFF_S))
    return int(most), DEFAULT_BACKOFF_S if backoff_s is None else backoff_s
