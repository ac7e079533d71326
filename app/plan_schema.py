"""One JSON Schema (2020-12) of a whole plan, from the catalogue: for editors (pure).

It completes tools, operations and parameters, and says what each is for. It is wider than the
check of a plan: rules over several parameters, names and references are left to that.
"""

from collections.abc import Sequence
from typing import Any

from app.asset import CRITICALITIES, STATUSES, TYPES
from app.inputs import INPUT_KEYS, MAX_INPUTS
from app.plan import MAX_FAILURES, MAX_ITEMS, MAX_PARALLEL, MAX_STEPS, MAX_TEMPLATE
from app.plan_reader import MAX_NAME
from app.step_reader import DAY_S, MAX_BACKOFF_S, MAX_RETRIES, SHORTEST_S
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation, ParameterType, Tool
from tool_catalog.schema import operation_schema

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_Json = dict[str, Any]


def plan_schema(catalog: Catalog) -> _Json:
    """The schema that a plan satisfies; each operation has a part of its own under `$defs`."""
    tools = {f"tool.{tool.name}": _tool(tool) for tool in catalog.tools.values()}
    parameters = {
        f"parameters.{tool.name}.{operation.name}": _parameters(operation)
        for tool in catalog.tools.values()
        for operation in tool.operations.values()
    }
    shared = {
        "targets": _TARGETS,
        "selector": _SELECTOR,
        "expression": _EXPRESSION,
        "reference": _REFERENCE,
        "input": _INPUT,
    }
    return {"$schema": _DIALECT, **_PLAN, "$defs": shared | _entries(catalog) | tools | parameters}


def _ref(name: str) -> _Json:
    return {"$ref": f"#/$defs/{name}"}


def _whole(least: int, most: int, description: str) -> _Json:
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def _word(words: Sequence[str], description: str, default: str) -> _Json:
    return {"enum": list(words), "description": description, "default": default}


def _list_of(name: str, description: str, most: int = MAX_STEPS) -> _Json:
    shown = {"description": description, "items": _ref(name)}
    return {"type": "array", "minItems": 1, "maxItems": most, **shown}


_EXPRESSION: _Json = {
    "type": "string",
    "pattern": r"\{[{%]",
    "description": "An expression: {{ steps.<id>... }}, {{ inputs.<name> }}, {{ item }}",
}
_REFERENCE: _Json = {
    "type": "object",
    "description": "$secret: a secret of the vault; $artifact: a kept file; $literal: as it stands",
    "properties": {"$secret": {"type": "string"}, "$artifact": {"type": "string"}, "$literal": {}},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
_TARGETS: _Json = {
    "description": "Whom to act on: a name, id or address, a selector, a list of those",
    "anyOf": [
        {"type": ["string", "integer"]},
        {"type": "array", "items": _ref("targets")},
        _ref("selector"),
    ],
}
_SELECTOR: _Json = {
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
        "not": {**_ref("targets"), "description": "What to leave out"},
    },
}
_INPUT: _Json = {
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
_WHEN: _Json = {
    "type": ["string", "boolean"],
    "maxLength": MAX_TEMPLATE,
    "description": "A bare expression; skipped when it is false",
}
_RUN_AS: _Json = {"type": "string", "description": "Whom to become on the target, e.g. root"}
_ON_EMPTY = _word(("fail", "skip"), "What no targets at run time mean", "fail")
_ON_FAILURE = _word(("stop", "continue"), "Whether a failure stops the plan", "stop")
_PARALLEL = _whole(1, MAX_PARALLEL, "How many rows may be under way at once")
_FAILURES = _whole(0, MAX_FAILURES, "How many failures are borne before `on_failure` applies")
_BATCH: _Json = {
    "description": "How many targets at a time: a number, or a share of them",
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": "^0*([1-9][0-9]?|100)%$", "examples": ["25%"]},
    ],
}
_RETRIES = _whole(0, MAX_RETRIES, "How often to try again after a failure")
_SECONDS: _Json = {"type": "number", "minimum": SHORTEST_S}

_PLAN: _Json = {
    "title": "opsfarm plan",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
        "inputs": {
            "type": "object",
            "description": "What the plan asks for when it is run",
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,63}$"},
            "maxProperties": MAX_INPUTS,
            "additionalProperties": _ref("input"),
        },
        "targets": _ref("targets"),
        "target": _ref("targets"),
        "run_as": _RUN_AS,
        "max_parallel": _PARALLEL,
        "max_failures": _FAILURES,
        "on_empty": _ON_EMPTY,
        "steps": _list_of("entry", "What to do, in order: steps, blocks, parallel stages"),
        "finally": _list_of("entry", "What to do however the steps ended"),
    },
    "required": ["steps"],
    "additionalProperties": False,
}
#: Keys of a step that are the same for all tools.
_STEP_PROPERTIES: _Json = {
    "id": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
    "targets": _ref("targets"),
    "target": _ref("targets"),
    "when": _WHEN,
    "for_each": {
        "description": "A list, or the expression that gives one: one row for each `item`",
        "anyOf": [{"type": "array", "maxItems": MAX_ITEMS}, _ref("expression")],
    },
    "on_failure": _ON_FAILURE,
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
    "max_failures": _FAILURES,
    "on_empty": _ON_EMPTY,
}
_BLOCK_PROPERTIES: _Json = {
    "targets": _ref("targets"),
    "target": _ref("targets"),
    "batch": _BATCH,
    "when": _WHEN,
    "run_as": _RUN_AS,
    "on_empty": _ON_EMPTY,
}


