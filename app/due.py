"""Dynamic steps and blocks when their turn has come: rendered, checked, judged (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from app.blocks import Held, Planter, leaves_of
from app.drafts import Around, Defaults, Ground, draft_step, find_operation
from app.errors import ExpressionError, Fault
from app.faults import Faults
from app.limit import find_limit
from app.limits import limit_steps
from app.plan import Block, CheckedStep, PlanStep
from app.plan_reader import read_plan
from app.principal import Principal
from app.references import collect_from_block, collect_references
from app.render import evaluate_condition
from app.safety import judge_all
from app.staging import read_block, stage_steps
from app.step_check import check_step
from app.step_reader import name_step
from app.surroundings import Draft, Rules, Scene, Surroundings
from app.targeting import Asker, choose_targets, render_targets
from tool_catalog.loader import Catalog
from tool_catalog.model import Reason

_REASONS: Mapping[str, Reason] = {
    "expression": Reason.EXPRESSION,
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
    """There is nothing to do: the step, or the whole block, is skipped."""

    message: str


@dataclass(frozen=True, slots=True)
class DueFailure:
    """The step, or the whole block, cannot run: it ends failed with this reason."""

    reason: Reason
    message: str


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
    `principal` is whoever submitted the plan. A step's `stage` counts from 0, the stage of the
    due row: a plain dynamic step gives one step in stage 0; a template that holds `block` gives
    one for each inner step and batch, those of one stage side by side, the others one stage after
    the other. They replace the block's placeholders, and what came after the block moves back. A
    step among them may be dynamic again: its one placeholder row becomes due in its turn, with
    the template that it carries.
    """
    foretold = _read_end(template)
    if foretold is not None:
        return foretold
    faults = Faults(step=name_step(template["position"], template))
    scene = Scene(surroundings, rules, find_limit(template.get("limit"), surroundings, faults))
    due = _Due(template, {**context, "inputs": template.get("inputs", {})}, catalog, scene, faults)
    try:
        steps = due.check_block() if "block" in template else due.check_step()
    except ExpressionError as error:
        return DueFailure(Reason.EXPRESSION, str(error))
    if isinstance(steps, Skip):
        return steps
    if faults.found:
        return _as_failure(faults.found)
    judged = judge_all(steps, rules.policy, principal, surroundings.select)
    for _, verdict in judged:
        if not verdict.allowed:
            return DueFailure(Reason.REFUSED_BY_POLICY, f"{verdict.fault}; {verdict.hint}")
    return limit_steps([step for step, _ in judged], rules.policy.limits, principal, catalog)


def _read_end(template: Mapping[str, Any]) -> Skip | DueFailure | None:
    """The end of a step of which it was known before that nothing will be run."""
    if "skip" in template:
        return Skip(template["skip"])
    if "fails" in template:
        return DueFailure(Reason.CANNOT_UNDO, template["fails"])
    return None


def name_references(template: Mapping[str, Any]) -> list[str]:
    """The ids of the earlier steps that a dynamic step's or block's template names."""
    if _read_end(template) is not None:
        return []
    if "block" in template:
        return sorted(collect_from_block("steps", _read_block(template["block"])))
    step = _read_step(template)
    return sorted(collect_references(step, step.targets))


@dataclass(frozen=True, slots=True)
class _Due:
    template: Mapping[str, Any]
    context: Mapping[str, Any]
    catalog: Catalog
    scene: Scene
    faults: Faults

    def check_step(self) -> tuple[CheckedStep, ...] | Skip:
        step = _read_step(self.template)
        found = find_operation(step, self.catalog, self.faults)
        if found is None:
            return ()
        draft = Draft(
            position=self.template["position"],
            key=self.template["key"],
            section=self.template["section"],
            step=step,
            tool=found[0],
            operation=found[1],
            targets=step.targets,
            faults=self.faults,
            context=self.context,
            due=True,
        )
        checked = check_step(draft, self.scene)
        if checked.skipped is not None:
            return Skip(checked.skipped)
        return (replace(checked, **read_block(self.template.get("within", {}))),)

    def check_block(self) -> tuple[CheckedStep, ...] | Skip:
        template = self.template
        block = _read_block(template["block"])
        if block.when is not None and not evaluate_condition(block.when, self.context):
            return Skip(f"when: {block.when} is false")
        defaults = Defaults(**template["defaults"])
        held = self._hold(block, defaults)
        if held is None:
            return ()
        if held.skipped is not None:
            return Skip(held.skipped)
        around = Around(template["within"], tuple(template["batch"]), tuple(template["inside"]))
        ground = Ground(
            catalog=self.catalog,
            faults=self.faults,
            defaults=defaults,
            context={"inputs": self.context["inputs"]},
            due=True,
            around=around,
            held={"steps[0]": held},
        )
        planter = Planter(template["position"], template["within"]["number"])
        nodes = planter.plant([block], [template["block"]], template["section"], "steps")
        drafts = {leaf.position: draft_step(leaf, ground) for leaf in leaves_of(nodes)}
        return stage_steps(nodes, drafts, self.scene, ground)

    def _hold(self, block: Block, defaults: Defaults) -> Held | None:
        """The block's targets with everything rendered; None after noting a fault."""
        outer = self.template["batch"]
        targets = block.targets
        if targets is None:
            targets = {"names": list(outer)} if outer else defaults.targets
        if targets is None:
            return Held()
        on_empty = block.on_empty or defaults.on_empty
        asker = Asker(f"the block of step {self.template['position']}", self.faults, on_empty)
        found = choose_targets(render_targets(targets, self.context), self.scene, asker)
        return Held(found.targets, skipped=found.skipped) if found else None


def _read_step(template: Mapping[str, Any]) -> PlanStep:
    members = {f.name: template[f.name] for f in fields(PlanStep) if f.name in template}
    return PlanStep(**members)


def _read_block(document: Mapping[str, Any]) -> Block:
    entries = read_plan({"steps": [document]}).steps
    return next(entry for entry in entries if isinstance(entry, Block))


def _as_failure(faults: Sequence[Fault]) -> DueFailure:
    """The first fault gives the reason, all of them the message."""
    messages = "; ".join(fault.message for fault in faults[:_MESSAGES])
    more = len(faults) - _MESSAGES
    reason = _REASONS.get(faults[0].code, Reason.INVALID_PARAMETER)
    return DueFailure(reason, messages + (f" and {more} more" if more > 0 else ""))
