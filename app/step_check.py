"""Checks one step whose expressions, if any, were checked before (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.errors import ExpressionError
from app.login_check import check_logins
from app.parameter_check import check_references, find_secrets
from app.placement import check_capabilities, find_queue
from app.plan import CheckedRow, CheckedStep
from app.references import collect_inputs
from app.render import evaluate_condition, knows_condition
from app.row_check import Share, check_items, check_later, find_timeout
from app.step import Target
from app.surroundings import Draft, Scene
from tool_catalog.model import Effect, Operation, Repeat

#: What an operation runs, to the connections by which it reaches a target
#: (tasks/runners/table.py). A Python operation says in `needs` if it takes only one of them.
SERVED_CONNECTIONS: Mapping[str, tuple[str, ...]] = {
    "argv": ("local", "ssh"),
    "powershell": ("winrm",),
    "http": ("http",),
    "python": ("local", "ssh", "winrm", "http"),
}

#: Members of a step that a due step is made of again.
_RENDERED_LATER = (
    *("parameters", "targets", "when", "on_failure", "timeout_s", "queue_timeout_s", "retries"),
    *("backoff_s", "vantage", "confirm", "for_each", "run_as", "max_parallel", "max_failures"),
    "on_empty",
)


def check_step(draft: Draft, scene: Scene) -> CheckedStep:
    """A checked step; its faults are noted in the draft, and then it is not to be run.

    Its stage is 0. A dynamic step is checked as far as it is written out and gets one placeholder
    row, and so does one that has nothing to do. Workers are looked at only at submit: a due step
    waits for them.
    """
    dynamic = draft.is_dynamic
    share = _check_when(draft) or (
        check_later(draft, scene) if dynamic else check_items(draft, scene)
    )
    _check_reach(draft, share.targets, scene)
    checked = _write_step(draft, share, scene)
    if share.needs and not draft.due:
        check_capabilities(draft, checked.queue, share.needs, scene)
    given = draft.step.parameters
    secrets = find_secrets(given) if draft.due else check_references(draft, scene)
    if not dynamic and share.skipped is None:
        return replace(checked, rows=share.rows, secrets=secrets)
    template = write_template(draft, scene, share.skipped)
    rows = (CheckedRow(given),)
    return replace(checked, dynamic=True, rows=rows, secrets=secrets, template=template)


def _write_step(draft: Draft, share: Share, scene: Scene) -> CheckedStep:
    """The step without its rows."""
    step = draft.step
    return CheckedStep(
        position=draft.position,
        key=draft.key,
        stage=0,
        section=draft.section,
        tool=draft.tool.name,
        operation=draft.operation.name,
        domain=draft.tool.domain.value,
        queue=find_queue(draft, scene),
        effect=share.effect,
        repeat=_repeat(draft.operation, share.effect),
        dynamic=False,
        on_failure=step.on_failure,
        timeout_s=share.timeout_s or find_timeout(draft, {}),
        queue_timeout_s=step.queue_timeout_s or scene.rules.default_queue_timeout_s,
        max_retries=step.retries,
        backoff_s=step.backoff_s,
        rows=(),
        needs=share.needs,
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


def _check_when(draft: Draft) -> Share | None:
    """The step as one that is skipped, where that is known of it or of a block around it."""
    if draft.skipped is not None:
        return Share(effect=draft.operation.effect, skipped=draft.skipped)
    when = draft.step.when
    if when is None or draft.waits or not knows_condition(when, draft.context):
        return None
    try:
        holds = evaluate_condition(when, draft.context)
    except ExpressionError as error:
        draft.faults.add("when", "expression", str(error))
        return None
    told = f"when: {when} is false"
    return None if holds else Share(effect=draft.operation.effect, skipped=told)


def _check_reach(draft: Draft, targets: Sequence[Target], scene: Scene) -> None:
    """How its targets are reached, and whether their logins can be whom it runs as."""
    check_logins(draft, targets, scene)
    connections = find_connections(draft.operation)
    for target in targets:
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


def find_connections(operation: Operation) -> tuple[str, ...]:
    """By which connections an operation can reach a target."""
    if operation.needs.connection is not None:
        return (operation.needs.connection,)
    return next(ways for kind, ways in SERVED_CONNECTIONS.items() if getattr(operation, kind))


def _repeat(operation: Operation, effect: Effect) -> Repeat:
    """As declared; what only reads may always run again."""
    lowered = effect is Effect.READ and operation.effect is not Effect.READ
    return Repeat.READ if lowered else operation.repeat
