"""What an operation must keep beyond its shape: names that exist, patterns that compile."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tool_catalog.model import (
    ArgvItem,
    Effect,
    ErrorRule,
    Operation,
    Output,
    Parameter,
    ParameterType,
    Repeat,
)
from tool_catalog.names import did_you_mean, suggest
from tool_catalog.params import check_parameters
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_value

#: The keys that say what runs; an operation has exactly one.
ACTIONS = ("argv", "powershell", "http", "python")
PARSERS = (
    *("json", "ndjson", "csv", "xml", "columns", "key_value", "regex", "text"),
    *("nmap", "dig"),
)
FIELD_TYPES = (
    *("text", "integer", "number", "boolean", "on_off", "percent", "time", "time_us"),
    *("list", "object"),
)
#: The forms of an argv item, by their keys (see `model.ArgvItem`).
_FORMS = (
    frozenset({"flag", "if"}),
    frozenset({"option", "value"}),
    frozenset({"option", "each"}),
    frozenset({"value"}),
    frozenset({"operands"}),
    frozenset({"program"}),
)
_NAMING_KEYS = ("if", "value", "each", "operands", "program")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_FUNCTION = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*:[a-z_][a-z0-9_]*")
#: `{name}`, but not `%{name}`, `${name}` or `{{name}}`, which are other programs' own.
_PLACEHOLDER = re.compile(r"(?<![%${])\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)\}(?!\})")
_LOGIN = frozenset({"credential.username", "credential.password"})
_WITH_PATTERN = frozenset(
    {ParameterType.STRING, ParameterType.TEXT, ParameterType.WORD, ParameterType.PATH}
)


class BadKey(Exception):
    """A key of a tool file that cannot be; `key` is its JSON path in the file."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


def check_operation(operation: Operation, place: str) -> None:
    """Raises BadKey for the first thing in an operation that cannot work."""
    for name, parameter in operation.parameters.items():
        _check_parameter(operation, name, parameter, f"{place}.parameters.{name}")
    _check_action(operation, place)
    _check_repeat(operation, place)
    _check_texts(operation, place)
    _check_named(operation, place)
    for number, rule in enumerate(operation.errors):
        check_error_rule(rule, operation.parameters, f"{place}.errors[{number}]")
    _check_output(operation.output, f"{place}.output")
    _check_examples(operation, place)


def _check_parameter(operation: Operation, name: str, parameter: Parameter, place: str) -> None:
    if not _IDENTIFIER.fullmatch(name):
        raise BadKey(place, "a parameter's name is lower-case letters, digits and _")
    others = {
        n for other, p in operation.parameters.items() if other != name for n in (other, *p.aliases)
    }
    for alias in {name, *parameter.aliases} & others:
        raise BadKey(f"{place}.aliases", f"{alias!r} names another parameter too")
    check_definition(parameter, place)


def check_definition(parameter: Parameter, place: str) -> None:
    """Raises BadKey for the first thing in a parameter's definition that cannot work."""
    _check_kind(parameter, place)
    _compile(parameter.pattern, f"{place}.pattern")
    if parameter.pattern and _base_type(parameter) not in _WITH_PATTERN:
        raise BadKey(f"{place}.pattern", f"a {parameter.type} has no pattern")
    if None not in (parameter.min, parameter.max) and parameter.min > parameter.max:  # type: ignore[operator]  # neither is None
        raise BadKey(f"{place}.min", "is larger than max")
    if parameter.required and parameter.default is not None:
        raise BadKey(f"{place}.default", "a required parameter has no default")
    for key in ("default", "example"):
        _check_sample(parameter, key, f"{place}.{key}")


def _base_type(parameter: Parameter) -> ParameterType:
    if parameter.type is ParameterType.LIST:
        return ParameterType(parameter.of or "string")
    return parameter.type


def _check_kind(parameter: Parameter, place: str) -> None:
    if parameter.type is ParameterType.LIST:
        allowed = set(ParameterType) - {ParameterType.LIST}
        if (parameter.of or "string") not in allowed:
            near = did_you_mean(suggest(str(parameter.of), allowed))
            raise BadKey(f"{place}.of", f"a list cannot be of {parameter.of!r}{near}")
    elif parameter.of is not None and parameter.type is not ParameterType.ARTIFACT:
        raise BadKey(f"{place}.of", f"a {parameter.type} has no 'of'")
    chooses = _base_type(parameter) is ParameterType.CHOICE
    confirms = _base_type(parameter) is ParameterType.BOOLEAN  # may allow only "true"
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


def _check_action(operation: Operation, place: str) -> None:
    given = [key for key in ACTIONS if getattr(operation, key) is not None]
    if len(given) != 1:
        words = f"has {' and '.join(given)}" if given else "has none"
        raise BadKey(place, f"needs exactly one of {', '.join(ACTIONS)}; it {words}")
    if operation.python is not None and not _FUNCTION.fullmatch(operation.python):
        raise BadKey(f"{place}.python", "must look like module.path:function")
    for key, items in (("argv", operation.argv), ("precheck", operation.precheck)):
        for number, item in enumerate(items or ()):
            _check_item(operation, item, f"{place}.{key}[{number}]")
    if operation.argv == ():
        raise BadKey(f"{place}.argv", "is empty: its first item is the program")


