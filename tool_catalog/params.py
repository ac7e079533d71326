"""A step's parameters against its operation: every fault at once, or the values to run with."""

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tool_catalog.model import Operation, Parameter, ParameterType, Rule
from tool_catalog.names import shorten, suggest
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_program, check_value, describe

_SOUNDS_SECRET = re.compile(r"passw|secret|token|api_?key|credential|private_?key", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"//[^/@]*@")


@dataclass(frozen=True, slots=True)
class ParameterFault:
    """One thing wrong with what was given; `path` is relative ("depth", "to[1]").

    `code` is unknown_parameter, missing_parameter, wrong_type, out_of_range, not_allowed,
    bad_format or rule. `given` is cut to 80 characters and masked.
    """

    path: str
    code: str
    message: str
    given: str | None = None
    allowed: str | None = None
    hint: str | None = None


def check_parameters(
    operation: Operation, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[ParameterFault]]:
    """The values to run with (normalised, aliases resolved, defaults filled), and every fault.

    A value of null counts as not given.
    """
    named, faults = check_names(operation, given)
    misnamed = bool(faults)
    values: dict[str, Any] = {}
    for name, parameter in operation.parameters.items():
        value = named.get(name)
        if value is None:
            _fill_default(name, parameter, values, faults)
            continue
        try:
            values[name] = check_value(parameter, value)
        except BadValue as bad:
            faults.append(_fault(name, parameter, value, bad))
    if not misnamed:  # under its right name a value may well keep the rules
        faults += [fault for rule in operation.rules for fault in _check_rule(rule, named)]
    faults += _check_program_items(operation, values)
    return values, faults


def check_names(
    operation: Operation, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[ParameterFault]]:
    """The given values under their parameters' own names, and the names that stand for none.

    Values are not looked at: serves steps whose values are still expressions.
    """
    own = {alias: name for name, p in operation.parameters.items() for alias in (name, *p.aliases)}
    named: dict[str, Any] = {}
    faults: list[ParameterFault] = []
    for key, value in given.items():
        name = own.get(key)
        if name is None:
            faults.append(_unknown(str(key), own))
        elif named.get(name) is not None and value is not None:
            faults.append(ParameterFault(key, "rule", f"{name!r} is given twice, also as {key!r}"))
        elif value is not None:
            named[name] = value
    return named, faults


def show_value(name: str, parameter: Parameter | None, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A given value as a fault may show it: cut to 80 characters, secrets masked."""
    secret = parameter is not None and parameter.type is ParameterType.SECRET
    if secret or _SOUNDS_SECRET.search(name):
        return "***"
    if isinstance(value, str):
        # Cut first: what is long is not escaped whole. A line break must not break a line of ours.
        shown = value[:400]
        shown = shown if shown.isprintable() else shown.encode("unicode_escape").decode()
    else:
        shown = reprlib.repr(value) if isinstance(value, dict | list) else json.dumps(value)
    return shorten(_LOGIN_IN_URL.sub("//***@", shown))


def _unknown(key: str, own: Mapping[str, str]) -> ParameterFault:
    near = suggest(key, own)
    return ParameterFault(
        path=shorten(key),
        code="unknown_parameter",
        message=f"no parameter {shorten(key)!r}",
        given=shorten(key),
        allowed=", ".join(sorted(set(own.values()))) or "no parameters",
        hint=f"did you mean {near!r}?" if near else None,
    )


def _fill_default(
    name: str, parameter: Parameter, values: dict[str, Any], faults: list[ParameterFault]
) -> None:
    if parameter.default is not None:
        values[name] = check_value(parameter, parameter.default)
    elif parameter.required:
        hint = None if parameter.example is None else f"for example {parameter.example}"
        message = f"parameter {name!r} is missing"
        faults.append(
            ParameterFault(
                name, "missing_parameter", message, allowed=describe(parameter), hint=hint
            )
        )


def _fault(name: str, parameter: Parameter, value: Any, bad: BadValue) -> ParameterFault:  # noqa: ANN401  # any JSON value
    path = name + bad.place
    shown = value
    if bad.place and isinstance(value, list | tuple):
        shown = value[int(bad.place[1 : bad.place.index("]")])]
    return ParameterFault(
        path=path,
        code=bad.code,
        message=f"{path!r} {bad.message}",
        given=show_value(name, parameter, shown),
        allowed=describe(parameter),
        hint=bad.hint,
    )


def _check_rule(rule: Rule, named: Mapping[str, Any]) -> list[ParameterFault]:
    faults = []
    for names, least, most, words in (
        (rule.exactly_one, 1, 1, "exactly one"),
        (rule.at_least_one, 1, None, "at least one"),
        (rule.at_most_one, 0, 1, "at most one"),
    ):
        given = [name for name in names if name in named]
        if names and not (least <= len(given) <= (len(names) if most is None else most)):
            message = f"give {words} of {', '.join(names)}"
            faults.append(ParameterFault((given or names)[-1], "rule", message))
    for name, needed in rule.requires.items():
        missing = [other for other in needed if name in named and other not in named]
        if missing:
            message = f"{name!r} needs {', '.join(missing)} beside it"
            faults.append(ParameterFault(name, "rule", message))
    return faults


def _check_program_items(operation: Operation, values: Mapping[str, Any]) -> list[ParameterFault]:
    faults = []
    for item in operation.argv or ():
        name = str(item.get("program")) if isinstance(item, Mapping) else ""
        if name not in values:
            continue
        try:
            check_program(values[name])
        except BadValue as bad:
            faults.append(_fault(name, operation.parameters[name], values[name], bad))
    return faults
