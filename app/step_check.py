"""Checks one step whose expressions, if any, were checked before (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.errors import ExpressionError
from app.parameter_check import check_partly, check_references, check_whole, find_secrets
from app.placement import check_capabilities, find_needs, find_queue
from app.plan import MAX_ITEMS, CheckedRow, CheckedStep
from app.references import collect_inputs
from app.render import evaluate_condition, knows_condition, knows_names, render_value
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
from tool_catalog.model import Effect, Operation, Repeat
from tool_catalog.scalars import kind_of

#: What an operation runs, to the connections by which it reaches a target
#: (tasks/runners/table.py). A Python operation says in `needs` if it takes only one of them.
SERVED_CONNECTIONS: Mapping[str, tuple[str, ...]] = {
    "argv": ("local", "ssh"),
    "powershell": ("winrm",),
    "http": ("http",),
    "python": ("local", "ssh", "winrm", "http"),
}
#: Keys of an operation that load but that no worker acts on yet.
UNSERVED_KEYS = ("rate_limit",)

#: What a step that runs for a given time may take beside that time.
RUN_FOR_MARGIN_S = 30

_SEVERITY = (Effect.READ, Effect.CHANGE, Effect.DESTROY)
#: Members of a step that a due step is made of again.
_RENDERED_LATER = (
    *("parameters", "targets", "when", "on_failure", "timeout_s", "queue_timeout_s", "retries"),
    *("backoff_s", "vantage", "confirm", "for_each", "run_as", "max_parallel", "max_failures"),
    "on_empty",
)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one item of `for_each` makes of a step; without one, the whole step."""

    rows: tuple[CheckedRow, ...] = ()
    effect: Effect = Effect.READ
    timeout_s: float = 0
    needs: Mapping[str, Any] = field(default_factory=dict)
    #: Why there is nothing to do.
    skipped: str | None = None

    @property
    def names(self) -> list[str]:
        """Whom it acts on."""
        return list(dict.fromkeys(row.target.name for row in self.rows if row.target))


def check_step(draft: Draft, scene: Scene) -> CheckedStep:
    """A checked step; its faults are noted in the draft, and then it is not to be run.

    Its stage is 0. A dynamic step is checked as far as it is written out and gets one placeholder
    row, and so does one that has nothing to do. Workers are looked at only at submit: a due step
    waits for them.
    """
    _refuse_unserved(draft)
    dynamic = draft.is_dynamic
    share = _check_when(draft) or (
        _check_later(draft, scene) if dynamic else _check_items(draft, scene)
    )
    parameters = draft.step.parameters
    secrets = find_secrets(parameters) if draft.due else check_references(draft, scene)
    queue = find_queue(draft, scene)
    if share.needs and not draft.due:
        check_capabilities(draft, queue, share.needs, scene)
    placed = dynamic or share.skipped is not None
    step = draft.step
    return CheckedStep(
        position=draft.position,
        key=draft.key,
        stage=0,
        section=draft.section,
        tool=draft.tool.name,
        operation=draft.operation.name,
        domain=draft.tool.domain.value,
        queue=queue,
        effect=share.effect,
        repeat=_repeat(draft.operation, share.effect),
        dynamic=placed,
        on_failure=step.on_failure,
        timeout_s=share.timeout_s or _timeout(draft, {}),
        queue_timeout_s=step.queue_timeout_s or scene.rules.default_queue_timeout_s,
        max_retries=step.retries,
        backoff_s=step.backoff_s,
        rows=(CheckedRow(parameters=parameters),) if placed else share.rows,
        secrets=secrets,
        needs=share.needs,
        template=write_template(draft, scene, share.skipped) if placed else None,
        skipped=share.skipped,
        run_as=step.run_as,
        max_parallel=step.max_parallel,
        max_failures=step.max_failures,
    )


def write_template(draft: Draft, scene: Scene, skipped: str | None = None) -> dict[str, Any]:
    """What rendering a dynamic step needs later, as JSON; what is null is left out."""
    step = draft.step
    shown: dict[str, Any] = {
        "position": draft.position,
        "key": draft.key,
        "section": draft.section,
        "tool": draft.tool.name,
        "operation": draft.operation.name,
    }
    if skipped is not None:
        return shown | {"skip": skipped}
    targets = draft.targets if draft.operation.at == "target" else step.targets
    members = {name: getattr(step, name) for name in _RENDERED_LATER} | {"targets": targets}
    shown |= {name: value for name, value in members.items() if value is not None}
    values = draft.context["inputs"]
    named = collect_inputs(step, draft.targets)
    inputs = {name: values[name] for name in sorted(named) if name in values}
    limit = scene.limit.text if scene.limit else None
    return shown | ({"inputs": inputs} if inputs else {}) | ({"limit": limit} if limit else {})


def _check_when(draft: Draft) -> _Share | None:
    """The step as one that is skipped, where that is known of it or of a block around it."""
    if draft.skipped is not None:
        return _Share(skipped=draft.skipped)
    when = draft.step.when
    if when is None or draft.waits or not knows_condition(when, draft.context):
        return None
    try:
        holds = evaluate_condition(when, draft.context)
    except ExpressionError as error:
        draft.faults.add("when", "expression", str(error))
        return None
    return None if holds else _Share(skipped=f"when: {when} is false")