def _entries(catalog: Catalog) -> _Json:
    """What may stand in `steps`, at the top, in a block, and in a block of a block."""
    return {
        "step": _step(catalog),
        "entry": _entry("step", "parallel", "block"),
        "inner_step": {"allOf": [_ref("step"), {"properties": {"max_failures": False}}]},
        "inner_entry": _entry("inner_step", "inner_parallel", "inner_block"),
        "parallel": _parallel("step"),
        "inner_parallel": _parallel("inner_step"),
        "block": _block("inner_entry", {"on_failure": _ON_FAILURE, "max_failures": _FAILURES}),
        "inner_block": _block("inner_step", {}),
    }


def _entry(step: str, parallel: str, block: str) -> _Json:
    """One of the three, told apart by its keys, so that a fault is told of that one alone."""
    headless = {"required": ["batch"], "not": {"required": ["tool"]}}
    return {
        "type": "object",
        "properties": {
            "tool": {"description": "A step: what does it"},
            "parallel": {"description": "Steps that run side by side"},
            "steps": {"description": "A block: each batch of targets passes through all of them"},
        },
        "if": {"required": ["parallel"]},
        "then": _ref(parallel),
        "else": {
            "if": {"anyOf": [{"required": ["steps"]}, headless]},
            "then": _ref(block),
            "else": _ref(step),
        },
    }


def _parallel(step: str) -> _Json:
    return {
        "type": "object",
        "properties": {"parallel": _list_of(step, "Steps that run side by side")},
        "required": ["parallel"],
        "additionalProperties": False,
    }


def _block(entry: str, counting: _Json) -> _Json:
    steps = _list_of(entry, "What each batch passes through before the next one begins")
    return {
        "type": "object",
        "properties": {**_BLOCK_PROPERTIES, **counting, "steps": steps},
        "required": ["steps"],
        "additionalProperties": False,
    }


def _step(catalog: Catalog) -> _Json:
    names = [{"const": tool.name, "description": tool.summary} for tool in catalog.tools.values()]
    # Names are taken in any case, with _ or -: such a one passes, but nothing completes it.
    other = {"type": "string", "pattern": "[A-Z_]"}
    return {
        "type": "object",
        "properties": {
            "tool": {"anyOf": [*names, other], "description": "What does it"},
            "operation": {"type": "string"},
            "parameters": {"type": "object"},
            **_STEP_PROPERTIES,
        },
        "required": ["tool"],
        "additionalProperties": False,
        "allOf": [
            {"if": _is("tool", tool.name), "then": _ref(f"tool.{tool.name}")}
            for tool in catalog.tools.values()
        ],
    }


def _is(key: str, name: str) -> _Json:
    return {"properties": {key: {"const": name}}, "required": [key]}


def _tool(tool: Tool) -> _Json:
    """What a tool asks of its step: which operation, and its parameters."""
    operations = [
        {"const": operation.name, "description": operation.summary}
        for operation in tool.operations.values()
    ]
    chosen = {"operation": {"anyOf": [*operations, {"type": "string", "pattern": "[A-Z-]"}]}}
    default = next(iter(tool.operations)) if len(tool.operations) == 1 else tool.default
    rules: list[_Json] = [
        {"if": _is("operation", operation.name), "then": _takes(tool, operation)}
        for operation in tool.operations.values()
    ]
    if default is not None:
        left_out = {"not": {"required": ["operation"]}}
        rules.append({"if": left_out, "then": _takes(tool, tool.operations[default])})
    required = {} if default is not None else {"required": ["operation"]}
    return {"description": tool.summary, "properties": chosen, "allOf": rules, **required}


def _takes(tool: Tool, operation: Operation) -> _Json:
    asked = [name for name, p in operation.parameters.items() if p.required]
    return {
        "properties": {"parameters": _ref(f"parameters.{tool.name}.{operation.name}")},
        **({"required": ["parameters"]} if asked else {}),
    }


def _parameters(operation: Operation) -> _Json:
    """An operation's parameters, each also as an expression or a reference."""
    schema = operation_schema(operation)
    return {
        "type": "object",
        "description": schema["description"],
        "properties": {name: _open(value) for name, value in schema["properties"].items()},
        "required": schema["required"],
        "additionalProperties": False,
    }


def _open(schema: _Json) -> _Json:
    """A value as it is written in a plan: itself, or what gives it later."""
    told: _Json = {
        key: schema[key] for key in ("description", "default", "examples") if key in schema
    }
    own = {key: value for key, value in schema.items() if key not in told}
    forms = [_open_items(form) for form in own["anyOf"]] if _is_list(own) else [own]
    return {**told, "anyOf": [*forms, _ref("expression"), _ref("reference")]}


def _is_list(schema: _Json) -> bool:
    return any(form.get("type") == "array" for form in schema.get("anyOf", ()))


def _open_items(form: _Json) -> _Json:
    if form.get("type") != "array":
        return form
    items = {"anyOf": [form["items"], _ref("expression"), _ref("reference")]}
    return {**form, "items": items}
