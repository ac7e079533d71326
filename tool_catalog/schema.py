"""JSON Schema (2020-12) of an operation's parameters, for editors, the API and the CLI."""

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from tool_catalog.model import Operation, Parameter, ParameterType, Rule, Tool
from tool_catalog.scalars import MAX_STRING, MAX_TEXT
from tool_catalog.values import MAX_ITEMS, describe, item_of

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NUMERIC: Mapping[ParameterType, str] = {
    ParameterType.INTEGER: "integer",
    ParameterType.NUMBER: "number",
}
#: Types with one fixed schema. Formats are those of JSON Schema where there is one.
_FIXED: Mapping[ParameterType, Mapping[str, Any]] = {
    ParameterType.BOOLEAN: {"type": "boolean"},
    ParameterType.OBJECT: {"type": "object"},
    ParameterType.PATH: {"type": "string", "pattern": "^/"},
    ParameterType.HOSTNAME: {"type": "string", "format": "hostname"},
    ParameterType.IP: {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    ParameterType.PORT: {"type": "integer", "minimum": 1, "maximum": 65535},
    ParameterType.PORT_RANGE: {"type": ["string", "integer"], "pattern": "^[0-9, -]+$"},
    ParameterType.DURATION: {
        "type": ["string", "number"],
        "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$",
    },
    ParameterType.URL: {"type": "string", "format": "uri", "pattern": "^https?://"},
    ParameterType.EMAIL: {"type": "string", "format": "email"},
    ParameterType.BPF: {"type": "string", "minLength": 1, "maxLength": 1024},
    ParameterType.ASSET: {"type": ["string", "integer", "object"]},
    ParameterType.SECRET: {
        "type": "object",
        "properties": {"$secret": {"type": "string"}},
        "required": ["$secret"],
        "additionalProperties": False,
    },
    ParameterType.ARTIFACT: {
        "type": "object",
        "properties": {"$artifact": {"type": "string"}},
        "required": ["$artifact"],
        "additionalProperties": False,
    },
}

#: Python's flags within a pattern; the patterns of JSON Schema (ECMA-262) have none.
_FLAGS = re.compile(r"\(\?[aiLmsux]+\)")


def show_head(tool: Tool) -> dict[str, Any]:
    """A tool in a list, as JSON: what it is for, and what its operations do to the world."""
    return {
        "name": tool.name,
        "summary": tool.summary,
        "domain": tool.domain.value,
        "folder": tool.folder,
        "default": tool.default,
        "operations": {
            name: {"summary": operation.summary, "effect": operation.effect.value}
            for name, operation in tool.operations.items()
        },
    }


def operation_schema(operation: Operation) -> dict[str, Any]:
    """The schema that an operation's parameters satisfy; aliases stand beside their names."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    conditions: list[dict[str, Any]] = []
    for name, parameter in operation.parameters.items():
        properties[name] = _property(parameter)
        for alias in parameter.aliases:
            properties[alias] = {**_value_schema(parameter), "description": f"The same as {name}"}
        if parameter.required and parameter.aliases:
            conditions.append(_any_of((name, *parameter.aliases)))
        elif parameter.required:
            required.append(name)
    for rule in operation.rules:
        conditions += _rule_conditions(rule, operation)
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "type": "object",
        "description": operation.summary,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return {**schema, "allOf": conditions} if conditions else schema


def _property(parameter: Parameter) -> dict[str, Any]:
    schema = _value_schema(parameter)
    schema["description"] = parameter.summary or describe(parameter)
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.example is not None:
        schema["examples"] = [parameter.example]
    return schema


def _value_schema(parameter: Parameter) -> dict[str, Any]:
    kind = parameter.type
    if kind in _FIXED:
        return dict(_FIXED[kind])
    if kind in _NUMERIC:
        return {"type": _NUMERIC[kind], **_bounds(parameter, "minimum", "maximum")}
    if kind is ParameterType.CHOICE:
        return {"type": "string", "enum": list(parameter.choices)}
    if kind is ParameterType.LIST:
        item = _value_schema(item_of(parameter))
        items = {"maxItems": MAX_ITEMS, **_bounds(parameter, "minItems", "maxItems")}
        return {"anyOf": [{"type": "array", "items": item, **items}, item]}
    return _text_schema(parameter)


def _text_schema(parameter: Parameter) -> dict[str, Any]:
    longest = MAX_TEXT if parameter.type is ParameterType.TEXT else MAX_STRING
    schema: dict[str, Any] = {"type": "string", "maxLength": longest}
    if parameter.type in {ParameterType.STRING, ParameterType.TEXT, ParameterType.WORD}:
        schema |= _bounds(parameter, "minLength", "maxLength")
    if parameter.pattern and not _FLAGS.match(parameter.pattern):
        schema["pattern"] = f"^(?:{parameter.pattern})$"
    return schema


def _bounds(parameter: Parameter, least: str, most: str) -> dict[str, float]:
    bounds = {least: parameter.min, most: parameter.max}
    return {
        key: int(bound) if bound.is_integer() else bound
        for key, bound in bounds.items()
        if bound is not None
    }


def _rule_conditions(rule: Rule, operation: Operation) -> list[dict[str, Any]]:
    def given(name: str) -> dict[str, Any]:
        return _any_of((name, *operation.parameters[name].aliases))

    conditions: list[dict[str, Any]] = []
    if rule.exactly_one:
        conditions.append({"oneOf": [given(name) for name in rule.exactly_one]})
    if rule.at_least_one:
        conditions.append({"anyOf": [given(name) for name in rule.at_least_one]})
    for one, other in combinations(rule.at_most_one, 2):
        conditions.append({"not": {"allOf": [given(one), given(other)]}})
    for name, needed in rule.requires.items():
        conditions.append({"if": given(name), "then": {"allOf": [given(n) for n in needed]}})
    return conditions


def _any_of(names: tuple[str, ...]) -> dict[str, Any]:
    if len(names) == 1:
        return {"required": [names[0]]}
    return {"anyOf": [{"required": [name]} for name in names]}
