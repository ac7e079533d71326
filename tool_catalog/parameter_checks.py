"""What a parameter's definition must keep: bounds, samples and patterns that can be met."""

import re

from tool_catalog.bad_key import BadKey
from tool_catalog.model import Operation, Parameter, ParameterType
from tool_catalog.names import near_or_all
from tool_catalog.pattern_checks import check_pattern
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_value

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_WITH_PATTERN = frozenset(
    {ParameterType.STRING, ParameterType.TEXT, ParameterType.WORD, ParameterType.PATH}
)


def check_parameter(operation: Operation, name: str, parameter: Parameter, place: str) -> None:
    """Raises BadKey for the first thing in a tool file's parameter that cannot work."""
    if not _IDENTIFIER.fullmatch(name):
        raise BadKey(place, "a parameter's name is lower-case letters, digits and _")
    others = {
        n for other, p in operation.parameters.items() if other != name for n in (other, *p.aliases)
    }
    for alias in {name, *parameter.aliases} & others:
        raise BadKey(f"{place}.aliases", f"{alias!r} names another parameter too")
    check_pattern(parameter.pattern, f"{place}.pattern")
    check_definition(parameter, place)


def check_definition(parameter: Parameter, place: str) -> None:
    """Raises BadKey for the first thing in a definition that cannot work, but for its pattern."""
    _check_kind(parameter, place)
    if parameter.pattern and base_type(parameter) not in _WITH_PATTERN:
        raise BadKey(f"{place}.pattern", f"a {parameter.type} has no pattern")
    if None not in (parameter.min, parameter.max) and parameter.min > parameter.max:  # type: ignore[operator]  # neither is None
        raise BadKey(f"{place}.min", "is larger than max")
    if parameter.required and parameter.default is not None:
        raise BadKey(f"{place}.default", "a required parameter has no default")
    for key in ("default", "example"):
        _check_sample(parameter, key, f"{place}.{key}")


def base_type(parameter: Parameter) -> ParameterType:
    """The type of a parameter, or of the items of a list."""
    if parameter.type is ParameterType.LIST:
        return ParameterType(parameter.of or "string")
    return parameter.type


def _check_kind(parameter: Parameter, place: str) -> None:
    if parameter.type is ParameterType.LIST:
        allowed = set(ParameterType) - {ParameterType.LIST}
        if (parameter.of or "string") not in allowed:
            near = near_or_all(str(parameter.of), allowed)
            raise BadKey(f"{place}.of", f"a list cannot be of {parameter.of!r}{near}")
    elif parameter.of is not None and parameter.type is not ParameterType.ARTIFACT:
        raise BadKey(f"{place}.of", f"a {parameter.type} has no 'of'")
    chooses = base_type(parameter) is ParameterType.CHOICE
    confirms = base_type(parameter) is ParameterType.BOOLEAN  # may allow only "true"
    if chooses != bool(parameter.choices) and not confirms:
        raise BadKey(f"{place}.choices", "a choice has choices; else only a boolean may have them")


def _check_sample(parameter: Parameter, key: str, place: str) -> None:
    sample = getattr(parameter, key)
    if sample is None:
        return
    try:
        check_value(parameter, sample)
    except BadValue as bad:
        raise BadKey(place, f"{bad.place} {bad.message}".strip()) from None
