"""The rerun story: a final execution's plan once more, whole or for the targets that failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.errors import Conflict
from app.outcome import UNSUCCESSFUL
from app.parts import Parts
from app.plan import Plan
from app.plan_name import PlanName
from app.plan_reader import read_plan
from app.principal import Principal
from app.selector import parse_selector
from app.selector_text import MAX_SELECTOR_CHARS, SelectorError
from app.step import FINAL_EXECUTION_STATES, LOCAL
from app.stored_plans import find_origin
from app.submit import Accepted, submit
from tool_catalog.loader import Catalog
from tool_catalog.names import UnknownName


@dataclass(frozen=True, slots=True)
class Rerun:
    """Which execution is to run again, and how much of it."""

    execution_id: UUID
    #: Only on targets that failed, were cancelled or interrupted; steps without targets run again.
    failed_only: bool = False
    #: Why; that of the first execution approves nothing any more.
    reason: str | None = None


def rerun(asked: Rerun, principal: Principal, parts: Parts, *, key: str | None = None) -> Accepted:
    """Run an execution's plan again, as whoever asks now, with its inputs and its limit.

    Raises Conflict while it is not final or when nothing of it failed, PlanRejected when the plan
    is not accepted any more, NotFound, Forbidden, Unavailable.
    """
    first = parts.records.read_execution(principal.tenant, asked.execution_id)
    if first["state"] not in FINAL_EXECUTION_STATES:
        raise Conflict(
            f"execution {asked.execution_id} is {first['state']}: only a final one can be rerun",
            hint=f"'opsfarm executions show {asked.execution_id}' says what it waits for",
        )
    document = dict(parts.records.read_plan(asked.execution_id))
    limit = document.pop("limit", None)
    if asked.failed_only:
        limit = _limit_to_failed(first, principal.tenant, parts)
    plan = replace(read_plan(document), rerun_of=first["execution_id"], reason=asked.reason)
    plan = _narrow(plan, limit)
    if first["plan"]:
        plan = find_origin(plan, PlanName(**first["plan"]), principal.tenant, parts)
    return submit(plan, principal, parts, key=key)


def _narrow(plan: Plan, limit: str | None) -> Plan:
    document = {**plan.document, "limit": limit} if limit else plan.document
    return replace(plan, limit=limit, document=document)


def _limit_to_failed(first: Mapping[str, Any], tenant: str, parts: Parts) -> str:
    """The targets of `failed_only` as a selector; raises Conflict when there is none."""
    failed = [step for step in first["steps"] if step["failed"]]
    for step in failed:
        rows = [row for row in step["results"] if row["state"] in UNSUCCESSFUL]
        if not all(row["target"] for row in rows) and _acts_on_targets(step, parts.catalog):
            what = f"step {step['position']} ({step['tool']}) ended {step['state']}"
            raise _nothing_to_limit(f"{what} before its targets were known")
    if not failed:
        raise _nothing_to_limit(f"nothing of execution {first['execution_id']} failed")
    names = dict.fromkeys(name for step in failed for name in step["failed_targets"])
    # No limit keeps a step off the worker's own host, and this one keeps all others.
    return _write_limit(
        [name for name in names if name != LOCAL.name] or [LOCAL.name], tenant, parts
    )


def _acts_on_targets(step: Mapping[str, Any], catalog: Catalog) -> bool:
    try:
        return catalog.operation(catalog.find(step["tool"]), step["operation"]).at == "target"
    except UnknownName:
        return False  # submit refuses the step by its name


def _nothing_to_limit(message: str) -> Conflict:
    return Conflict(message, hint="run all of it again: leave --failed-only (`failed_only`) out")


def _write_limit(names: Sequence[str], tenant: str, parts: Parts) -> str:
    """Names as a selector; their ids, which are shorter, where the names are too long for one."""
    text = ",".join(names)
    if len(text) <= MAX_SELECTOR_CHARS:
        return text
    try:
        found = parts.inventory.select(tenant, parse_selector(list(names)))
    except SelectorError as error:
        raise _nothing_to_limit(f"{len(names)} targets failed: {error}") from None
    return ",".join([*(str(target.asset_id) for target in found.targets), *found.unknown])
