"""A plan against catalogue and surroundings: every fault at once, or a checked plan (pure).

Steps with expressions come back when they become due, and are checked whole then.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from app.errors import ExpressionError, Fault
from app.faults import Faults
from app.plan import CheckedPlan, CheckedStep, Plan, PlanEntry, PlanStep
from app.principal import Principal
from app.references import KnownStep, KnownSteps, check_expressions, collect_references
from app.render import evaluate_condition, render_value
from app.safety import judge
from app.step_check import check_step, count_targets, find_secrets
from app.step_reader import name_step
from app.surroundings import Draft, Rules, Scene, Surroundings
from app.targeting import render_targets
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation, Reason, Tool
from tool_catalog.names import UnknownName, normalise, shorten

__all__ = [
    "DueFailure",
    "Rules",
    "Skip",
    "Surroundings",
    "check_due",
    "digest_of",
    "find_operation",
    "name_references",
    "validate",
]

_STEP_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
_REASONS: Mapping[str, Reason] = {
    "no_targets": Reason.NO_TARGETS,
    "unknown_asset": Reason.NO_TARGETS,
    "bad_selector": Reason.NO_TARGETS,
    "missing_target": Reason.REFUSED_BY_POLICY,
    "refused_by_policy": Reason.REFUSED_BY_POLICY,
    "missing_confirm": Reason.REFUSED_BY_POLICY,
    "not_confirmed": Reason.REFUSED_BY_POLICY,
}


_MESSAGES = 3


@dataclass(frozen=True, slots=True)
class Skip:
    """The step's condition does not hold: it is skipped."""

    message: str


@dataclass(frozen=True, slots=True)
class DueFailure:
    """The step cannot run: it ends failed with this reason."""

    reason: Reason
    message: str


def validate(plan: Plan, catalog: Catalog, surroundings: Surroundings, rules: Rules) -> CheckedPlan:
    """Everything that can be known before the plan starts. Raises PlanRejected with every fault.

    Static steps come out whole, one row per target; dynamic ones with a placeholder row and
    the template that `check_due` renders.
    """
    faults = Faults(plan.places)
    scene = Scene(surroundings, rules)
    known = KnownSteps()
    checked = []
    for draft in list(_draft_steps(plan, catalog, known, faults)):
        check_expressions(draft.key, draft.step, draft.targets, known, draft.faults)
        if isinstance(draft, Draft):
            checked.append(_check_static(draft, scene, known, faults))
    faults.raise_if_any()
    return CheckedPlan(
        name=plan.name or _name_plan(checked),
        digest=digest_of(plan),
        document=plan.document,
        steps=tuple(checked),
        warnings=tuple(scene.warnings),
    )


def check_due(  # noqa: PLR0913  # each part of the decision has another owner
    template: Mapping[str, Any],
    context: Mapping[str, Any],
    catalog: Catalog,
    surroundings: Surroundings,
    rules: Rules,
    *,
    principal: Principal,
) -> tuple[CheckedStep, ...] | Skip | DueFailure:
    """What takes the place of a due row: checked steps with their rows, or why there are none.

    `template` is what `CheckedStep.template` holds, `context` is `{"steps": {id: outcome},
    "execution": {id, state, name}}` with the outcomes of the steps in `name_references(template)`,
    made of their `own_rows(template, rows)`; the values of the plan's inputs are in the template.
    `principal` is whoever submitted the plan. A step's `stage` counts from 0, the stage of the due row: a plain dynamic step gives one
    step in stage 0; a template that holds `block` gives one for each inner step and batch, those
    of one stage side by side, the others one stage after the other. They replace the block's
    placeholders, and what came after the block moves back. A step among them may be dynamic
    again: its one placeholder row becomes due in its turn, with the template that it carries.
    """
    step = _read_step(template)
    try:
        if step.when is not None and not evaluate_condition(step.when, context):
            return Skip(f"when: {step.when} is false")
        rendered = replace(
            step,
            when=None,
            parameters=render_value(step.parameters, context),
            targets=render_targets(step.targets, context),
        )
    except ExpressionError as error:
        return DueFailure(Reason.EXPRESSION, str(error))
    faults = Faults(step=name_step(template["position"], template))
    checked = _check(template, rendered, catalog, (Scene(surroundings, rules), faults))
    if checked is None or faults.found:
        return _as_failure(faults.found)
    verdict = judge(checked, rules.policy, principal)
    if not verdict.allowed:
        return DueFailure(Reason.REFUSED_BY_POLICY, f"{verdict.fault}; {verdict.hint}")
    return (replace(checked, stage=0, secrets=find_secrets(step.parameters)),)


def name_references(template: Mapping[str, Any]) -> list[str]:
    """The ids of the earlier steps that a dynamic step's template names."""
    step = _read_step(template)
    return sorted(collect_references(step, step.targets))


