"""Whose yes a step needs before it runs: the rules in the policy file, and which one fits (pure).

The first rule that fits a row decides; a step needs what its rows need together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.plan import CheckedStep, Need
from app.selector import Selection, Selector, parse_selector
from tool_catalog.loader import Catalog
from tool_catalog.model import Effect
from tool_catalog.names import normalise

#: The group that approvers and admins are in by their role.
APPROVERS = "approver"

_NEEDS: Mapping[str, Need | None] = {
    "none": None,
    "self_with_reason": Need("self"),
    "other": Need("other", {APPROVERS: 1}),
}

#: Rule (its place in the policy) to the assets that its selector means.
Members = Mapping[int, frozenset[int]]
Select = Callable[[Selector], Selection]


class GroupNeed(BaseModel):
    """So many members of a group, none of them whoever submitted the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    group: str
    count: Annotated[int, Field(ge=1, le=20)] = 1


def _check_where(where: dict[str, Any]) -> dict[str, Any]:
    parse_selector(where)
    return where


class ApprovalRule(BaseModel):
    """Which steps need an approval, and whose. What is left out fits everything."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tools: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    effect: Effect | None = None
    #: A selector: fits rows whose target is one of its assets.
    where: Annotated[dict[str, Any], AfterValidator(_check_where)] | None = None
    need: Literal["none", "self_with_reason", "other"] | GroupNeed

    def asks(self) -> Need | None:
        """Whose yes it wants."""
        if isinstance(self.need, GroupNeed):
            return Need("other", {self.need.group: self.need.count})
        return _NEEDS[self.need]

    def fits(self, tool: str, effect: Effect) -> bool:
        """Whether it is about such a step, wherever that acts."""
        if self.effect is not None and effect is not self.effect:
            return False
        return self.tools is None or normalise(tool) in {normalise(t) for t in self.tools}


def check_rules(rules: Sequence[ApprovalRule], groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse groups that could never say yes; raises ValueError."""
    if APPROVERS in groups:
        raise ValueError(f"the group {APPROVERS!r} is there by itself: approvers and admins")
    for rule in rules:
        if not isinstance(rule.need, GroupNeed):
            continue
        known = len(set(groups.get(rule.need.group, ())))
        if known < rule.need.count:
            raise ValueError(
                f"{rule.need.count} of the group {rule.need.group!r} must say yes, "
                f"and {known or 'nobody'} of it {'are' if known > 1 else 'is'} named under `groups`"
            )


def check_tools(rules: Sequence[ApprovalRule], catalog: Catalog) -> None:
    """Refuse a rule about a tool that there is not: it would guard nothing. Raises UnknownName."""
    for rule in rules:
        for tool in rule.tools or ():
            catalog.find(tool)


def find_need(step: CheckedStep, rules: Sequence[ApprovalRule], members: Members) -> Need | None:
    """What the rows of a checked step need together; a dynamic one is asked when it is due.

    A rule whose assets are not among `members` fits them all.
    """
    if step.dynamic or step.skipped is not None:
        return None
    needs: list[Need | None] = []
    left = {row.target.asset_id if row.target else None for row in step.rows}
    for number, rule in enumerate(rules):
        if not left or not rule.fits(step.tool, step.effect):
            continue
        caught = left if rule.where is None else left & members.get(number, left)
        if caught:
            needs.append(rule.asks())
        left -= caught
    return join_needs(needs)


def find_plain_need(tool: str, effect: Effect, rules: Sequence[ApprovalRule]) -> Need | None:
    """What a tool needs that acts on no asset: no rule with a selector fits it."""
    fitting = (rule for rule in rules if rule.where is None and rule.fits(tool, effect))
    return next((rule.asks() for rule in fitting), None)


def join_needs(needs: Iterable[Need | None]) -> Need | None:
    """One need that satisfies all of them; None where none is."""
    joined: Need | None = None
    for need in needs:
        if need is None:
            continue
        joined = joined or need
        groups = {
            name: max(joined.groups.get(name, 0), need.groups.get(name, 0))
            for name in (*joined.groups, *need.groups)
        }
        joined = Need("other" if "other" in {joined.who, need.who} else "self", groups)
    return joined


def find_members(
    steps: Sequence[CheckedStep], rules: Sequence[ApprovalRule], select: Select
) -> Members:
    """Which of the steps' assets each rule's selector means; a question for each such rule."""
    members: dict[int, frozenset[int]] = {}
    for number, rule in enumerate(rules):
        fitting = [step for step in steps if rule.fits(step.tool, step.effect)]
        if rule.where is None or not fitting:
            continue
        targets = {row.target.asset_id for step in fitting for row in step.rows if row.target}
        ids = frozenset(each for each in targets if each is not None)
        found = select(_narrow(parse_selector(rule.where), sorted(ids))).targets if ids else ()
        members[number] = ids & {target.asset_id for target in found}
    return members


def _narrow(selector: Selector, ids: Sequence[int]) -> Selector:
    """Only those of these assets that it means, where that can be said."""
    if not selector.where or selector.names or selector.any_of or "id" in selector.where:
        return selector
    return replace(selector, where={**selector.where, "id": tuple(map(str, ids))})
