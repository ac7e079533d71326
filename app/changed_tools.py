"""Tools whose files changed since a stored plan was saved: named in warnings and faults (pure)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.errors import Fault
from app.plan import Plan
from app.plan_name import PlanName
from tool_catalog.loader import Catalog
from tool_catalog.names import UnknownName, normalise

#: A fault's step is "3 (df)".
_TOOL_OF_STEP = re.compile(r"\d+ \((.+)\)")


def find_changed(kept: Mapping[str, str], catalog: Catalog) -> tuple[str, ...]:
    """The tools whose file is not the one of that digest any more."""
    return tuple(sorted(name for name, digest in kept.items() if _digest(name, catalog) != digest))


def warn_of_changes(plan: Plan) -> list[str]:
    """One warning for each changed tool of a stored plan."""
    return [f"{tool} {_since(plan)}" for tool in plan.changed_tools]


def blame_changes(plan: Plan, faults: Sequence[Fault]) -> list[Fault]:
    """The faults, with the change as a hint where the step's tool changed."""
    return [_blame(plan, fault) for fault in faults]


def _blame(plan: Plan, fault: Fault) -> Fault:
    found = _TOOL_OF_STEP.fullmatch(fault.step or "")
    if not found or normalise(found[1]) not in plan.changed_tools:
        return fault
    words = f"{normalise(found[1])} {_since(plan)}"
    return replace(fault, hint=f"{fault.hint}; {words}" if fault.hint else words)


def _since(plan: Plan) -> str:
    return f"changed since {PlanName(*plan.stored) if plan.stored else 'this plan'} was saved"


def _digest(name: str, catalog: Catalog) -> str | None:
    try:
        return catalog.find(name).digest
    except UnknownName:
        return None
