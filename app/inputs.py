"""The inputs of a plan: what it asks for, and the values that a request gives (pure)."""

import json
import re
from collections.abc import Mapping
from typing import Any

import re2
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.faults import Faults
from app.members import check_strings
from app.plan import MAX_TEXT, Plan
from tool_catalog.bad_key import BadKey
from tool_catalog.model import Parameter, ParameterType
from tool_catalog.names import did_you_mean, shorten, suggest
from tool_catalog.parameter_checks import check_definition
from tool_catalog.params import show_value
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_value, describe

MAX_INPUTS = 100
#: All values of a plan together, as JSON: dynamic steps carry those that they name.
MAX_VALUES_BYTES = 64 * 1024
MAX_PATTERN = 1000

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: A text that is one input and nothing else: it may hold a secret's or an artifact's reference.
_ONLY_INPUT = re.compile(r"\{\{\s*inputs\.([a-z][a-z0-9_]*)\s*\}\}")
_REFERENCES = ("$secret", "$artifact")
#: An input is called by its own name only.
INPUT_KEYS = tuple(name for name in Parameter.model_fields if name != "aliases")


def read_inputs(value: Any, faults: Faults) -> dict[str, Parameter]:  # noqa: ANN401  # any JSON value
    """What a plan asks for, by name; notes every fault of its form."""
    if value is None:
        return {}
    allowed = "a mapping of name to {type: ..., ...}"
    if not isinstance(value, Mapping):
        faults.add("inputs", "wrong_type", "'inputs' is no mapping", given=value, allowed=allowed)
        return {}
    check_strings(value, "inputs", faults, limit=MAX_TEXT)
    if len(value) > MAX_INPUTS:
        count = f"{len(value):,} inputs"
        faults.add("inputs", "too_many", count, given=len(value), allowed=f"at most {MAX_INPUTS}")
        return {}
    read = {str(name): _read_input(str(name), body, faults) for name, body in value.items()}
    return {name: parameter for name, parameter in read.items() if parameter is not None}


