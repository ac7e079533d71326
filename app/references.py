"""Checks at submit what expressions refer to: earlier steps, members that exist (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.errors import ExpressionError
from app.expression_tree import Reference
from app.faults import Faults
from app.outcome import RESULT_MEMBERS, SINGLE_MEMBERS, STEP_MEMBERS
from app.plan import PlanStep
from app.render import find_expressions, inspect_condition, inspect_template
from app.sandbox import METHODS
from tool_catalog.model import Operation
from tool_catalog.names import did_you_mean, suggest

EXECUTION_MEMBERS = ("id", "state", "name")
#: Parsers whose output is a list of records.
_LIST_PARSERS = frozenset({"columns", "csv", "ndjson"})
_DATA_METHODS = METHODS[dict] | METHODS[list] | METHODS[str]
_TEMPLATE_HINT = "write {$literal: ...} around a text that is no template"


@dataclass(slots=True)
class KnownStep:
    """What expressions may know of a step; `fanned_out` is None when only run time shows it."""

    position: int
    operation: Operation | None
    refers_to: frozenset[str]
    fanned_out: bool | None = None


@dataclass(slots=True)
class KnownSteps:
    """All steps of a plan by id."""

    steps: dict[str, KnownStep] = field(default_factory=dict)

    def path_between(self, start: str, end: str) -> list[str] | None:
        """The ids from `start` to `end` along references, or None."""
        came_from: dict[str, str | None] = {start: None}
        front = [start]
        while front and end not in came_from:
            key = front.pop()
            onward = sorted((self.steps[key].refers_to - came_from.keys()) & self.steps.keys())
            came_from.update(dict.fromkeys(onward, key))
            front += onward
        path = [end] if end in came_from else []
        while path and (before := came_from[path[-1]]) is not None:
            path.append(before)
        return path[::-1] or None


def collect_references(step: PlanStep, targets: object) -> frozenset[str]:
    """The ids of the steps that a step's expressions name; faulty expressions name none."""
    found = set()
    for _, references in _read_all(step, targets):
        if isinstance(references, ExpressionError):
            continue
        found |= {r.parts[0] for r in references if r.root == "steps" and r.parts}
    return frozenset(part for part in found if isinstance(part, str))


def check_expressions(
    key: str, step: PlanStep, targets: object, known: KnownSteps, faults: Faults
) -> None:
    """Note every fault of the step's expressions."""
    for path, references in _read_all(step, targets):
        if isinstance(references, ExpressionError):
            faults.add(path, "expression", str(references), hint=_TEMPLATE_HINT)
            continue
        for reference in references:
            _check_reference(reference, key, known, _Place(faults, path))


@dataclass(frozen=True, slots=True)
class _Place:
    faults: Faults
    path: str

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


def _read_all(
    step: PlanStep, targets: object
) -> Iterator[tuple[str, tuple[Reference, ...] | ExpressionError]]:
    sources = [
        *find_expressions(step.parameters, "parameters"),
        *find_expressions(targets, "targets"),
    ]
    for path, text in sources:
        try:
            yield path, inspect_template(text)
        except ExpressionError as error:
            yield path, error
    if step.when is not None:
        try:
            yield "when", inspect_condition(step.when)
        except ExpressionError as error:
            yield "when", error


def _check_reference(reference: Reference, key: str, known: KnownSteps, place: _Place) -> None:
    if reference.root == "execution":
        _check_member(reference, reference.parts, EXECUTION_MEMBERS, place)
        return
    name = reference.parts[0] if reference.parts else None
    if not isinstance(name, str):
        place.add("expression", "name the step: steps.<id>", reference, hint="steps.disk.summary")
        return
    step = known.steps.get(name)
    if step is None:
        earlier = [k for k, s in known.steps.items() if s.position < known.steps[key].position]
        message = f"no step {name!r}{did_you_mean(suggest(name, earlier))}"
        hint = None if earlier else "no step comes before this one"
        place.add("unknown_step", message, reference, allowed=earlier or None, hint=hint)
    elif step.position >= known.steps[key].position:
        _refuse_order(reference, (key, name), known, place)
    else:
        _check_members(reference, name, step, place)


def _refuse_order(
    reference: Reference, keys: tuple[str, str], known: KnownSteps, place: _Place
) -> None:
    key, name = keys
    hint = "a step may use what steps before it left behind"
    if key == name:
        place.add("self_reference", f"step {key!r} refers to itself", reference, hint=hint)
        return
    back = known.path_between(name, key)
    if back is not None:
        circle = " -> ".join([key, *back])
        message = f"steps refer to each other in a circle: {circle}"
        place.add("cyclic_reference", message, reference, hint="break the circle; " + hint)
        return
    position = known.steps[name].position
    message = f"step {name!r} comes later (position {position})"
    place.add("forward_reference", message, reference, hint=f"move it before this one; {hint}")


def _check_members(reference: Reference, name: str, step: KnownStep, place: _Place) -> None:
    parts = reference.parts[1:]
    if not _check_member(reference, parts, (*STEP_MEMBERS, *SINGLE_MEMBERS), place):
        return
    if parts[0] in SINGLE_MEMBERS and step.fanned_out:
        place.add(
            "fanned_out",
            f"step {name!r} has several targets: it has no single {parts[0]!r}",
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
