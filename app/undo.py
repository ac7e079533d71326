"""The step that would reverse a finished one, from what the ledger keeps of it (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import CannotUndo, ExpressionError
from app.observe.redact import MASK
from app.plan import CheckedStep
from app.promises import is_undoable
from tool_catalog.links import LinkError, link_parameters
from tool_catalog.loader import Catalog
from tool_catalog.model import Effect, Tool
from tool_catalog.params import check_parameters

#: What the row that asks what there is to reverse has in the place of a tool.
UNDO_TOOL = "undo"


@dataclass(frozen=True, slots=True)
class Undo:
    """What reverses a step: an operation of the same tool, with checked parameters."""

    operation: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """What the ledger keeps of a row that succeeded."""

    operation: str
    parameters: Mapping[str, Any]
    output: Any = None
    before: Any = None
    after: Any = None


def plan_undo(tool: Tool, done: Done) -> Undo | None:
    """How to reverse it; None where `undo.if` says that there is nothing to reverse.

    Raises CannotUndo: the operation declares no undo, or what was read before does not suffice.
    """
    name = f"{tool.name} {done.operation}"
    operation = tool.operations.get(done.operation)
    if operation is None or operation.undo is None:
        raise CannotUndo(f"{name} declares no undo")
    facts = {
        "output": done.output,
        "before": done.before,
        "after": done.after,
        "parameters": done.parameters,
    }
    undo = operation.undo
    reverse = tool.operations[undo.operation]
    try:
        if undo.if_ is not None and not is_undoable(undo.if_, facts):
            return None
        linked = link_parameters(reverse, done.parameters, undo.with_, done.before)
    except (ExpressionError, LinkError) as error:
        raise CannotUndo(f"{name}: {error}") from None
    parameters, faults = check_parameters(reverse, linked)
    if faults:
        raise CannotUndo(f"{name}: {reverse.name} would be refused: {faults[0].message}")
    if _is_masked(parameters):
        raise CannotUndo(f"{name}: what was read before holds a secret, which is not kept")
    return Undo(reverse.name, parameters)


def warn_of_lasting(steps: Sequence[CheckedStep], catalog: Catalog) -> list[str]:
    """A warning for each step that a failure with `on_failure: undo` cannot reverse."""
    asking = [step for step in steps if "undo" in {step.on_failure, step.block_on_failure}]
    if not asking:
        return []
    last = max(step.stage for step in asking)
    final = [step for step in asking if step.stage == last]
    # What a single row failed at was not done: only others need to be reversed then.
    alone = final[0] if len(final) == 1 and len(final[0].rows) == 1 else None
    lasting = {
        step.position: f"step {step.position} ({step.tool} {step.operation}) cannot be undone: "
        "its tool declares no undo, so what it did stays"
        for step in steps
        if step.stage <= last and step is not alone and lasts(step, catalog)
    }
    return [lasting[position] for position in sorted(lasting)]


def lasts(step: CheckedStep, catalog: Catalog) -> bool:
    """Whether what a step does stays: it changes something, and its tool declares no undo."""
    operation = catalog.operation(catalog.find(step.tool), step.operation)
    return step.effect is not Effect.READ and step.skipped is None and operation.undo is None


def _is_masked(value: object) -> bool:
    if isinstance(value, str):
        return MASK in value
    if isinstance(value, Mapping):
        return any(_is_masked(member) for member in value.values())
    return isinstance(value, list) and any(map(_is_masked, value))