def read_given(value: Any, faults: Faults) -> Mapping[str, Any]:  # noqa: ANN401  # any JSON value
    """The values that a request gives, not yet held against what a plan asks for."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        allowed = "a mapping of name to value"
        faults.add("inputs", "wrong_type", "'inputs' is no mapping", given=value, allowed=allowed)
        return {}
    check_strings(value, "inputs", faults, limit=MAX_TEXT)
    return {str(name): item for name, item in value.items() if item is not None}


def check_given(plan: Plan, faults: Faults, *, unfilled: bool = False) -> dict[str, Any]:
    """The value of each input: given, default, or null. Notes every fault at `inputs.NAME`.

    With `unfilled` a required input that was not given is left open, without a fault.
    """
    for name in plan.given:
        if name not in plan.inputs:
            _refuse_unknown(name, plan, faults)
    values: dict[str, Any] = {}
    for name, parameter in plan.inputs.items():
        value = plan.given.get(name, parameter.default)
        if value is None and parameter.required:
            if not unfilled:
                _note_missing(name, parameter, faults)
            continue
        try:
            values[name] = None if value is None else _check_value(parameter, value)
        except BadValue as bad:
            _note_bad(name, parameter, value, bad, faults)
    if len(json.dumps(values)) > MAX_VALUES_BYTES:
        allowed = f"at most {MAX_VALUES_BYTES:,} bytes"
        faults.add("inputs", "too_large", "the inputs' values are too long", allowed=allowed)
    return values


def fill_references(value: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON value
    """`value` with each text that is one input alone replaced, where that holds a reference.

    What an expression gives can never name a secret; here the plan itself says where one goes.
    """
    if isinstance(value, str):
        alone = _ONLY_INPUT.fullmatch(value.strip()) if "inputs." in value else None
        found = inputs.get(alone[1]) if alone else None
        is_reference = isinstance(found, Mapping) and any(key in found for key in _REFERENCES)
        return found if is_reference else value
    if isinstance(value, list | tuple):
        return [fill_references(item, inputs) for item in value]
    if isinstance(value, Mapping):
        return {key: fill_references(item, inputs) for key, item in value.items()}
    return value


def _read_input(name: str, body: Any, faults: Faults) -> Parameter | None:  # noqa: ANN401  # any JSON value
    at_input = faults.at(f"inputs.{shorten(name, 64)}")
    if not _NAME.fullmatch(name):
        allowed = "a lower-case letter, then letters, digits and _ (64 at most)"
        at_input.add("", "bad_format", "no name of an input", shown=shorten(name), allowed=allowed)
        return None
    if not isinstance(body, Mapping):
        message, allowed = "an input is a mapping", "{type: string, default: ...}"
        at_input.add("", "wrong_type", message, given=body, allowed=allowed)
        return None
    noted = len(faults)
    for key in body:
        if key not in INPUT_KEYS:
            near = did_you_mean(suggest(str(key), INPUT_KEYS))
            message = f"no key {shorten(str(key))!r} of an input{near}"
            at_input.add(str(key), "unknown_key", message, allowed=INPUT_KEYS)
    parameter = _build(body, at_input) if len(faults) == noted else None
    if parameter is not None:
        _check_input(parameter, at_input)
    return parameter if len(faults) == noted else None


def _build(body: Mapping[str, Any], faults: Faults) -> Parameter | None:
    try:
        return Parameter.model_validate(body)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            faults.add(".".join(str(part) for part in found["loc"]), **_tell(found))
    return None


def _tell(found: ErrorDetails) -> dict[str, Any]:
    """What is wrong with one key of an input."""
    key, given = str(found["loc"][0]), shorten(str(found["input"]))
    if found["type"] == "missing":
        return {"code": "missing", "message": f"{key!r} is missing", "hint": "type: string"}
    if key == "type":
        near = did_you_mean(suggest(given, ParameterType))
        message = f"no type {given!r}{near}"
        return {"code": "not_allowed", "message": message, "allowed": list(ParameterType)}
    words = found["msg"][:1].lower() + found["msg"][1:]
    return {"code": "wrong_type", "message": f"{key!r}: {words}", "shown": given}


def _check_input(parameter: Parameter, faults: Faults) -> None:
    """What the catalogue asks of its own parameters, and a pattern that cannot take long."""
    samples = {"default": parameter.default, "example": parameter.example}
    try:
        check_definition(parameter.model_copy(update=dict.fromkeys(samples)), "")
        if parameter.pattern is not None:
            _compile(parameter.pattern)
    except BadKey as bad:
        faults.add(bad.key.removeprefix("."), "bad_input", bad.problem)
        return
    except re2.error as error:
        hint = "patterns are those of RE2: no look-around, no back-references"
        faults.add("pattern", "bad_input", f"no pattern: {_words_of(error)}", hint=hint)
        return
    if parameter.required and parameter.default is not None:
        faults.add("default", "bad_input", "a required input has no default")
    for key, sample in samples.items():
        try:
            if sample is not None:
                _check_value(parameter, sample)
        except BadValue as bad:
            message = f"{key!r}{bad.place} {bad.message}"
            allowed = describe(parameter)
            faults.add(key, bad.code, message, given=sample, allowed=allowed, hint=bad.hint)


def _check_value(parameter: Parameter, value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """The normalised value. Raises BadValue.

    The pattern comes from a caller, and so does the value: Python's own `re` could be kept busy
    with the two for ever, RE2 takes linear time.
    """
    checked = check_value(parameter.model_copy(update={"pattern": None}), value)
    if parameter.pattern is not None:
        _match(parameter, checked)
    return checked


def _match(parameter: Parameter, value: Any) -> None:  # noqa: ANN401  # a text or a list of texts
    for item in value if isinstance(value, list) else [value]:
        if not _compile(str(parameter.pattern)).fullmatch(str(item)):
            raise BadValue("bad_format", f"does not match {parameter.pattern}")


def _words_of(error: re2.error) -> str:
    words = error.args[0]
    return words.decode() if isinstance(words, bytes) else str(words)


def _compile(pattern: str) -> Any:  # noqa: ANN401  # re2 has no types
    if len(pattern) > MAX_PATTERN:
        raise re2.error(f"{len(pattern):,} characters; at most {MAX_PATTERN:,}")
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _refuse_unknown(name: str, plan: Plan, faults: Faults) -> None:
    near = suggest(name, plan.inputs)
    asks = sorted(plan.inputs) or "no inputs"
    message = f"the plan asks for no input {shorten(name)!r}{did_you_mean(near)}"
    faults.add(f"inputs.{shorten(name)}", "unknown_input", message, allowed=asks)


def _note_missing(name: str, parameter: Parameter, faults: Faults) -> None:
    example = "VALUE" if parameter.example is None else parameter.example
    faults.add(
        f"inputs.{name}",
        "missing_input",
        f"the plan asks for the input {name!r}",
        allowed=describe(parameter),
        hint=f"--set {name}={example}, or `inputs: {{{name}: ...}}` beside the plan",
    )


def _note_bad(name: str, parameter: Parameter, value: Any, bad: BadValue, faults: Faults) -> None:  # noqa: ANN401  # any JSON value
    faults.add(
        f"inputs.{name}{bad.place}",
        bad.code,
        f"the input {name!r} {bad.message}",
        shown=show_value(name, parameter, value),
        allowed=describe(parameter),
        hint=bad.hint,
    )
