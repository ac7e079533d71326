"""A tool file's mapping as a Tool: shared parts merged in, shapes checked, then what they say."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from queues import Domain
from tool_catalog import model
from tool_catalog.bad_key import BadKey
from tool_catalog.links import check_links
from tool_catalog.model import Effect, ErrorRule, Operation, Parameter, Repeat, Tool
from tool_catalog.names import near_or_all, shorten
from tool_catalog.operation_checks import check_error_rule, check_operation, names_in_words
from tool_catalog.request_checks import check_request
from tool_catalog.script_checks import check_script

_TOOL_KEYS = ("summary", "execution_location", "default", "parameters", "errors", "operations")
_OPERATION_KEYS = ("takes", *(set(Operation.model_fields) - {"name"}))
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")

#: Key of an operation to the model of what stands below it.
_MODELS: Mapping[str, type[BaseModel]] = {
    "parameters": model.Parameter,
    "needs": model.Needs,
    "errors": model.ErrorRule,
    "output": model.Output,
    "rules": model.Rule,
    "http": model.HttpRequest,
    "verify": model.Verify,
    "undo": model.Undo,
    "examples": model.Example,
}


def read_tool(value: Any, *, name: str, domain: Domain, folder: str, digest: str) -> Tool:  # noqa: ANN401  # as it was read
    """The tool that a file's value describes; raises BadKey naming the key."""
    file = _mapping(value, "")
    _refuse_unknown(file, _TOOL_KEYS, "")
    if not isinstance(file.get("summary"), str):
        raise BadKey("summary", "is missing: one line that says what the tool is for")
    shared = _read_shared(file)
    operations = {
        key: _read_operation(key, _mapping(body, f"operations.{key}"), file)
        for key, body in _mapping(file.get("operations"), "operations").items()
    }
    if not operations:
        raise BadKey("operations", "is empty: a tool has one operation or more")
    _refuse_untaken(shared, file["operations"])
    for key, operation in operations.items():
        check_links(operation, operations, f"operations.{key}")
    _check_default(file.get("default"), operations)
    return Tool(
        name=name,
        summary=file["summary"],
        domain=domain,
        folder=folder,
        default=file.get("default"),
        operations=operations,
        digest=digest,
    )


def _mapping(value: Any, key: str) -> Mapping[Any, Any]:  # noqa: ANN401  # as it was read
    if not isinstance(value, Mapping):
        raise BadKey(key, "must be a mapping" if value is not None else "is missing")
    return value


def _list(value: Any, key: str) -> list[Any]:  # noqa: ANN401  # as it was read
    if not isinstance(value, list):
        raise BadKey(key, "must be a list")
    return value


def _refuse_unknown(given: Mapping[Any, Any], allowed: tuple[str, ...], place: str) -> None:
    for key in given:
        if key not in allowed:
            where = f"{place}.{key}" if place else str(key)
            raise BadKey(where, _unknown_key(str(key), allowed))


def _unknown_key(key: str, allowed: tuple[str, ...]) -> str:
    return f"unknown key {shorten(key)!r}{near_or_all(key, allowed)}"


def _read_shared(file: Mapping[str, Any]) -> Mapping[str, Any]:
    shared = _mapping(file.get("parameters", {}), "parameters")
    for name, body in shared.items():
        try:
            Parameter.model_validate(body)
        except ValidationError as error:
            raise _bad_key(error, f"parameters.{name}", Parameter) from None
    _check_shared_errors(file, shared)
    return shared


