"""Checks one step whose expressions, if any, were checked or rendered before (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.faults import join_path
from app.placement import check_capabilities, find_needs, find_queue
from app.plan import CheckedRow, CheckedStep
from app.render import (
    ARTIFACT,
    LITERAL,
    REFERENCE_KEYS,
    SECRET,
    find_references,
    has_expression,
    render_value,
)
from app.safety import effect_of
from app.step import Target
from app.surroundings import Draft, Scene
from app.targeting import check_target_templates, find_targets, lock_key
from tool_catalog.model import Effect, Operation, Repeat
from tool_catalog.names import did_you_mean, shorten, suggest
from tool_catalog.params import ParameterFault, check_names, check_parameters

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


def check_step(draft: Draft, scene: Scene) -> CheckedStep:
    """A checked step; its faults are noted in the draft, and then it is not to be run.

    A dynamic step is checked as far as it is written out and gets one placeholder row. Workers
    are looked at only at submit: a settled step waits for them.
    """
    dynamic = draft.is_dynamic
    _refuse_unserved(draft)
    parameters = _check_parameters(draft)
    secrets = () if draft.settled else _check_references(draft, scene)
    effect = effect_of(draft.operation, parameters, scene.rules.policy)
    targets = _find_static_targets(draft, effect, scene)
    queue = find_queue(draft, scene)
    needs = find_needs(draft, parameters, targets)
    if not draft.settled:
        check_capabilities(draft, queue, needs, scene)
    rows = _placeholder(draft) if dynamic else _make_rows(draft, effect, parameters, targets)
    return CheckedStep(
        position=draft.position,
        key=draft.key,
        stage=draft.position - 1,
        section="finally" if draft.section == "finally" else "main",
        tool=draft.tool.name,
        operation=draft.operation.name,
        domain=draft.tool.domain.value,
        queue=queue,
        effect=effect,
        repeat=_repeat(draft.operation, effect),
        dynamic=dynamic,
        on_failure=draft.step.on_failure,
        timeout_s=_timeout(draft, parameters),
        queue_timeout_s=draft.step.queue_timeout_s or scene.rules.default_queue_timeout_s,
        max_retries=draft.step.retries,
        backoff_s=draft.step.backoff_s,
        rows=rows,
        secrets=secrets,
        needs=needs,
        template=write_template(draft) if dynamic else None,
    )


def _find_static_targets(draft: Draft, effect: Effect, scene: Scene) -> tuple[Target, ...]:
    """The targets that are written out; none where an expression will give them."""
    if draft.holds_expression(draft.targets):
        check_target_templates(draft)
        return ()
    targets = find_targets(draft, effect, scene) or ()
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
    return targets


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


def count_targets(draft: Draft, scene: Scene) -> int | None:
    """How many targets a step that was checked has; None when only run time shows it."""
    if draft.operation.at == "worker" or draft.targets is None:
        return 1
    return (
        None if draft.holds_expression(draft.targets) else len(scene.select(draft.targets).targets)
    )


def find_secrets(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the secrets that parameters, as written in the plan, refer to."""
    held = (value for _, key, value in find_references(parameters) if key == SECRET)
    return tuple(dict.fromkeys(str(name) for name in held))


def write_template(draft: Draft) -> dict[str, Any]:
    """What rendering a dynamic step needs later, as JSON."""
    step = draft.step
    return {
        "position": draft.position,
        "key": draft.key,
        "section": draft.section,
        "tool": draft.tool.name,
        "operation": draft.operation.name,
        "parameters": step.parameters,
        "targets": draft.targets if draft.operation.at == "target" else step.targets,
        "when": step.when,
        "on_failure": step.on_failure,
        "timeout_s": step.timeout_s,
        "queue_timeout_s": step.queue_timeout_s,
        "retries": step.retries,
        "backoff_s": step.backoff_s,
        "vantage": step.vantage,
        "confirm": step.confirm,
    }


def _placeholder(draft: Draft) -> tuple[CheckedRow, ...]:
    return (CheckedRow(parameters=draft.step.parameters),)


