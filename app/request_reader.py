"""Reads a request's body into its model: JSON or YAML, every fault with its place (pure)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.errors import Fault, Malformed, PlanRejected
from tool_catalog.document import DocumentError, read_document
from tool_catalog.names import did_you_mean, shorten, suggest

_CODES = {
    "missing": "missing_parameter",
    "extra_forbidden": "unknown_key",
    "literal_error": "not_allowed",
    "string_pattern_mismatch": "bad_format",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "string_too_long": "too_large",
}

#: What a request gives beside its plan.
_BESIDE = ("inputs.", "limit")

Model = TypeVar("Model", bound=BaseModel)


def read_body(body: bytes, model: type[Model], noun: str, example: str) -> Model:
    """The body's members; `noun` is what they make ("a schedule").

    Raises Malformed when it cannot be read, PlanRejected when members are wrong.
    """
    try:
        value = read_document(body, source="request").value
    except DocumentError as error:
        fault = Fault("", "malformed", error.message, line=error.line, column=error.column)
        raise Malformed("the request cannot be read", faults=[fault]) from None
    if not isinstance(value, dict):
        raise Malformed(f"{noun} is a mapping", hint=example)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise PlanRejected([_show_fault(each, model, noun) for each in error.errors()]) from None


def place_in_plan(faults: Sequence[Fault], *, checked: bool = False) -> list[Fault]:
    """Faults of the plan that a request holds: paths begin at the request.

    In those of a `checked` plan, inputs and limit are what the request gave beside it. Lines are
    those of the plan's text.
    """
    return [
        fault
        if checked and fault.path.startswith(_BESIDE)
        else replace(fault, path=f"plan.{fault.path}".rstrip("."))
        for fault in faults
    ]


def _show_fault(error: ErrorDetails, model: type[BaseModel], noun: str) -> Fault:
    path = str(error["loc"][0])
    message, given = error["msg"], None
    if error["type"] == "extra_forbidden":
        near = suggest(path, model.model_fields)
        message = f"{noun} has no key '{shorten(path)}'{did_you_mean(near)}"
    elif error["type"] != "missing":
        given = shorten(str(error["input"]))
    return Fault(path, _CODES.get(error["type"], "wrong_type"), message, given=given)