def _check_shared_errors(file: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    for number, body in enumerate(_list(file.get("errors", []), "errors")):
        place = f"errors[{number}]"
        try:
            rule = ErrorRule.model_validate(body)
        except ValidationError as error:
            raise _bad_key(error, place, ErrorRule) from None
        check_error_rule(rule, shared, place)


def _read_operation(name: Any, body: Mapping[str, Any], file: Mapping[str, Any]) -> Operation:  # noqa: ANN401  # as it was read
    place = f"operations.{name}"
    if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        raise BadKey(place, "an operation's name is lower-case letters, digits and _")
    _refuse_unknown(body, _OPERATION_KEYS, place)
    fields = {key: value for key, value in body.items() if key != "takes"}
    fields["name"] = name
    fields["parameters"] = _merge_parameters(place, body, file.get("parameters", {}))
    fields["errors"] = _merge_errors(place, body, file, fields["parameters"])
    fields["repeat"] = _read_repeat(body, place)
    if not body.get("examples"):
        raise BadKey(f"{place}.examples", "is missing: at least one call that works")
    try:
        operation = Operation.model_validate(fields)
    except ValidationError as error:
        raise _bad_key(error, place, Operation) from None
    check_operation(operation, place)
    check_script(operation, place)
    check_request(operation, place)
    return operation


def _read_repeat(body: Mapping[str, Any], place: str) -> Any:  # noqa: ANN401  # as it was read
    """What acts must say what may follow an unknown outcome; who only reads may read again."""
    if "repeat" not in body and body.get("effect") in {Effect.CHANGE, Effect.DESTROY}:
        raise BadKey(
            f"{place}.repeat",
            "is missing: what may follow an unknown outcome"
            " (never, where it is not proven that doing it twice is safe)",
        )
    return body.get("repeat", Repeat.READ)


def _merge_parameters(
    place: str, body: Mapping[str, Any], shared: Mapping[str, Any]
) -> dict[str, Any]:
    own = _mapping(body.get("parameters", {}), f"{place}.parameters")
    takes = _list(body.get("takes", []), f"{place}.takes")
    merged: dict[str, Any] = {}
    for number, name in enumerate(takes):
        if not isinstance(name, str) or name not in shared:
            words = f"no shared parameter {name!r}{near_or_all(str(name), shared)}"
            raise BadKey(f"{place}.takes[{number}]", words)
        if name in own or name in merged:
            raise BadKey(f"{place}.takes[{number}]", f"{name!r} stands here twice")
        merged[name] = shared[name]
    return {**merged, **own}


def _merge_errors(
    place: str, body: Mapping[str, Any], file: Mapping[str, Any], parameters: Mapping[str, Any]
) -> list[Any]:
    """Own rules, then the shared ones but for those whose words need what is not taken here."""
    merged = list(_list(body.get("errors", []), f"{place}.errors"))
    for shared in file.get("errors", []):
        rule = ErrorRule.model_validate(shared)
        known = {*parameters, *re.compile(rule.match).groupindex}
        if known.issuperset(names_in_words(rule)):
            merged.append(shared)
    return merged


def _refuse_untaken(shared: Mapping[str, Any], operations: Mapping[str, Any]) -> None:
    taken = {name for body in operations.values() for name in body.get("takes", [])}
    for name in shared:
        if name not in taken:
            raise BadKey(
                f"parameters.{name}",
                "no operation takes it: list it in `takes` of one, or leave it out",
            )


def _check_default(default: Any, operations: Mapping[str, Operation]) -> None:  # noqa: ANN401  # as it was read
    if default is None:
        return
    if not isinstance(default, str) or default not in operations:
        words = f"no operation {default!r}{near_or_all(str(default), operations)}"
        raise BadKey("default", words)
    if operations[default].effect is not Effect.READ:
        reads = ", ".join(key for key, one in operations.items() if one.effect is Effect.READ)
        words = f"{default!r} is not a read operation; a default must be one ({reads or 'none is'})"
        raise BadKey("default", words)


def _in_words(found: ErrorDetails) -> str:
    """What pydantic found, with what was given and what is allowed."""
    if found["type"] in {"enum", "literal_error"}:
        return f"{shorten(str(found['input']))!r} is not one of {found['ctx']['expected']}"
    allowed = ": true or false" if found["type"] == "bool_type" else ""
    return found["msg"][:1].lower() + found["msg"][1:] + allowed


def _bad_key(error: ValidationError, place: str, top: type[BaseModel]) -> BadKey:
    """The first fault that pydantic found, as key path and words."""
    first = error.errors(include_url=False)[0]
    location = first["loc"]
    key = place
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    if first["type"] != "extra_forbidden":
        return BadKey(key, _in_words(first))
    owner = _MODELS.get(str(location[0]), top) if len(location) > 1 else top
    known = tuple(field.alias or name for name, field in owner.model_fields.items())
    return BadKey(key, _unknown_key(str(location[-1]), known))
