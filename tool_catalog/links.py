"""How one operation of a tool leans on another: `before`, `verify` and `undo` (pure).

The other one gets the parameters of the same name, and then those of `with`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tool_catalog.bad_key import BadKey
from tool_catalog.model import Effect, Operation, Repeat
from tool_catalog.names import near_or_all
from tool_catalog.params import check_parameters
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_value

#: `{name}` is a parameter of the operation, `{before.field}` what was read before it.
_HOLE = re.compile(r"\{(before(?:\.[A-Za-z_][A-Za-z0-9_]*)+|[a-z][a-z0-9_]*)\}")
#: Parsers that give one object, so that `before` has fields.
_OBJECTS = frozenset({"json", "key_value", "xml", "nmap"})


class LinkError(Exception):
    """What was read before lacks a field that `with` names."""


def link_parameters(
    linked: Operation, given: Mapping[str, Any], with_: Mapping[str, Any], before: object = None
) -> dict[str, Any]:
    """The parameters for `linked`, not checked yet; raises LinkError.

    A text of `with` that is exactly one `{...}` keeps its value's type; one whose value is absent
    is not given.
    """
    values = {name: given[name] for name in linked.parameters if given.get(name) is not None}
    for name, template in with_.items():
        values[name] = _fill(template, given, before)
    return {name: value for name, value in values.items() if value is not None}


def _fill(template: Any, given: Mapping[str, Any], before: object) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(template, Mapping):
        return {key: _fill(member, given, before) for key, member in template.items()}
    if isinstance(template, list | tuple):
        return [_fill(member, given, before) for member in template]
    if not isinstance(template, str):
        return template
    whole = _HOLE.fullmatch(template)
    if whole:
        return _look_up(whole[1], given, before)
    values = {name: _look_up(name, given, before) for name in _HOLE.findall(template)}
    if None in values.values():
        return None
    return _HOLE.sub(lambda hole: str(values[hole[1]]), template)


def _look_up(name: str, given: Mapping[str, Any], before: object) -> Any:  # noqa: ANN401  # any JSON value
    root, *fields = name.split(".")
    if not fields:
        return given.get(root)
    value = before
    for field in fields:
        if not isinstance(value, Mapping) or field not in value:
            raise LinkError(f"what was read before has no {'.'.join(fields)}")
        value = value[field]
    return value


def check_links(operation: Operation, operations: Mapping[str, Operation], place: str) -> None:
    """Raises BadKey for a link that names nothing, does not fit, or cannot be kept."""
    links = list(_links(operation))
    if operation.effect is Effect.READ and (links or operation.changed_if):
        key = links[0][0].partition(".")[0] if links else "changed_if"
        raise BadKey(f"{place}.{key}", "a read changes nothing: leave it out")
    if operation.repeat is Repeat.TRANSACTIONAL and (operation.before or operation.verify):
        key = "before" if operation.before else "verify"
        raise BadKey(f"{place}.{key}", "a transactional operation has no runner to read with")
    for key, name, with_ in links:
        linked = operations.get(name)
        if linked is None:
            words = f"no operation {name!r}{near_or_all(name, operations)}"
            raise BadKey(f"{place}.{key}", words)
        _check_kind(operation, linked, key, place)
        _check_with(operation, linked, with_, (place, key.partition(".")[0], operations))


def _links(operation: Operation) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Each link as its key, the name of the operation, and `with`."""
    if operation.before is not None:
        yield "before", operation.before, {}
    if operation.verify is not None:
        yield "verify.operation", operation.verify.operation, operation.verify.with_
    if operation.undo is not None:
        yield "undo.operation", operation.undo.operation, operation.undo.with_


def _check_kind(operation: Operation, linked: Operation, key: str, place: str) -> None:
    if key == "undo.operation":
        if linked.effect is Effect.READ:
            raise BadKey(f"{place}.{key}", f"{linked.name!r} is a read: it reverses nothing")
        return
    if linked.effect is not Effect.READ:
        raise BadKey(f"{place}.{key}", f"{linked.name!r} is not a read operation")
    if linked.output.artifact is not None:
        raise BadKey(f"{place}.{key}", f"{linked.name!r} gives an artifact, not data to compare")
    if linked.sensitive and not operation.sensitive:
        words = f"{linked.name!r} is sensitive, and its output stays with this one: mark it, too"
        raise BadKey(f"{place}.{key}", words)


def _check_with(
    operation: Operation,
    linked: Operation,
    with_: Mapping[str, Any],
    where: tuple[str, str, Mapping[str, Operation]],
) -> None:
    place, key, operations = where
    for name, template in with_.items():
        at = f"{place}.{key}.with.{name}"
        if name not in linked.parameters:
            near = near_or_all(name, linked.parameters)
            raise BadKey(at, f"{linked.name} has no parameter {name!r}{near}")
        holes = list(_holes(template))
        for hole in holes:
            _check_hole(operation, operations, hole, at)
        if not holes:
            _check_literal(linked, name, template, at)
    _check_shared(operation, linked, with_, f"{place}.{key}")


def _holes(template: Any) -> Iterator[str]:  # noqa: ANN401  # any JSON value
    if isinstance(template, str):
        yield from _HOLE.findall(template)
    elif isinstance(template, Mapping):
        for member in template.values():
            yield from _holes(member)
    elif isinstance(template, list | tuple):
        for member in template:
            yield from _holes(member)


def _check_hole(
    operation: Operation, operations: Mapping[str, Operation], hole: str, at: str
) -> None:
    root, _, field = hole.partition(".")
    if not field:
        if root not in operation.parameters:
            raise BadKey(at, f"no parameter {root!r}{near_or_all(root, operation.parameters)}")
        return
    if operation.before is None:
        raise BadKey(at, f"{{{hole}}}: nothing is read before; name a read in `before`")
    output = operations[operation.before].output
    field = field.partition(".")[0]
    if output.parser not in _OBJECTS:
        raise BadKey(at, f"{{{hole}}}: {operation.before} gives no single object")
    if output.fields and field not in output.fields:
        near = near_or_all(field, output.fields)
        raise BadKey(at, f"{operation.before} gives no field {field!r}{near}")


def _check_literal(linked: Operation, name: str, value: Any, at: str) -> None:  # noqa: ANN401  # any JSON value
    try:
        check_value(linked.parameters[name], value)
    except BadValue as bad:
        raise BadKey(at, f"{bad.place} {bad.message}".strip()) from None


def _check_shared(
    operation: Operation, linked: Operation, with_: Mapping[str, Any], at: str
) -> None:
    """What is handed on by its name is of the same type, and what is required is there."""
    for name, parameter in linked.parameters.items():
        own = operation.parameters.get(name)
        if name in with_:
            continue
        if own is not None and (own.type, own.of) != (parameter.type, parameter.of):
            words = f"{linked.name} takes {name!r} as {parameter.type}, but here it is {own.type}"
            raise BadKey(at, words)
        given = own is not None and (own.required or own.default is not None)
        if parameter.required and not given:
            raise BadKey(at, f"{linked.name} needs {name!r}, which is not always given here")
    for example in operation.examples:
        given_values, _ = check_parameters(operation, example.parameters)
        if not with_:
            _, faults = check_parameters(linked, link_parameters(linked, given_values, with_))
            for fault in faults:
                raise BadKey(at, f"{linked.name} refuses what an example gives: {fault.message}")
