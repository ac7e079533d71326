"""Whom a step acts on: its targets, what they are locked by, what must be confirmed (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import ExpressionError
from app.faults import Faults
from app.render import has_expression, is_single_expression, render_value
from app.safety import judge_target
from app.selector import FIELDS, Selection
from app.selector_text import SelectorError
from app.step import LOCAL, Target
from app.surroundings import Draft, Scene
from tool_catalog.model import Effect, Operation, Repeat

OUT_OF_LIMIT = "the limit leaves none of its targets"

#: What an item of a rendered target list may be: how assets and results name themselves.
_NAMING_KEYS = ("id", "hostname", "target", "name")


@dataclass(frozen=True, slots=True)
class Found:
    """The targets of a step or a block; where there are none, why that means to skip it."""

    targets: tuple[Target, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose targets are looked for: a step or a block."""

    #: e.g. "step 2 (df)".
    name: str
    faults: Faults
    on_empty: str | None


def find_targets(draft: Draft, targets: Any, effect: Effect, scene: Scene) -> Found | None:  # noqa: ANN401  # any form of a selector
    """The targets of a step with `targets` rendered; None after noting a fault.

    An operation on a worker has none.
    """
    if draft.operation.at == "worker":
        return Found() if _takes_no_targets(draft) else None
    found = _named_targets(draft, targets, effect, scene)
    for target in found.targets if found else ():
        verdict = judge_target(target, scene.rules.policy)
        if not verdict.allowed:
            draft.faults.add(
                "targets", "refused_by_policy", verdict.fault, given=target.name, hint=verdict.hint
            )
            return None
    return found


def choose_targets(targets: Any, scene: Scene, asker: Asker) -> Found | None:  # noqa: ANN401  # any form of a selector
    """What a rendered selector means within the plan's limit; None after noting a fault."""
    try:
        selection = scene.select(targets)
    except SelectorError as error:
        allowed = f"names, or conditions on {', '.join(FIELDS)}, tags.<tag>"
        asker.faults.add("targets", "bad_selector", str(error), given=targets, allowed=allowed)
        return None
    return _take(selection, targets, scene, asker)


def lock_key(operation: Operation, effect: Effect, target: Target | None) -> str | None:
    """What a row holds while it runs: its asset, for change and destroy of what the asset is."""
    in_ledger = operation.repeat is Repeat.TRANSACTIONAL  # its transaction locks by itself
    if target is None or effect is Effect.READ or in_ledger:
        return None
    return "local" if target.asset_id is None else f"asset:{target.asset_id}"


def check_target_templates(targets: Any, faults: Faults) -> None:  # noqa: ANN401  # any form of a selector
    """Note templates in targets that would build a selector out of text."""
    texts = [targets] if isinstance(targets, str) else targets if isinstance(targets, list) else []
    for text in texts:
        if isinstance(text, str) and has_expression(text) and not _is_single(text):
            faults.add(
                "targets",
                "expression",
                "an expression cannot be part of a selector's text",
                given=text,
                hint="write a mapping, e.g. {environment: '{{ ... }}', tags: {role: web}}",
            )


def render_targets(targets: Any, context: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any form of a selector
    """Targets with their expressions rendered. Raises ExpressionError.

    What an expression gives where a whole target stands can only name assets: it is never
    read as a selector, so no tool's output can widen what a step acts on.
    """
    if isinstance(targets, str) and has_expression(targets):
        return _names_in(render_value(targets, context))
    if isinstance(targets, list):
        return [name for item in targets for name in _as_list(render_targets(item, context))]
    return render_value(targets, context)


def _is_single(text: str) -> bool:
    try:
        return is_single_expression(text)
    except ExpressionError:
        return True  # noted where expressions are checked


def _takes_no_targets(draft: Draft) -> bool:
    if draft.step.targets is None:
        return True
    draft.faults.add(
        "targets",
        "targets_not_taken",
        f"{draft.name} runs on a worker and takes no targets",
        given=draft.step.targets,
        hint="leave `targets` out"
        + (", or use `vantage`" if draft.tool.domain == "network" else ""),
    )
    return False


def _named_targets(
    draft: Draft,
    targets: Any,  # noqa: ANN401  # any form of a selector
    effect: Effect,
    scene: Scene,
) -> Found | None:
    if draft.members is not None:
        return Found(draft.members)
    if targets is None:
        if effect is Effect.READ:
            return Found((LOCAL,))
        message = f"{draft.name} needs a target; write `target: local` to act on the worker"
        draft.faults.add(
            "targets", "missing_target", message, hint="target: <hostname or selector>"
        )
        return None
    name = f"step {draft.position} ({draft.tool.name})"
    return choose_targets(targets, scene, Asker(name, draft.faults, draft.step.on_empty))


def _take(selection: Selection, given: Any, scene: Scene, asker: Asker) -> Found | None:  # noqa: ANN401  # any form of a selector
    left_out = ", ".join(selection.left_out)
    for name in selection.unknown:
        message = f"no asset {name!r} in the inventory"
        hint = "'opsfarm assets list' shows them"
        asker.faults.add("targets", "unknown_asset", message, given=name, hint=hint)
    if selection.unknown:
        return None
    if not selection.targets:
        message = "the targets match no asset" + (f"; left out: {left_out}" if left_out else "")
        return _take_none(message, given, scene, asker)
    if left_out:
        scene.warn(f"{asker.name} leaves out {left_out}")
    kept = scene.keep_limit(selection.targets)
    if not kept:
        scene.warn(f"{asker.name} is skipped: {OUT_OF_LIMIT}")
        return Found(skipped=OUT_OF_LIMIT)
    return Found(kept)


def _take_none(message: str, given: Any, scene: Scene, asker: Asker) -> Found | None:  # noqa: ANN401  # any form of a selector
    if asker.on_empty == "skip":
        scene.warn(f"{asker.name} is skipped: {message}")
        return Found(skipped=message)
    hint = "'opsfarm assets list' shows what there is; `on_empty: skip` takes none for an answer"
    asker.faults.add("targets", "no_targets", message, given=given, hint=hint)
    return None


def check_confirm(
    draft: Draft,
    given: Any,  # noqa: ANN401  # any JSON value
    names: Sequence[str],
    scene: Scene,
) -> None:
    """Note a destroying step that does not name its targets once more.

    Where a limit leaves some of them out, the confirmation may name all.
    """
    confirmed = given if isinstance(given, list) else [given]
    if all(isinstance(name, str) for name in confirmed):
        more, missing = set(confirmed) - set(names), set(names) - set(confirmed)
        if not missing and (not more or scene.limit is not None):
            return
    wanted = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    draft.faults.add(
        "confirm",
        "not_confirmed" if given is not None else "missing_confirm",
        f"{draft.name} destroys: it wants its targets named once more",
        **({} if given is None else {"given": given}),
        allowed=wanted,
        hint=f"write `confirm: {wanted}`",
    )


def _names_in(value: Any) -> list[Any]:  # noqa: ANN401  # any JSON value
    return [_name_in(item) for item in _as_list(value)]


def _name_in(item: Any) -> Any:  # noqa: ANN401  # a name or an id
    if isinstance(item, Mapping):
        item = next((item[key] for key in _NAMING_KEYS if item.get(key) is not None), None)
    is_name = isinstance(item, str) and not set(item) & set('=!,;|()"')
    if is_name or (isinstance(item, int) and not isinstance(item, bool)):
        return item
    raise ExpressionError(f"targets: {str(item)[:80]!r} names no asset: give names, ids or assets")


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401  # any JSON value
    return value if isinstance(value, list) else [value]