def digest_of(plan: Plan) -> str:
    """SHA-256 of the plan's JSON with sorted keys, hex: the plan's identity."""
    text = json.dumps(plan.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def find_operation(
    step: PlanStep, catalog: Catalog, faults: Faults
) -> tuple[Tool, Operation] | None:
    """What a step's tool and operation mean; None after noting a fault."""
    try:
        tool = catalog.find(step.tool)
    except UnknownName as error:
        hint = "'opsfarm tools list' shows them all"
        faults.add("tool", "unknown_tool", str(error), given=step.tool, hint=hint)
        return None
    try:
        return tool, catalog.operation(tool, step.operation)
    except UnknownName as error:
        allowed = list(tool.operations)
        if step.operation is None:
            message = f"{tool.name} has several operations and no default; name one"
            faults.add("operation", "missing_operation", message, allowed=allowed)
        else:
            faults.add(
                "operation", "unknown_operation", str(error), given=step.operation, allowed=allowed
            )
    return None


@dataclass(frozen=True, slots=True)
class _Nameless:
    """A step whose operation is not known: its expressions are checked all the same."""

    key: str
    step: PlanStep
    targets: Any
    faults: Faults


def _check_static(draft: Draft, scene: Scene, known: KnownSteps, faults: Faults) -> CheckedStep:
    noted = len(faults)
    checked = check_step(draft, scene)
    if len(faults) == noted:
        count = count_targets(draft, scene)
        known.steps[draft.key].fanned_out = None if count is None else count > 1
    return checked


def _draft_steps(
    plan: Plan, catalog: Catalog, known: KnownSteps, faults: Faults
) -> Iterator[Draft | _Nameless]:
    """A draft of each step; every step's id becomes known."""
    places = [("steps", index, step) for index, step in enumerate(_leaves(plan.steps))]
    places += [("finally", index, step) for index, step in enumerate(_leaves(plan.finally_steps))]
    for position, (section, index, step) in enumerate(places, 1):
        at_step = faults.at(f"{section}[{index}]", name_step(position, {"tool": step.tool}))
        found = find_operation(step, catalog, at_step)
        key = step.id or normalise(found[0].name if found else step.tool).replace("-", "_")
        targets = step.targets
        if targets is None and found and found[1].at == "target":
            targets = plan.targets
        _check_key(step, key, position, known, at_step)
        references = collect_references(step, targets)
        known.steps.setdefault(key, KnownStep(position, found[1] if found else None, references))
        if found:
            yield Draft(position, key, section, step, *found, targets, at_step)
        else:
            yield _Nameless(key, step, targets, at_step)


def _leaves(entries: Sequence[PlanEntry]) -> list[PlanStep]:
    return [entry for entry in entries if isinstance(entry, PlanStep)]


def _check_key(step: PlanStep, key: str, position: int, known: KnownSteps, faults: Faults) -> None:
    if step.id is not None and not _STEP_ID.fullmatch(step.id):
        allowed = "a lower-case letter, then letters, digits and _ (64 at most)"
        faults.add("id", "bad_format", f"no id: {shorten(key)!r}", given=key, allowed=allowed)
    if key in known.steps:
        faults.add(
            "id",
            "duplicate_id",
            f"steps {known.steps[key].position} and {position} are both called {shorten(key)!r}",
            given=key,
            hint=f"give one of them another id, e.g. `id: {key[:60]}_{position}`",
        )


def _name_plan(steps: Sequence[CheckedStep]) -> str:
    """What a plan without a name is called: its first tool and how many follow."""
    more = len(steps) - 1
    return steps[0].tool + (f" and {more} more" if more else "")


def _read_step(template: Mapping[str, Any]) -> PlanStep:
    members = {f.name: template[f.name] for f in fields(PlanStep) if f.name in template}
    return PlanStep(**members)


def _as_failure(faults: Sequence[Fault]) -> DueFailure:
    """The first fault gives the reason, all of them the message."""
    messages = "; ".join(fault.message for fault in faults[:_MESSAGES])
    more = len(faults) - _MESSAGES
    reason = _REASONS.get(faults[0].code, Reason.INVALID_PARAMETER)
    return DueFailure(reason, messages + (f" and {more} more" if more > 0 else ""))


def _check(
    template: Mapping[str, Any], step: PlanStep, catalog: Catalog, check: tuple[Scene, Faults]
) -> CheckedStep | None:
    scene, faults = check
    found = find_operation(step, catalog, faults)
    if found is None:
        return None
    draft = Draft(
        position=template["position"],
        key=template["key"],
        section=template["section"],
        step=step,
        tool=found[0],
        operation=found[1],
        targets=step.targets,
        faults=faults,
        settled=True,
    )
    return check_step(draft, scene)
