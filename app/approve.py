"""The approval story: what waits for a yes, who may give it, and what a yes or a no does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.approval_policy import APPROVERS
from app.approvals import find_changes, shown_assets
from app.errors import Conflict, Forbidden
from app.parts import FarmView, Parts
from app.principal import Principal, Role
from app.selector import Selector
from app.step import Target
from app.store.decisions import Voice

_ALL = "'opsfarm approvals list --all'"


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes or a no, as it was asked for."""

    execution_id: UUID
    reason: str = ""
    #: Number or id of one of the steps that wait; None: the execution waits for one approval only.
    step: str | None = None
    #: Of what the answer is about, or a beginning of it; None: whatever waits.
    digest: str | None = None
    #: Where the request came from.
    origin: str = ""


def approve(answer: Answer, principal: Principal, parts: Parts) -> dict[str, Any]:
    """Say yes; gives the execution as it is then.

    Raises NotFound, Forbidden (one's own plan, no right), Conflict (nothing waits, it expired, it
    was decided, or what would run is not what was asked) and Unavailable. What is refused changes
    nothing.
    """
    approval = _find(answer, principal, parts)
    _refuse_changed(approval, principal, parts)
    voice = Voice(principal, answer.reason, _groups_of(principal, parts), answer.origin)
    decided = parts.decisions.approve(
        approval["id"], approval["digest"], voice, send=parts.settings.window
    )
    parts.publisher.publish(decided.sending)
    return parts.records.read_execution(principal.tenant, answer.execution_id)


def reject(answer: Answer, principal: Principal, parts: Parts) -> dict[str, Any]:
    """Say no: whoever may approve it, or submitted it, may; gives the execution as it is then.

    Raises as `approve`.
    """
    approval = _find(answer, principal, parts)
    groups = _groups_of(principal, parts)
    own = approval["principal"] == principal.name and principal.may_submit
    if not own and not {APPROVERS, *approval["needed"]["groups"]} & set(groups):
        raise Forbidden(
            f"approval {approval['id']}: {principal.name} may not reject it",
            hint="whoever submitted it may, and whoever may approve it",
        )
    voice = Voice(principal, answer.reason, groups, answer.origin)
    decided = parts.decisions.reject(approval["id"], voice, send=parts.settings.window)
    parts.publisher.publish(decided.sending)
    return parts.records.read_execution(principal.tenant, answer.execution_id)


def _find(answer: Answer, principal: Principal, parts: Parts) -> Mapping[str, Any]:
    """The one approval that is meant; raises Conflict where none waits, or several do."""
    found = parts.approvals.of_execution(principal.tenant, answer.execution_id)
    meant = [each for each in found if answer.step is None or _is_about(each, answer.step)]
    waiting = [each for each in meant if each["decision"] is None]
    if len(waiting) > 1:
        steps = ", ".join(_name_steps(each) for each in waiting)
        raise Conflict(
            f"execution {answer.execution_id} waits for {len(waiting)} approvals: {steps}",
            hint="name the step, too",
        )
    if not waiting:
        raise _refuse_settled(answer, meant, principal, parts)
    if answer.digest is not None and not waiting[0]["digest"].startswith(answer.digest):
        raise Conflict(
            f"approval {waiting[0]['id']} has another digest: what was looked at is not what waits",
            hint=f"'opsfarm approvals show {answer.execution_id}' shows what does",
        )
    return waiting[0]


def _refuse_settled(
    answer: Answer, meant: list[dict[str, Any]], principal: Principal, parts: Parts
) -> Conflict:
    if meant:
        last = meant[-1]
        by = f" by {last['decided_by']}" if last["decided_by"] else ""
        return Conflict(
            f"approval {last['id']} is decided already: {last['decision']}{by}", hint=f"see {_ALL}"
        )
    execution = parts.records.read_execution(principal.tenant, answer.execution_id)
    state = execution["state"]
    if answer.step is None:
        return Conflict(f"execution {answer.execution_id} waits for no approval; it is {state}")
    for step in execution["steps"]:
        if answer.step in {str(step["position"]), step["id"]}:
            state = step["state"]
            if execution["approvals"]:
                state += f", and the execution waits for {_name_steps(execution['approvals'][0])}"
            return Conflict(f"step {answer.step} waits for no approval; it is {state}")
    known = ", ".join(step["id"] for step in execution["steps"][:20])
    return Conflict(
        f"execution {answer.execution_id} has no step {answer.step[:80]!r}; it is {state}",
        hint=f"there are: {known}",
    )


def _refuse_changed(approval: Mapping[str, Any], principal: Principal, parts: Parts) -> None:
    shown = approval["shown"]
    farm, assets = FarmView(parts, principal.tenant), shown_assets(shown)
    changes = find_changes(shown, parts.catalog, farm.logins(assets), _find_targets(assets, farm))
    if changes:
        raise Conflict(
            f"approval {approval['id']}: what would run is not what was asked for: "
            + "; ".join(changes[:3]),
            hint="reject it, and submit the plan again",
        )


def _find_targets(assets: Collection[int], farm: FarmView) -> dict[int, Target]:
    if not assets:
        return {}
    found = farm.select(Selector(where={"id": tuple(map(str, sorted(assets)))})).targets
    return {target.asset_id: target for target in found if target.asset_id is not None}


def _groups_of(principal: Principal, parts: Parts) -> tuple[str, ...]:
    """The groups that the policy names a principal in, and the approvers' by its role."""
    by_role = [APPROVERS] if principal.role in {Role.APPROVER, Role.ADMIN} else []
    groups = parts.rules.policy.groups
    return (*by_role, *(name for name, members in groups.items() if principal.name in members))


def _is_about(approval: Mapping[str, Any], step: str) -> bool:
    return any(step in {str(each["position"]), each["id"]} for each in approval["shown"]["steps"])


def _name_steps(approval: Mapping[str, Any]) -> str:
    return " and ".join(each["id"] for each in approval["shown"]["steps"])
