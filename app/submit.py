"""The whole submit story: check, judge, write down, publish."""

from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from app.asking import ask_for
from app.changed_tools import blame_changes, warn_of_changes
from app.errors import Conflict, Fault, Forbidden, PlanRejected
from app.limits import limit_steps
from app.parts import FarmView, Parts
from app.plan import CheckedPlan, CheckedStep, Plan
from app.plan_name import PlanName
from app.principal import Principal
from app.safety import Verdict, judge_all
from app.store.ledger import Submission
from app.validate import validate


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a caller gets: from here on the ledger answers for the execution."""

    execution_id: UUID
    state: str
    delivery: Literal["sent", "delayed"]
    #: False: this key was submitted before, and this is the execution that it made.
    created: bool
    warnings: tuple[str, ...] = ()


def submit(
    plan: Plan, principal: Principal, parts: Parts, *, key: str | None = None, source: str = "http"
) -> Accepted:
    """Accept a plan or refuse all of it.

    Raises PlanRejected (every fault), Forbidden, Conflict (the key was used for another plan)
    and Unavailable (nothing was written). A broker that is down only delays delivery.
    """
    checked = check(plan, principal, parts)
    steps, ask = ask_for(checked.steps, checked.approval_timeout_s, principal.tenant, parts)
    checked = replace(checked, steps=steps)
    asked = Submission(uuid7(), principal, source, key, ask)
    room = parts.publisher.room(checked.steps[0].queue)
    opened = parts.ledger.open_execution(checked, asked, room or 0)
    if not opened.same_plan:
        raise Conflict(
            f"the key {key!r} stands for execution {opened.execution_id}, "
            "which has another plan, other inputs or another limit",
            hint="to run this one, give a new key (Idempotency-Key, or --key)",
        )
    sent = parts.publisher.publish(opened.sending)
    return Accepted(
        execution_id=opened.execution_id,
        state=opened.state,
        delivery="sent" if sent and room is not None else "delayed",
        created=opened.created,
        warnings=tuple(checked.warnings),
    )


def check(plan: Plan, principal: Principal, parts: Parts, *, unfilled: bool = False) -> CheckedPlan:
    """Everything that submit checks, writing nothing. Raises as `submit` does.

    With `unfilled` inputs without a default stay open, as for a plan that is only stored.
    """
    if not principal.may_submit:
        raise Forbidden(
            f"{principal.name} is a {principal.role} and may not run plans",
            hint="ask an admin for a key with the role operator",
        )
    try:
        checked = _check(plan, principal, parts, unfilled=unfilled)
    except PlanRejected as error:
        if plan.stored is None:
            raise
        faults = blame_changes(plan, error.faults)
        raise PlanRejected(faults, str(PlanName(*plan.stored))) from None
    return replace(checked, warnings=(*checked.warnings, *warn_of_changes(plan)))


def _check(plan: Plan, principal: Principal, parts: Parts, *, unfilled: bool) -> CheckedPlan:
    view = FarmView(parts, principal.tenant)
    checked = validate(plan, parts.catalog, view, parts.rules, unfilled=unfilled)
    judged = judge_all(checked.steps, parts.rules.policy, principal, view.select)
    # A step in several batches is judged in each.
    faults = {step.path: _refuse(step, verdict) for step, verdict in judged if not verdict.allowed}
    if faults:
        raise PlanRejected(list(faults.values()))
    steps = [step for step, _ in judged]
    limited = limit_steps(steps, parts.rules.policy.limits, principal, parts.catalog)
    return replace(checked, steps=limited)


def _refuse(step: CheckedStep, verdict: Verdict) -> Fault:
    return Fault(
        path=step.path,
        code="refused_by_policy",
        message=verdict.fault,
        step=f"{step.position} ({step.tool})",
        hint=verdict.hint or None,
    )