def _check_later(draft: Draft, scene: Scene) -> _Share:
    """A dynamic step: what of it is written out."""
    parameters = check_partly(draft)
    effect = effect_of(draft.operation, parameters, scene.rules.policy)
    if not knows_names(draft.targets, draft.context):
        check_target_templates(draft.targets, draft.faults)
    found = _find_targets(draft, draft.context, effect, scene)
    targets = found.targets if found else ()
    if knows_names(draft.step.confirm, draft.context):
        check_confirm(draft, _confirm(draft, draft.context), effect, _names(targets), scene)
    return _Share(
        effect=effect,
        timeout_s=_timeout(draft, parameters),
        needs=find_needs(draft, parameters, targets),
    )


def _check_items(draft: Draft, scene: Scene) -> _Share:
    """A static step, or a due one: every row of it."""
    if draft.step.for_each is None:
        share = _check_item(draft, draft.context, None, scene)
        check_confirm(draft, _confirm(draft, draft.context), share.effect, share.names, scene)
        return share
    items = _list_items(draft)
    if not items:
        return _Share(skipped=None if items is None else "for_each gives no items")
    shares: list[_Share] = []
    noted = len(draft.faults)
    for number, item in enumerate(items, 1):
        named = replace(draft, faults=draft.faults.at(draft.faults.base, _name_item(draft, number)))
        shares.append(_check_item(named, {**draft.context, "item": item}, item, scene))
        if len(draft.faults) > noted or _has_too_many_rows(draft, shares):
            break  # what is wrong with one item is wrong with many
    share = _merge(shares)
    if knows_names(draft.step.confirm, draft.context):
        check_confirm(draft, _confirm(draft, draft.context), share.effect, share.names, scene)
    return share


def _check_item(draft: Draft, context: Mapping[str, Any], item: Any, scene: Scene) -> _Share:  # noqa: ANN401  # any JSON value
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
    if not knows_names(draft.step.confirm, draft.context):
        check_confirm(draft, _confirm(draft, context), effect, _names(found.targets), scene)
    return _Share(
        rows=rows,
        effect=effect,
        timeout_s=_timeout(draft, parameters),
        needs=find_needs(draft, parameters, found.targets),
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


def _has_too_many_rows(draft: Draft, shares: Sequence[_Share]) -> bool:
    count = sum(len(share.rows) for share in shares)
    if count > MAX_ITEMS:
        message = "'for_each' gives too many rows, one for each item and target"
        allowed = f"at most {MAX_ITEMS:,}"
        draft.faults.add("for_each", "too_many", message, given=count, allowed=allowed)
    return count > MAX_ITEMS


def _merge(shares: Sequence[_Share]) -> _Share:
    """A whole step of its items' shares; the worst effect stands for all."""
    rows = tuple(row for share in shares for row in share.rows)
    interfaces = {share.needs["interface"] for share in shares}
    programs = (name for share in shares for name in share.needs["programs"])
    return _Share(
        rows=rows,
        effect=max((share.effect for share in shares), key=_SEVERITY.index),
        timeout_s=max(share.timeout_s for share in shares),
        needs={
            **shares[0].needs,
            "programs": list(dict.fromkeys(programs)),
            "interface": interfaces.pop() if len(interfaces) == 1 else None,
        },
        skipped=None if rows else shares[0].skipped,
    )


def _find_targets(
    draft: Draft, context: Mapping[str, Any], effect: Effect, scene: Scene
) -> Found | None:
    """The targets that are known with `context`; none where they are only known later."""
    waits = draft.waits and draft.members is None and draft.targets is None
    if draft.operation.at == "target" and (waits or not knows_names(draft.targets, context)):
        return None
    try:
        targets = render_targets(draft.targets, context)
    except ExpressionError as error:
        draft.faults.add("targets", "expression", str(error))
        return None
    found = find_targets(draft, targets, effect, scene)
    connections = find_connections(draft.operation)
    for target in found.targets if found else ():
        if target.connection not in connections:
            ways = " or ".join(connections)
            draft.faults.add(
                "targets",
                "wrong_connection",
                f"{draft.name} is for assets reached by {ways}; "
                f"{target.name} is reached by {target.connection}",
                given=target.name,
                allowed=connections,
                hint=f"name an asset whose connection has the type {ways}",
            )
    return found


def _confirm(draft: Draft, context: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return render_value(draft.step.confirm, context)
    except ExpressionError as error:
        draft.faults.add("confirm", "expression", str(error))
        return None


def _names(targets: Sequence[Target]) -> list[str]:
    return [target.name for target in targets]


def _name_item(draft: Draft, number: int) -> str:
    return f"{draft.faults.step}, item {number}"


def find_connections(operation: Operation) -> tuple[str, ...]:
    """By which connections an operation can reach a target."""
    if operation.needs.connection is not None:
        return (operation.needs.connection,)
    return next(ways for kind, ways in SERVED_CONNECTIONS.items() if getattr(operation, kind))


def _refuse_unserved(draft: Draft) -> None:
    """A promise of the tool file that nothing keeps yet must not be made to the operator."""
    for key in UNSERVED_KEYS:
        if getattr(draft.operation, key) is not None:
            draft.faults.add(
                "operation", "not_served", f"{draft.name} needs {key!r}, which is not served yet"
            )


def _repeat(operation: Operation, effect: Effect) -> Repeat:
    """As declared; what only reads may always run again."""
    lowered = effect is Effect.READ and operation.effect is not Effect.READ
    return Repeat.READ if lowered else operation.repeat


def _timeout(draft: Draft, parameters: Mapping[str, Any]) -> float:
    if draft.step.timeout_s is not None:
        return draft.step.timeout_s
    run_for = parameters.get(draft.operation.run_for) if draft.operation.run_for else None
    least = run_for + RUN_FOR_MARGIN_S if isinstance(run_for, int | float) else 0
    return max(draft.operation.timeout_s, least)
