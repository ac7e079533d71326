"""A plan against catalogue and surroundings: every fault at once, or a checked plan (pure).

Steps with expressions come back when they become due, and are checked whole then (app/due.py).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from app.blocks import leaves_of, plant_plan
from app.drafts import Ground, Nameless, defaults_of, draft_step, find_operation
from app.due import DueFailure, Skip, check_due, name_references
from app.faults import Faults
from app.inputs import check_given
from app.known_steps import KnownSteps
from app.limit import find_limit
from app.plan import CheckedPlan, CheckedStep, Plan
from app.staging import stage_steps
from app.step import LOCAL
from app.surroundings import Draft, Rules, Scene, Surroundings
from app.targeting import OUT_OF_LIMIT
from app.undo import warn_of_lasting
from tool_catalog.loader import Catalog

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


def validate(
    plan: Plan,
    catalog: Catalog,
    surroundings: Surroundings,
    rules: Rules,
    *,
    unfilled: bool = False,
) -> CheckedPlan:
    """Everything that can be known before the plan starts. Raises PlanRejected with every fault.

    Static steps come out whole, one row for each target and item; dynamic ones with a placeholder
    row and the template that `check_due` renders. With `unfilled`, required inputs may be missing,
    as in a plan that is only kept: the steps that name them are checked as dynamic ones.
    """
    faults = Faults(plan.places)
    inputs = check_given(plan, faults, unfilled=unfilled)
    scene = Scene(surroundings, rules, find_limit(plan.limit, surroundings, faults))
    known = KnownSteps(inputs=frozenset(plan.inputs))
    ground = Ground(catalog, faults, defaults_of(plan), {"inputs": inputs}, known)
    nodes = plant_plan(plan)
    drafts = {leaf.position: draft_step(leaf, ground) for leaf in leaves_of(nodes)}
    steps = stage_steps(nodes, drafts, scene, ground)
    _check_limit(scene, drafts, steps, faults)
    faults.raise_if_any()
    return CheckedPlan(
        name=plan.name or _name_plan(steps),
        digest=digest_of(plan),
        document=plan.document,
        steps=steps,
        tools={name: catalog.find(name).digest for name in sorted({s.tool for s in steps})},
        warnings=(*scene.warnings, *warn_of_lasting(steps, catalog)),
        stored=plan.stored,
        rerun_of=plan.rerun_of,
        reason=plan.reason,
        approval_timeout_s=plan.approval_timeout_s,
        timeout_s=plan.timeout_s,
    )


def digest_of(plan: Plan) -> str:
    """SHA-256 of the plan's JSON with sorted keys, hex: the plan's identity."""
    text = json.dumps(plan.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _acts(draft: Draft | Nameless) -> bool:
    return isinstance(draft, Draft) and draft.operation.at == "target"


def _check_limit(
    scene: Scene,
    drafts: Mapping[int, Draft | Nameless],
    steps: Sequence[CheckedStep],
    faults: Faults,
) -> None:
    """A limit that leaves those steps that act on something nothing at all is a mistake."""
    if scene.limit is None:
        return
    # `local` is meant to leave all assets out: what needs none is enough then.
    everything = scene.limit.text == LOCAL.name
    reasons = {step.skipped for step in steps if everything or _acts(drafts[step.position])}
    if OUT_OF_LIMIT in reasons and None not in reasons:
        message = "the limit leaves no step anything to act on"
        hint = "'opsfarm assets list' shows what there is"
        faults.add("limit", "no_targets", message, given=scene.limit.text, hint=hint)


def _name_plan(steps: Sequence[CheckedStep]) -> str:
    """What a plan without a name is called: its first tool and how many follow."""
    more = len({step.position for step in steps}) - 1
    return steps[0].tool + (f" and {more} more" if more else "")
