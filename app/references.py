"""Checks at submit what expressions refer to: earlier steps, members that exist (pure)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.errors import ExpressionError
from app.expression_tree import Reference
from app.faults import Faults
from app.known_steps import Seat
from app.outcome import RESULT_MEMBERS, SINGLE_MEMBERS, STEP_MEMBERS
from app.plan import Block, PlanStep
from app.render import (
    find_expressions,
    inspect_condition,
    inspect_template,
    is_single_expression,
)
from app.sandbox import METHODS
from tool_catalog.model import Operation
from tool_catalog.names import did_you_mean, suggest

EXECUTION_MEMBERS = ("id", "state", "name")
#: Parsers whose output is a list of records.
_LIST_PARSERS = frozenset({"columns", "csv", "ndjson"})
_DATA_METHODS = METHODS[dict] | METHODS[list] | METHODS[str]
_TEMPLATE_HINT = "write {$literal: ...} around a text that is no template"


def collect_references(step: PlanStep, targets: object) -> frozenset[str]:
    """The ids of the steps that a step's expressions name; faulty expressions name none."""
    return _collect("steps", _read_step(step, targets))


def collect_inputs(step: PlanStep, targets: object) -> frozenset[str]:
    """The inputs that a step's expressions name."""
    return _collect("inputs", _read_step(step, targets))


def collect_from_block(root: str, block: Block) -> frozenset[str]:
    """The steps (or inputs) that the expressions at the head of a block name."""
    return _collect(root, _read_block(block))


def check_expressions(step: PlanStep, targets: object, seat: Seat, faults: Faults) -> None:
    """Note every fault of the step's expressions."""
    if isinstance(step.for_each, str) and not _gives_value(step.for_each):
        hint = 'for_each: "{{ steps.scan.output.hosts }}"'
        message = "'for_each' is more than one expression: it would give text"
        faults.add("for_each", "expression", message, given=step.for_each, hint=hint)
        return
    has_item = step.for_each is not None
    for path, references in _read_step(step, targets):
        _check_all(references, seat, _Place(faults, path, has_item=has_item))


def check_block_expressions(block: Block, seat: Seat, faults: Faults) -> None:
    """Note every fault of the expressions at the head of a block."""
    for path, references in _read_block(block):
        _check_all(references, seat, _Place(faults, path))


@dataclass(frozen=True, slots=True)
class _Place:
    faults: Faults
    path: str
    #: The step has `for_each`.
    has_item: bool = False

    def add(
        self, code: str, message: str, reference: Reference, **more: str | Sequence[str] | None
    ) -> None:
        allowed, hint = more.get("allowed"), more.get("hint")
        self.faults.add(
            self.path,
            code,
            message,
            shown=str(reference)[:80],
            allowed=allowed,
            hint=str(hint) if hint else None,
        )


_Read = Iterator[tuple[str, tuple[Reference, ...] | ExpressionError]]


def _read_step(step: PlanStep, targets: object) -> _Read:
    yield from _read_templates(step.parameters, "parameters")
    yield from _read_templates(targets, "targets")
    yield from _read_templates(step.confirm, "confirm")
    yield from _read_templates(step.for_each, "for_each")
    yield from _read_condition(step.when)


def _read_block(block: Block) -> _Read:
    yield from _read_templates(block.targets, "targets")
    yield from _read_condition(block.when)


def _read_templates(value: object, path: str) -> _Read:
    for at, text in find_expressions(value, path):
        try:
            yield at, inspect_template(text)
        except ExpressionError as error:
            yield at, error


def _read_condition(when: str | None) -> _Read:
    if when is None:
        return
    try:
        yield "when", inspect_condition(when)
    except ExpressionError as error:
        yield "when", error


def _collect(root: str, read: _Read) -> frozenset[str]:
    found = {
        reference.parts[0]
        for _, references in read
        if not isinstance(references, ExpressionError)
        for reference in references
        if reference.root == root and reference.parts
    }
    return frozenset(part for part in found if isinstance(part, str))


def _gives_value(text: str) -> bool:
    try:
        return is_single_expression(text)
    except ExpressionError:
        return True  # noted with the other expressions


def _check_all(
    references: tuple[Reference, ...] | ExpressionError, seat: Seat, place: "_Place"
) -> None:
    if isinstance(references, ExpressionError):
        place.faults.add(place.path, "expression", str(references), hint=_TEMPLATE_HINT)
        return
    for reference in references:
        _CHECKS[reference.root](reference, seat, place)


def _check_execution(reference: Reference, _seat: Seat, place: _Place) -> None:
    if _is_allowed(reference, place):
        _check_member(reference, reference.parts, EXECUTION_MEMBERS, place)


def _check_input(reference: Reference, seat: Seat, place: _Place) -> None:
    name = reference.parts[0] if reference.parts else None
    known = seat.known.inputs
    if not isinstance(name, str):
        example = "inputs.environment"
        place.add("expression", "name the input: inputs.<name>", reference, hint=example)
    elif name not in known:
        message = f"the plan declares no input {name!r}{did_you_mean(suggest(name, known))}"
        hint = None if known else f"inputs: {{{name}: {{type: string}}}} declares it"
        place.add("unknown_input", message, reference, allowed=sorted(known) or None, hint=hint)


