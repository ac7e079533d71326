"""Reads one step of a plan (pure)."""

from collections.abc import Mapping
from typing import Any, Literal

from app.faults import Faults
from app.members import check_keys, check_strings, read_number, read_text, unalias
from app.plan import LATER_KEYS, MAX_TEMPLATE, MAX_TEXT, PlanStep

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
)
_SHORTEST_S = 0.1


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
    check_keys(value, STEP_KEYS, LATER_KEYS["step"], faults)
    members = unalias(value, faults)
    check_strings({k: v for k, v in members.items() if k != "parameters"}, "", faults)
    if "tool" not in members:
        faults.add(
            "tool", "missing", "the step names no tool", hint="'opsfarm tools list' shows them"
        )
    retries, backoff_s = _read_retries(members, faults)
    step = PlanStep(
        tool=read_text(members, "tool", faults) or "",
        operation=read_text(members, "operation", faults),
        id=read_text(members, "id", faults),
        parameters=_read_parameters(members, faults),
        targets=members.get("targets"),
        when=_read_when(members, faults),
        on_failure=_read_on_failure(members, faults),
        timeout_s=read_number(members, "timeout_s", faults, limits=(_SHORTEST_S, DAY_S)),
        queue_timeout_s=read_number(
            members, "queue_timeout_s", faults, limits=(_SHORTEST_S, 7 * DAY_S)
        ),
        retries=retries,
        backoff_s=backoff_s,
        vantage=read_text(members, "vantage", faults),
        confirm=members.get("confirm"),
    )
    return step, members


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


def _read_when(members: Mapping[str, Any], faults: Faults) -> str | None:
    value = members.get("when")
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    faults.add(
        "when",
        "wrong_type",
        "'when' is not an expression",
        given=value,
        allowed=f"a bare expression of at most {MAX_TEMPLATE:,} characters",
        hint="when: steps.disk.failed",
    )
    return None


def _read_on_failure(members: Mapping[str, Any], faults: Faults) -> Literal["stop", "continue"]:
    value = members.get("on_failure", "stop")
    if value == "continue":
        return "continue"
    if value == "undo":
        faults.add("on_failure", "not_served", "`on_failure: undo` is not served yet", given=value,
                   allowed="stop, continue")  # fmt: skip
    elif value != "stop":
        faults.add("on_failure", "not_allowed", "'on_failure' has no such word", given=value,
                   allowed="stop, continue")  # fmt: skip
    return "stop"


def _read_retries(members: Mapping[str, Any], faults: Faults) -> tuple[int, float]:
    """`retries: 2`, or `retries: {max: 2, backoff_s: 5}`."""
    value = members.get("retries", 0)
    inner = faults.at(f"{faults.base}.retries", faults.step)
    if isinstance(value, Mapping):
        check_keys(value, ("max", "backoff_s"), (), inner)
    else:
        inner, value = faults, {"retries": value}
    key = "max" if "retries" not in value else "retries"
    most = read_number(value, key, inner, limits=(0, MAX_RETRIES)) or 0
    if most != int(most):
        inner.add(key, "wrong_type", f"{key!r} is not a whole number", given=most)
    backoff_s = read_number(value, "backoff_s", inner, limits=(0, MAX_BACKOFF_S))
    return int(most), DEFAULT_BACKOFF_S if backoff_s is None else backoff_s
