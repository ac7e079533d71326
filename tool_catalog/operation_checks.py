"""What an operation must keep beyond its shape: names that exist, patterns that compile."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tool_catalog.bad_key import BadKey
from tool_catalog.model import ArgvItem, Effect, ErrorRule, Operation, ParameterType, Repeat
from tool_catalog.names import near_or_all
from tool_catalog.output_checks import check_output
from tool_catalog.parameter_checks import base_type, check_parameter
from tool_catalog.params import check_parameters
from tool_catalog.pattern_checks import check_pattern
from tool_catalog.rate import interval_of
from tool_catalog.rule_checks import check_rules

#: The keys that say what runs; an operation has exactly one.
ACTIONS = ("argv", "powershell", "http", "python")
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
_FUNCTION = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*:[a-z_][a-z0-9_]*")
#: `{name}`, but not `%{name}`, `${name}` or `{{name}}`, which are other programs' own.
_PLACEHOLDER = re.compile(r"(?<![%${])\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)\}(?!\})")
_LOGIN = frozenset({"credential.username", "credential.password"})


_NOT_IN_ARGV = ": give it by stdin or env, argv is seen by all"


def check_operation(operation: Operation, place: str) -> None:
    """Raises BadKey for the first thing in an operation that cannot work."""
    for name, parameter in operation.parameters.items():
        check_parameter(operation, name, parameter, f"{place}.parameters.{name}")
    _check_action(operation, place)
    _check_repeat(operation, place)
    _check_texts(operation, place)
    _check_named(operation, place)
    _check_destroy_if(operation, place)
    _check_rate(operation, place)
    check_rules(operation, place)
    for number, rule in enumerate(operation.errors):
        check_error_rule(rule, operation.parameters, f"{place}.errors[{number}]")
    check_output(operation.output, f"{place}.output")
    _check_examples(operation, place)


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
    if operation.needs.connection is not None and operation.python is None:
        words = "is for python operations; the others say by their key what reaches a target"
        raise BadKey(f"{place}.needs.connection", words)
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
        if name in _LOGIN:
            raise BadKey(place, f"{name!r} is the login{_NOT_IN_ARGV}")
        _require(operation, name, place)
        if base_type(operation.parameters[name]) is ParameterType.SECRET:
            raise BadKey(place, f"{name!r} is a secret{_NOT_IN_ARGV}")


def _require(operation: Operation, name: str, place: str) -> None:
    if name not in operation.parameters:
        raise BadKey(place, f"no parameter {name!r}{near_or_all(name, operation.parameters)}")


def _check_repeat(operation: Operation, place: str) -> None:
    reads = operation.effect is Effect.READ
    within_ledger = operation.repeat is Repeat.TRANSACTIONAL  # serves reads of the ledger too
    if reads != (operation.repeat is Repeat.READ) and not within_ledger:
        fitting = [each for each in Repeat if (each is Repeat.READ) == reads]
        words = f"{operation.repeat} does not fit effect {operation.effect}"
        raise BadKey(f"{place}.repeat", f"{words}; one of {', '.join(fitting)} does")
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


def _check_destroy_if(operation: Operation, place: str) -> None:
    for number, condition in enumerate(operation.destroy_if):
        for name, wanted in condition.items():
            if isinstance(wanted, Mapping):
                at = f"{place}.destroy_if[{number}].{name}"
                if wanted.keys() != {"pattern"} or not isinstance(wanted["pattern"], str):
                    raise BadKey(at, "must be a value, a list of values, or {pattern: '...'}")
                check_pattern(wanted["pattern"], f"{at}.pattern")


def _check_rate(operation: Operation, place: str) -> None:
    try:
        interval_of(operation.rate_limit or "1/s")
    except ValueError as error:
        raise BadKey(f"{place}.rate_limit", str(error)) from None


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
    check_pattern(rule.match, f"{place}.match")
    known = {*parameters, *re.compile(rule.match).groupindex}
    for name in names_in_words(rule):
        if name not in known:
            words = f"no parameter or group {name!r}{near_or_all(name, known)}"
            raise BadKey(f"{place}.say", words)


def names_in_words(rule: ErrorRule) -> list[str]:
    """The `{names}` that a rule's words hold."""
    return _PLACEHOLDER.findall(rule.say)


def _check_examples(operation: Operation, place: str) -> None:
    for number, example in enumerate(operation.examples):
        _values, faults = check_parameters(operation, example.parameters)
        for fault in faults:
            key = f"{place}.examples[{number}].parameters"
            hint = f"; {fault.hint}" if fault.hint else ""
            raise BadKey(f"{key}.{fault.path}", f"{fault.message}{hint}")
