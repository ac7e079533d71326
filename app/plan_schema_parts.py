"""The parts of a plan's JSON Schema that are the same for every catalogue (pure)."""

from collections.abc import Sequence
from typing import Any

from app.asset import CRITICALITIES, STATUSES, TYPES
from app.inputs import INPUT_KEYS, MAX_INPUTS
from app.plan import (
    MAX_APPROVAL_S,
    MAX_FAILURES,
    MAX_ITEMS,
    MAX_PARALLEL,
    MAX_PLAN_S,
    MAX_STEPS,
    MAX_TEMPLATE,
)
from app.plan_reader import MAX_NAME
from app.step_reader import DAY_S, MAX_BACKOFF_S, MAX_RETRIES, SHORTEST_S
from tool_catalog.model import ParameterType

Json = dict[str, Any]


def ref(name: str) -> Json:
    """What stands under that name in `$defs`."""
    return {"$ref": f"#/$defs/{name}"}


def _whole(least: int, most: int, description: str) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def _word(words: Sequence[str], description: str, default: str) -> Json:
    return {"enum": list(words), "description": description, "default": default}


def list_of(name: str, description: str) -> Json:
    """A list of what stands under that name, one at least."""
    shown = {"description": description, "items": ref(name)}
    return {"type": "array", "minItems": 1, "maxItems": MAX_STEPS, **shown}


EXPRESSION: Json = {
    "type": "string",
    "pattern": r"\{[{%]",
    "description": "An expression: {{ steps.<id>... }}, {{ inputs.<name> }}, {{ item }}",
}
REFERENCE: Json = {
    "type": "object",
    "description": "$secret: a secret of the vault; $artifact: a kept file; $literal: as it stands",
    "properties": {"$secret": {"type": "string"}, "$artifact": {"type": "string"}, "$literal": {}},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
TARGETS: Json = {
    "description": "Whom to act on: a name, id or address, a selector, a list of those",
    "anyOf": [
        {"type": ["string", "integer"]},
        {"type": "array", "items": ref("targets")},
        ref("selector"),
    ],
}
SELECTOR: Json = {
    "type": "object",
    "minProperties": 1,
    "properties": {
        "names": {"type": "array", "items": {"type": ["string", "integer"]}},
        "id": {},
        "hostname": {},
        "ip_address": {"description": "An address or a network"},
        "type": {"anyOf": [{"enum": list(TYPES)}, {}]},
        "status": {"anyOf": [{"enum": list(STATUSES)}, {}]},
        "environment": {},
        "criticality": {"anyOf": [{"enum": list(CRITICALITIES)}, {}]},
        "os": {},
        "tags": {"type": "object", "description": "Tag to value, or to a list of values"},
        "not": {**ref("targets"), "description": "What to leave out"},
    },
}
INPUT: Json = {
    "type": "object",
    "properties": {
        **{key: {} for key in INPUT_KEYS},
        "type": {"enum": list(ParameterType), "description": "A type of the catalogue"},
        "summary": {"type": "string", "description": "What it is for, one line"},
        "required": {"type": "boolean", "default": False},
        "min": {"type": "number", "description": "Of a number, a length, a count, seconds"},
        "max": {"type": "number"},
        "pattern": {"type": "string", "description": "Whole-value expression of RE2"},
        "choices": {"type": "array", "items": {"type": "string"}},
        "of": {"type": "string", "description": "The type of a list's items"},
    },
    "required": ["type"],
    "additionalProperties": False,
}
_WHEN: Json = {
    "type": ["string", "boolean"],
    "maxLength": MAX_TEMPLATE,
    "description": "A bare expression; skipped when it is false",
}
_RUN_AS: Json = {"type": "string", "description": "Whom to become on the target, e.g. root"}
_ON_EMPTY = _word(("fail", "skip"), "What no targets at run time mean", "fail")
ON_FAILURE = _word(
    ("stop", "continue", "undo"), "Whether a failure stops the plan, or undoes what it did", "stop"
)
_PARALLEL = _whole(1, MAX_PARALLEL, "How many rows may be under way at once")
FAILURES = _whole(0, MAX_FAILURES, "How many failures are borne before `on_failure` applies")
_BATCH: Json = {
    "description": "How many targets at a time: a number, or a share of them",
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": "^0*([1-9][0-9]?|100)%$", "examples": ["25%"]},
    ],
}
_RETRIES = _whole(0, MAX_RETRIES, "How often to try again after a failure")
_SECONDS: Json = {"type": "number", "minimum": SHORTEST_S}

PLAN: Json = {
    "title": "opsfarm plan",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
        "inputs": {
            "type": "object",
            "description": "What the plan asks for when it is run",
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,63}$"},
            "maxProperties": MAX_INPUTS,
            "additionalProperties": ref("input"),
        },
        "targets": ref("targets"),
        "target": ref("targets"),
        "run_as": _RUN_AS,
        "max_parallel": _PARALLEL,
        "max_failures": FAILURES,
        "on_empty": _ON_EMPTY,
        "timeout_s": {
            "type": "number",
            "minimum": 1,
            "maximum": MAX_PLAN_S,
            "description": "For the whole execution; then it is cancelled",
        },
        "approval_timeout_s": {
            "type": "number",
            "minimum": 1,
            "maximum": MAX_APPROVAL_S,
            "description": "How long its approvals stay open",
        },
        "steps": list_of("entry", "What to do, in order: steps, blocks, parallel stages"),
        "finally": list_of("entry", "What to do however the steps ended"),
    },
    "required": ["steps"],
    "additionalProperties": False,
}
#: Keys of a step that are the same for all tools.
STEP_PROPERTIES: Json = {
    "id": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
    "targets": ref("targets"),
    "target": ref("targets"),
    "when": _WHEN,
    "for_each": {
        "description": "A list, or the expression that gives one: one row for each `item`",
        "anyOf": [{"type": "array", "maxItems": MAX_ITEMS}, ref("expression")],
    },
    "on_failure": ON_FAILURE,
    "retries": {
        "anyOf": [
            _RETRIES,
            {
                "type": "object",
                "properties": {
                    "max": _RETRIES,
                    "backoff_s": {"type": "number", "minimum": 0, "maximum": MAX_BACKOFF_S},
                },
                "additionalProperties": False,
            },
        ]
    },
    "timeout_s": _SECONDS | {"maximum": DAY_S, "description": "For each attempt"},
    "queue_timeout_s": _SECONDS | {"maximum": 7 * DAY_S, "description": "In the queue"},
    "vantage": {"type": "string", "description": "The host that a network step runs from"},
    "confirm": {"description": "Of a step that destroys: the names of its targets, once more"},
    "run_as": _RUN_AS,
    "max_parallel": _PARALLEL,
    "max_failures": FAILURES,
    "on_empty": _ON_EMPTY,
}
BLOCK_PROPERTIES: Json = {
    "targets": ref("targets"),
    "target": ref("targets"),
    "batch": _BATCH,
    "when": _WHEN,
    "run_as": _RUN_AS,
    "on_empty": _ON_EMPTY,
}