def _make_rows(
    draft: Draft, effect: Effect, parameters: Mapping[str, Any], targets: Sequence[Target]
) -> tuple[CheckedRow, ...]:
    if draft.operation.at == "worker":
        return (CheckedRow(parameters=parameters),)
    return tuple(
        CheckedRow(parameters, target, lock_key(draft.operation, effect, target))
        for target in targets
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


def _check_parameters(draft: Draft) -> dict[str, Any]:
    """The parameters to run with; of a step with expressions, those that are written out."""
    if draft.settled:
        values, faults = check_parameters(draft.operation, draft.step.parameters)
    elif any(map(has_expression, draft.step.parameters.values())):
        values, faults = _check_partly(draft)
    else:
        given = render_value(draft.step.parameters, {})
        values, faults = check_parameters(draft.operation, given)
    for fault in faults:
        _note(draft, fault)
    return values


def _check_partly(draft: Draft) -> tuple[dict[str, Any], list[ParameterFault]]:
    """Check what is written out; rules over several parameters wait for the others."""
    given = draft.step.parameters
    named, unknown_names = check_names(draft.operation, given)
    later = {name for name, value in named.items() if has_expression(value)}
    static = {key: value for key, value in given.items() if not has_expression(value)}
    values, faults = check_parameters(draft.operation, render_value(static, {}))
    kept = [fault for fault in faults if fault.path not in later and fault.code != "rule"]
    seen = {fault.path for fault in kept}
    kept += [fault for fault in unknown_names if fault.path not in seen]
    return {name: value for name, value in values.items() if name not in later}, kept


def _note(draft: Draft, fault: ParameterFault) -> None:
    draft.faults.add(
        join_path("parameters", fault.path),
        fault.code,
        fault.message,
        shown=fault.given,
        allowed=fault.allowed,
        hint=fault.hint,
    )


def _check_references(draft: Draft, scene: Scene) -> tuple[str, ...]:
    """The names of the secrets that the parameters refer to; notes every bad `$` key."""
    for path, key, value in find_references(draft.step.parameters, "parameters"):
        if draft.faults.has(path):
            continue
        if key not in REFERENCE_KEYS:
            draft.faults.add(
                path,
                "unknown_reference",
                f"no reference {shorten(key)!r}{did_you_mean(suggest(key, REFERENCE_KEYS))}",
                shown=shorten(key),
                allowed=REFERENCE_KEYS,
                hint=f"to mean a mapping with that key, write {{{LITERAL}: ...}} around it",
            )
        elif key == LITERAL:
            _check_literal(draft, path, value)
        elif key == SECRET:
            _check_secret(draft, path, value, scene)
        elif key == ARTIFACT and not isinstance(value, str):
            message = f"{ARTIFACT} takes the id of an artifact"
            draft.faults.add(path, "wrong_type", message, given=value, allowed="text")
    return find_secrets(draft.step.parameters)


def _check_literal(draft: Draft, path: str, value: Any) -> None:  # noqa: ANN401  # any JSON value
    """A worker would take a reference inside a literal for one of the plan."""
    held = [key for _, key, _ in find_references({"": value}) if key in {SECRET, ARTIFACT}]
    for key in held:
        message = f"a literal cannot hold a mapping with the key {key}"
        draft.faults.add(path, "unknown_reference", message, shown=key)


def _check_secret(draft: Draft, path: str, name: Any, scene: Scene) -> None:  # noqa: ANN401  # any JSON value
    if not isinstance(name, str) or has_expression(name):
        message = f"{SECRET} takes the name of a secret, written out"
        draft.faults.add(path, "wrong_type", message, allowed="the name of a secret")
        return
    if name in scene.secret_names:
        return
    near = did_you_mean(suggest(name, scene.secret_names))
    draft.faults.add(
        path,
        "unknown_secret",
        f"no secret {shorten(name)!r}{near}",
        shown=shorten(name),
        hint=f"opsfarm secrets set {shorten(name)}",
    )
