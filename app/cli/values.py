"""`key=value` arguments as parameters: typed by the operation's schema where it names a type."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tool_catalog.document import DocumentError, read_document

_NAME = re.compile(r"[A-Za-z_$][\w.$-]*")
#: The first characters of a value that is written as JSON.
_JSON_START = ("{", "[", '"')


def read_pairs(pairs: Sequence[str], schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters from `key=value`; a repeated key makes a list, `key=@file` reads a text.

    `schema` is the operation's JSON Schema; raises click.BadParameter naming the argument.
    """
    properties = (schema or {}).get("properties", {})
    given: dict[str, list[Any]] = {}
    for pair in pairs:
        name, value = _split(pair)
        types = _types_of(properties.get(name, {}))
        given.setdefault(name, []).append(_read_value(name, value, types))
    return {name: _join(values, properties.get(name, {})) for name, values in given.items()}


def read_settings(pairs: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a plan's inputs from `name=text`, `name:=json` and `name=@file`.

    `asked` is the plan's `inputs` as written: text for a list is cut at commas, what else a type
    makes of a text is the farm's. Raises click.BadParameter naming the argument.
    """
    given: dict[str, Any] = {}
    for pair in pairs:
        name, value = _split(pair.replace(":=", "=", 1) if _is_json(pair) else pair)
        definition = asked.get(name)
        kind = definition.get("type") if isinstance(definition, Mapping) else None
        read = _read_json(name, value) if _is_json(pair) else _read_setting(name, value, kind)
        if name in given and not (isinstance(read, list) and isinstance(given[name], list)):
            raise click.BadParameter(f"{name} is given twice; only a list may be")
        given[name] = [*given[name], *read] if name in given else read
    return given


def _is_json(pair: str) -> bool:
    return pair.partition("=")[0].endswith(":")


def _read_setting(name: str, value: str, kind: str | None) -> Any:  # noqa: ANN401  # any JSON value
    if value.startswith("@@"):
        return value[1:]
    if value.startswith("@"):
        return _read_file(name, Path(value[1:]))
    if kind == "object" or (kind == "list" and value.startswith("[")):
        return _read_json(name, value)
    return [item.strip() for item in value.split(",")] if kind == "list" else value


def _split(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise click.BadParameter(
            f"{pair[:80]!r} is not key=value (options such as --target begin with --)"
        )
    return name, value


def _types_of(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a property may have, also those inside anyOf and oneOf."""
    types = schema.get("type", ())
    found = {types} if isinstance(types, str) else set(types)
    for member in ("anyOf", "oneOf"):
        for part in schema.get(member, ()):
            found |= _types_of(part)
    return found


def _read_value(name: str, value: str, types: set[str]) -> Any:  # noqa: ANN401  # any JSON value
    if value.startswith("@@"):
        return value[1:]
    if value.startswith("@"):
        return _read_file(name, Path(value[1:]))
    wants_structure = not types or types & {"array", "object"}
    if value.startswith(_JSON_START) and wants_structure:
        return _read_json(name, value)
    if "string" in types and not types & {"boolean", "null"}:
        return value
    return _read_scalar(value)


def _read_file(name: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is not text"
        raise click.BadParameter(
            f"{name}: cannot read {path}: {words} (write @@ for a value that begins with @)"
        ) from error


def _read_json(name: str, value: str) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return read_document(value, source=name).value
    except DocumentError as error:
        raise click.BadParameter(f"{name}: {error.message} (column {error.column})") from error


def _read_scalar(value: str) -> Any:  # noqa: ANN401  # a JSON scalar
    """A YAML 1.2 core scalar; what only looks like more of YAML is text."""
    try:
        read = read_document(value, source="value").value
    except DocumentError:
        return value
    return value if read is None or isinstance(read, str | list | dict) else read


def _join(values: list[Any], schema: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    """One value stays itself, unless only a list can be meant."""
    if len(values) > 1:
        return values
    only = values[0]
    list_only = _types_of(schema) == {"array"}
    return [only] if list_only and not isinstance(only, list) else only