def _check_item(operation: Operation, item: ArgvItem, place: str) -> None:
    if isinstance(item, str):
        names = _PLACEHOLDER.findall(item)
    elif frozenset(item) in _FORMS:
        names = [item[key] for key in _NAMING_KEYS if key in item]
    else:
        keys = ", ".join(sorted(item))
        raise BadKey(place, f"no argv item has the keys {keys}; see _template.yaml for its forms")
    for name in names:
        _require(operation, name, place)
        if operation.parameters[name].type is ParameterType.SECRET:
            raise BadKey(
                place, f"{name!r} is a secret: give it by stdin or env, argv is seen by all"
            )


def _require(operation: Operation, name: str, place: str) -> None:
    if name not in operation.parameters:
        near = did_you_mean(suggest(name, operation.parameters))
        raise BadKey(place, f"no parameter {name!r}{near}")


def _check_repeat(operation: Operation, place: str) -> None:
    reads = operation.effect is Effect.READ
    within_ledger = operation.repeat is Repeat.TRANSACTIONAL  # serves reads of the ledger too
    if reads != (operation.repeat is Repeat.READ) and not within_ledger:
        raise BadKey(
            f"{place}.repeat", f"{operation.repeat} does not fit effect {operation.effect}"
        )
    if operation.repeat is Repeat.PROBE and operation.verify is None:
        raise BadKey(f"{place}.repeat", "probe needs a verify to ask")
    if operation.repeat is Repeat.TRANSACTIONAL and operation.python is None:
        raise BadKey(f"{place}.repeat", "only a python operation is transactional")


def _check_texts(operation: Operation, place: str) -> None:
    texts: list[tuple[str, Any]] = [("stdin", operation.stdin)]
    texts += [(f"env.{name}", value) for name, value in operation.env.items()]
    if operation.http is not None:
        request = operation.http.model_dump(by_alias=True, exclude={"method", "ok"})
        texts += [(f"http.{key}", value) for key, value in request.items()]
    for key, value in texts:
        for name in _placeholders(value):
            if name not in _LOGIN:
                _require(operation, name, f"{place}.{key}")


def _placeholders(value: Any) -> Iterator[str]:  # noqa: ANN401  # any JSON value
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _placeholders(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _placeholders(member)


def _check_named(operation: Operation, place: str) -> None:
    """Every key that names a parameter names one that is there."""
    for key, name in _named_by(operation):
        _require(operation, name, f"{place}.{key}")


def _named_by(operation: Operation) -> Iterator[tuple[str, str]]:
    for key, name in (
        ("run_for", operation.run_for),
        ("needs.interface", operation.needs.interface),
        ("output.max_bytes", operation.output.max_bytes),
    ):
        if name is not None:
            yield key, name
    for number, condition in enumerate(operation.destroy_if):
        yield from ((f"destroy_if[{number}]", name) for name in condition)
    for number, rule in enumerate(operation.rules):
        names: Iterable[str] = (*rule.exactly_one, *rule.at_least_one, *rule.at_most_one)
        yield from ((f"rules[{number}]", name) for name in names)
        for name, needed in rule.requires.items():
            yield from ((f"rules[{number}].requires", each) for each in (name, *needed))


def check_error_rule(rule: ErrorRule, parameters: Iterable[str], place: str) -> None:
    """Raises BadKey when a rule's words name neither a parameter nor a group of its pattern."""
    _compile(rule.match, f"{place}.match")
    known = {*parameters, *re.compile(rule.match).groupindex}
    for name in names_in_words(rule):
        if name not in known:
            near = did_you_mean(suggest(name, known))
            raise BadKey(f"{place}.say", f"no parameter or group {name!r}{near}")


def names_in_words(rule: ErrorRule) -> list[str]:
    """The `{names}` that a rule's words hold."""
    return _PLACEHOLDER.findall(rule.say)


def _check_output(output: Output, place: str) -> None:
    if output.parser not in PARSERS and not output.parser.startswith("jc."):
        near = did_you_mean(suggest(output.parser, PARSERS))
        raise BadKey(f"{place}.parser", f"no parser {output.parser!r}{near}")
    if (output.parser == "regex") != (output.pattern is not None):
        raise BadKey(f"{place}.pattern", "the regex parser has a pattern, and no other has")
    _compile(output.pattern, f"{place}.pattern")
    _compile(output.stderr, f"{place}.stderr")
    if output.sources and output.parser in {"columns", "regex"}:
        raise BadKey(f"{place}.fields", f"the {output.parser} parser names its fields itself")
    for name, kind in output.fields.items():
        if kind not in FIELD_TYPES:
            near = did_you_mean(suggest(kind, FIELD_TYPES))
            raise BadKey(f"{place}.fields.{name}", f"no field type {kind!r}{near}")


def _compile(pattern: str | None, place: str) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise BadKey(place, f"is no regular expression: {error}") from None


def _check_examples(operation: Operation, place: str) -> None:
    for number, example in enumerate(operation.examples):
        _values, faults = check_parameters(operation, example.parameters)
        for fault in faults:
            key = f"{place}.examples[{number}].parameters"
            hint = f"; {fault.hint}" if fault.hint else ""
            raise BadKey(f"{key}.{fault.path}", f"{fault.message}{hint}")
