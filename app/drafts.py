"""Steps as they are checked: their operation, their key, what they take over (pure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from app.blocks import Held, Leaf
from app.faults import Faults
from app.inputs import fill_references
from app.known_steps import KnownStep, KnownSteps
from app.plan import Plan, PlanStep
from app.privilege import takes_user
from app.references import collect_references
from app.step_reader import name_step
from app.surroundings import Draft
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation, Tool
from tool_catalog.names import UnknownName, normalise, shorten

_STEP_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a plan says for all its steps; a step or a block around it may say otherwise."""

    targets: Any = None
    run_as: str | None = None
    max_parallel: int | None = None
    max_failures: int | None = None
    on_empty: Literal["fail", "skip"] | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What a block that is due stands in; around a whole plan there is nothing."""

    #: `number`, `max_failures` and `on_failure` of the outermost block.
    within: Mapping[str, Any] = field(default_factory=dict)
    #: Names of the batch that the block is part of.
    batch: tuple[str, ...] = ()
    #: Ids of the steps in the outermost block.
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What the steps of one check share: those of a whole plan, or of a block that is due."""

    catalog: Catalog
    faults: Faults
    defaults: Defaults
    #: What expressions may name now: {"inputs": {...}}.
    context: Mapping[str, Any]
    known: KnownSteps = field(default_factory=KnownSteps)
    due: bool = False
    around: Around = field(default_factory=Around)
    #: What is known of blocks already, by path.
    held: Mapping[str, Held] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nameless:
    """A step whose operation is not known: its expressions are checked all the same."""

    key: str
    step: PlanStep
    targets: Any
    faults: Faults


def defaults_of(plan: Plan) -> Defaults:
    """What a plan says for all its steps."""
    return Defaults(plan.targets, plan.run_as, plan.max_parallel, plan.max_failures, plan.on_empty)


def draft_step(leaf: Leaf, ground: Ground) -> Draft | Nameless:
    """A draft of one step; its id becomes known."""
    step, position = leaf.step, leaf.position
    faults = ground.faults.at(leaf.path, name_step(position, {"tool": step.tool}))
    found = find_operation(step, ground.catalog, faults)
    key = step.id or normalise(found[0].name if found else step.tool).replace("-", "_")
    _check_key(step, key, position, ground.known, faults)
    step = replace(step, parameters=fill_references(step.parameters, ground.context["inputs"]))
    if found:
        step = _take_over(step, leaf, found[1], ground.defaults, faults)
    targets = step.targets
    if targets is None and found and found[1].at == "target" and not leaf.blocks:
        targets = ground.defaults.targets
    references = collect_references(step, targets)
    block = leaf.blocks[0].number if leaf.blocks else None
    known = KnownStep(position, found[1] if found else None, references, block, leaf.parallel)
    ground.known.steps.setdefault(key, known)
    if not found:
        return Nameless(key, step, targets, faults)
    return Draft(
        position=position,
        key=key,
        section=leaf.section,
        step=step,
        tool=found[0],
        operation=found[1],
        targets=targets,
        faults=faults,
        context=ground.context,
        due=ground.due,
    )


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


def _take_over(
    step: PlanStep, leaf: Leaf, operation: Operation, defaults: Defaults, faults: Faults
) -> PlanStep:
    """A step with what it leaves to its blocks, from the inner to the outer, and to its plan."""
    blocks = [place.block for place in reversed(leaf.blocks)]
    becomes = takes_user(operation)
    if step.run_as is not None and not becomes:
        where = "runs inside a worker" if operation.at == "worker" else "logs in by itself"
        message = f"{step.tool} {operation.name} {where}: it becomes nobody"
        faults.add("run_as", "run_as_not_taken", message, given=step.run_as,
                   hint="leave `run_as` out")  # fmt: skip
    inherited = [block.run_as for block in blocks] + [defaults.run_as] if becomes else []
    empty = [*(block.on_empty for block in blocks), defaults.on_empty]
    counts = not leaf.blocks
    return replace(
        step,
        run_as=_first(step.run_as, *inherited),
        on_empty=_first(step.on_empty, *empty),
        max_parallel=_first(step.max_parallel, defaults.max_parallel),
        max_failures=_first(step.max_failures, defaults.max_failures) if counts else None,
    )


def _first(*values: Any) -> Any:  # noqa: ANN401  # a member of a step
    return next((value for value in values if value is not None), None)


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
