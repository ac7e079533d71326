"""The rerun story: a final execution's plan once more, whole or for the targets that failed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.errors import Conflict
from app.parts import Parts
from app.plan import Plan
from app.plan_name import PlanName
from app.plan_reader import read_plan
from app.principal import Principal
from app.step import FINAL_EXECUTION_STATES
from app.stored_plans import find_origin
from app.submit import Accepted, submit


@dataclass(frozen=True, slots=True)
class Rerun:
    """Which execution is to run again, and how much of it."""

    execution_id: UUID
    #: Only on targets that failed, were cancelled or interrupted; steps without targets run again.
    failed_only: bool = False


def rerun(asked: Rerun, principal: Principal, parts: Parts, *, key: str | None = None) -> Accepted:
    """Run an execution's plan again, as whoever asks now, with its inputs and its limit.

    Raises Conflict while it is not final or when nothing of it failed, PlanRejected when the plan
    is not accepted any more, NotFound, Forbidden, Unavailable.
    """
    first = parts.records.read_execution(principal.tenant, asked.execution_id)
    if first["state"] not in FINAL_EXECUTION_STATES:
        raise Conflict(
            f"execution {asked.execution_id} is {first['state']}: only a final one can be rerun",
            hint=f"'opsfarm executions watch {asked.execution_id}' waits for its end",
        )
    document = dict(parts.records.read_plan(asked.execution_id))
    limit = document.pop("limit", None)
    if asked.failed_only:
        limit = _limit_to_failed(first)
    plan = _narrow(replace(read_plan(document), rerun_of=first["execution_id"]), limit)
    if first["plan"]:
        plan = find_origin(plan, PlanName(**first["plan"]), principal.tenant, parts)
    return submit(plan, principal, parts, key=key)


def _narrow(plan: Plan, limit: str | None) -> Plan:
    document = {**plan.document, "limit": limit} if limit else plan.document
    return replace(plan, limit=limit, document=document)


def _limit_to_failed(first: Mapping[str, Any]) -> str:
    """The targets of `failed_only` as a selector; raises Conflict when there is none."""
    names = dict.fromkeys(name for step in first["steps"] for name in step["failed_targets"])
    if names:
        return ",".join(names)
    where = "; steps without targets did" if any(s["failed"] for s in first["steps"]) else ""
    raise Conflict(
        f"on no target of execution {first['execution_id']} anything failed{where}",
        hint="leave --failed-only out (`failed_only: false`) to run all of it again",
    )