def _check_item(reference: Reference, _seat: Seat, place: _Place) -> None:
    if place.path.startswith("for_each") or place.path == "when":
        message = f"{place.path.partition('[')[0]!r} stands for all items: it knows no single one"
        hint = "filter the list: for_each: \"{{ ... | selectattr('up') | list }}\""
        place.add("item_outside", message, reference, hint=hint)
    elif not place.has_item:
        message = "'item' is known in a step with `for_each` only"
        place.add("item_outside", message, reference, hint="for_each: [a, b] gives `item`")


def _check_step(reference: Reference, seat: Seat, place: _Place) -> None:
    known = seat.known
    name = reference.parts[0] if reference.parts else None
    if not _is_allowed(reference, place):
        return
    if not isinstance(name, str):
        place.add("expression", "name the step: steps.<id>", reference, hint="steps.disk.summary")
        return
    step = known.steps.get(name)
    if step is None:
        earlier = [k for k, s in known.steps.items() if s.position < seat.position]
        message = f"no step {name!r}{did_you_mean(suggest(name, earlier))}"
        hint = None if earlier else "no step comes before this one"
        place.add("unknown_step", message, reference, allowed=earlier or None, hint=hint)
    elif seat.parallel is not None and step.parallel == seat.parallel and name != seat.key:
        message = f"step {name!r} runs side by side with this one"
        hint = "put it before the `parallel` stage: a step may use what steps before it left behind"
        place.add("parallel_reference", message, reference, hint=hint)
    elif step.position >= seat.position:
        _refuse_order(reference, name, seat, place)
    else:
        _check_members(reference, name, seat, place)


def _is_allowed(reference: Reference, place: _Place) -> bool:
    """Whether steps and execution may be named here: a confirmation is a person's word."""
    if not place.path.startswith("confirm"):
        return True
    message = "a confirmation cannot come from another step"
    place.add("expression", message, reference, hint="write the names, or use inputs and item")
    return False


def _refuse_order(reference: Reference, name: str, seat: Seat, place: _Place) -> None:
    known, key = seat.known, seat.key
    hint = "a step may use what steps before it left behind"
    if key == name:
        place.add("self_reference", f"step {key!r} refers to itself", reference, hint=hint)
        return
    back = known.path_between(name, key) if key is not None else None
    if back is not None:
        circle = " -> ".join([str(key), *back])
        message = f"steps refer to each other in a circle: {circle}"
        place.add("cyclic_reference", message, reference, hint="break the circle; " + hint)
        return
    position = known.steps[name].position
    message = f"step {name!r} comes later (position {position})"
    place.add("forward_reference", message, reference, hint=f"move it before this one; {hint}")


def _check_members(reference: Reference, name: str, seat: Seat, place: _Place) -> None:
    step = seat.known.steps[name]
    parts = reference.parts[1:]
    if not _check_member(reference, parts, (*STEP_MEMBERS, *SINGLE_MEMBERS), place):
        return
    same_block = step.block is not None and step.block == seat.block
    if parts[0] in SINGLE_MEMBERS and (step.fanned_out_in_batch if same_block else step.fanned_out):
        place.add(
            "fanned_out",
            f"step {name!r} has several rows: it has no single {parts[0]!r}",
            reference,
            hint=f"use steps.{name}.results, e.g. "
            f"steps.{name}.results | map(attribute='{parts[0]}') | list",
        )
        return
    if parts[0] == "results" and len(parts) > 2 and isinstance(parts[1], int):  # noqa: PLR2004  # results, index, member
        parts = parts[2:]
        if not _check_member(reference, parts, RESULT_MEMBERS, place):
            return
    if parts[0] == "output" and step.operation is not None:
        _check_field(reference, parts[1:], step.operation, place)


def _check_member(
    reference: Reference, parts: Sequence[str | int | None], members: Sequence[str], place: _Place
) -> bool:
    """Whether the first part is a member; notes a fault otherwise. No part at all is one, too."""
    if not parts:
        hint = f"name one of its members: {reference}.{members[0]}"
        place.add("expression", f"{str(reference)!r} is no value", reference, hint=hint)
        return False
    if isinstance(parts[0], str) and parts[0] in members:
        return True
    message = f"no member {str(parts[0])!r}{did_you_mean(suggest(str(parts[0]), members))}"
    place.add("unknown_member", message, reference, allowed=members)
    return False


def _check_field(
    reference: Reference,
    parts: Sequence[str | int | None],
    operation: Operation,
    place: _Place,
) -> None:
    """The member after `output`, where the operation declares the fields of its output."""
    output = operation.output
    if not output.fields or not parts or output.artifact or output.stderr:
        return
    if (
        isinstance(parts[0], str)
        and output.parser in _LIST_PARSERS
        and parts[0] not in METHODS[list]
    ):
        hint = f"take one of it: {_index_form(reference)}; or loop over it"
        place.add("unknown_field", "the output is a list of records", reference, hint=hint)
        return
    name = next((part for part in parts[:2] if isinstance(part, str)), None)
    if name is None or name in output.fields or name in _DATA_METHODS:
        return
    if len(parts) > 1 and parts[0] in output.fields:
        return
    message = f"the output has no field {name!r}{did_you_mean(suggest(name, output.fields))}"
    place.add("unknown_field", message, reference, allowed=sorted(output.fields))


def _index_form(reference: Reference) -> str:
    return str(reference).replace(".output.", ".output[0].", 1)


_CHECKS: Mapping[str, Callable[[Reference, Seat, _Place], None]] = {
    "steps": _check_step,
    "execution": _check_execution,
    "inputs": _check_input,
    "item": _check_item,
}
