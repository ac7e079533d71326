"""Checks what makes up the rows of a step: items, parameters, targets, confirmation (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.errors import ExpressionError
from app.parameter_check import check_partly, check_whole
from app.placement import find_needs
from app.plan import MAX_ITEMS, CheckedRow
from app.render import knows_names, render_value
from app.safety import effect_of
from app.step import Target
from app.surroundings import Draft, Scene
from app.targeting import (
    Found,
    check_confirm,
    check_target_templates,
    find_targets,
    lock_key,
    render_targets,
)
from tool_catalog.model import Effect
from tool_catalog.scalars import kind_of

#: What a step that runs for a given time may take beside that time.
RUN_FOR_MARGIN_S = 30

_SEVERITY = (Effect.READ, Effect.CHANGE, Effect.DESTROY)


@dataclass(frozen=True, slots=True)
class Share:
    """What one item of `for_each` makes of a step; without one, what the whole step is."""

    rows: tuple[CheckedRow, ...] = ()
    effect: Effect = Effect.READ
    timeout_s: float = 0
    needs: Mapping[str, Any] = field(default_factory=dict)
    #: Whom it acts on, as far as they are known.
    targets: tuple[Target, ...] = ()
    #: Why there is nothing to do.
    skipped: str | None = None


def check_later(draft: Draft, scene: Scene) -> Share:
    """A dynamic step: what of it is written out."""
    parameters = check_partly(draft)
    effect = effect_of(draft.operation, parameters, scene.rules.policy)
    if not knows_names(draft.targets, draft.context):
        check_target_templates(draft.targets, draft.faults)
    found = _find_targets(draft, draft.context, effect, scene) or Found()
    share = Share(
        effect=effect,
        timeout_s=find_timeout(draft, parameters),
        needs=find_needs(draft, parameters, found.targets),
        targets=found.targets,
    )
    if knows_names(draft.step.confirm, draft.context):
        _check_confirm(draft, draft.context, share, scene)
    return share


def check_items(draft: Draft, scene: Scene) -> Share:
    """A static step, or a due one: every row of it."""
    if draft.step.for_each is None:
        share = _check_item(draft, draft.context, None, scene)
        _check_confirm(draft, draft.context, share, scene)
        return share
    items = _list_items(draft)
    if not items:
        return Share(skipped=None if items is None else "for_each gives no items")
    one_by_one = not knows_names(draft.step.confirm, draft.context)
    shares: list[Share] = []
    count, noted = 0, len(draft.faults)
    for number, item in enumerate(items, 1):
        faults = draft.faults.at(draft.faults.base, f"{draft.faults.step}, item {number}")
        named, context = replace(draft, faults=faults), {**draft.context, "item": item}
        shares.append(_check_item(named, context, item, scene))
        if one_by_one:
            _check_confirm(named, context, shares[-1], scene)
        count += len(shares[-1].rows)
        if count > MAX_ITEMS:
            _refuse_rows(draft, count)
        if len(draft.faults) > noted:
            break  # what is wrong with one item is wrong with many
    share = _merge(shares)
    if not one_by_one:
        _check_confirm(draft, draft.context, share, scene)
    return share


def _check_item(draft: Draft, context: Mapping[str, Any], item: Any, scene: Scene) -> Share:  # noqa: ANN401  # any JSON value
    parameters = check_whole(draft, context)
    effect = effect_of(draft.operation, parameters, scene.rules.policy)
    found = _find_targets(draft, context, effect, scene) or Found()
    if draft.operation.at == "worker":
        rows: tuple[CheckedRow, ...] = (CheckedRow(parameters=parameters, item=item),)
    else:
        rows = tuple(
            CheckedRow(parameters, target, lock_key(draft.operation, effect, target), item)
            for target in found.targets
        )
    return Share(
        rows=rows,
        effect=effect,
        timeout_s=find_timeout(draft, parameters),
        needs=find_needs(draft, parameters, found.targets),
        targets=found.targets,
        skipped=found.skipped,
    )


def _list_items(draft: Draft) -> list[Any] | None:
    """The items of `for_each`; None after noting a fault."""
    try:
        items = render_value(draft.step.for_each, draft.context)
    except ExpressionError as error:
        draft.faults.add("for_each", "expression", str(error))
        return None
    if not isinstance(items, list):
        hint = "a mapping becomes one by `| dictsort`" if isinstance(items, Mapping) else None
        message = f"'for_each' gives {kind_of(items)}, not a list"
        draft.faults.add("for_each", "expression", message, given=items, hint=hint)
        return None
    if len(items) > MAX_ITEMS:
        message = f"'for_each' gives {len(items):,} items"
        allowed = f"at most {MAX_ITEMS:,}"
        draft.faults.add("for_each", "too_many", message, given=len(items), allowed=allowed)
        return None
    if not items and draft.step.on_empty != "skip":
        hint = "`on_empty: skip` takes none for an answer"
        draft.faults.add("for_each", "no_targets", "'for_each' gives no items", hint=hint)
        return None
    return items


def _refuse_rows(draft: Draft, count: int) -> None:
    message = "'for_each' gives too many rows, one for each item and target"
    allowed = f"at most {MAX_ITEMS:,}"
    draft.faults.add("for_each", "too_many", message, given=count, allowed=allowed)


def _merge(shares: Sequence[Share]) -> Share:
    """A whole step of its items' shares; the worst effect stands for all."""
    rows = tuple(row for share in shares for row in share.rows)
    interfaces = {share.needs["interface"] for share in shares}
    programs = (name for share in shares for name in share.needs["programs"])
    return Share(
        rows=rows,
        effect=max((share.effect for share in shares), key=_SEVERITY.index),
        timeout_s=max(share.timeout_s for share in shares),
        needs={
            **shares[0].needs,
            "programs": list(dict.fromkeys(programs)),
            "interface": interfaces.pop() if len(interfaces) == 1 else None,
        },
        targets=tuple({t.name: t for share in shares for t in share.targets}.values()),
        skipped=None if rows else shares[0].skipped,
    )


def _find_targets(
    draft: Draft, context: Mapping[str, Any], effect: Effect, scene: Scene
) -> Found | None:
    """The targets that are known with `context`; None where only run time shows them."""
    if draft.operation.at == "worker":
        return find_targets(draft, None, effect, scene)
    waits = draft.waits and draft.members is None and draft.targets is None
    if waits or not knows_names(draft.targets, context):
        return None
    try:
        targets = render_targets(draft.targets, context)
    except ExpressionError as error:
        draft.faults.add("targets", "expression", str(error))
        return None
    return find_targets(draft, targets, effect, scene)


def _check_confirm(draft: Draft, context: Mapping[str, Any], share: Share, scene: Scene) -> None:
    if share.effect is not Effect.DESTROY or not share.targets:
        return
    try:
        given = render_value(draft.step.confirm, context)
    except ExpressionError as error:
        draft.faults.add("confirm", "expression", str(error))
        return
    check_confirm(draft, given, [target.name for target in share.targets], scene)


def find_timeout(draft: Draft, parameters: Mapping[str, Any]) -> float:
    """How long each attempt may take, in seconds."""
    if draft.step.timeout_s is not None:
        return draft.step.timeout_s
    run_for = parameters.get(draft.operation.run_for) if draft.operation.run_for else None
    least = run_for + RUN_FOR_MARGIN_S if isinstance(run_for, int | float) else 0
    verify = draft.operation.verify
    return max(draft.operation.timeout_s, least) + (verify.within_s if verify else 0)
