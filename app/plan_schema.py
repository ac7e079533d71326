"""One JSON Schema (2020-12) of a whole plan, from the catalogue: for editors (pure).

It completes tools, operations and parameters, and says what each is for. It is wider than the
check of a plan: rules over several parameters, names and references are left to that.
"""

from app.plan_schema_parts import (
    BLOCK_PROPERTIES,
    EXPRESSION,
    FAILURES,
    INPUT,
    ON_FAILURE,
    PLAN,
    REFERENCE,
    SELECTOR,
    STEP_PROPERTIES,
    TARGETS,
    Json,
    list_of,
    ref,
)
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation, Tool
from tool_catalog.schema import operation_schema

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def plan_schema(catalog: Catalog) -> Json:
    """The schema that a plan satisfies; each operation has a part of its own under `$defs`."""
    tools = {f"tool.{tool.name}": _tool(tool) for tool in catalog.tools.values()}
    parameters = {
        f"parameters.{tool.name}.{operation.name}": _parameters(operation)
        for tool in catalog.tools.values()
        for operation in tool.operations.values()
    }
    shared = {
        "targets": TARGETS,
        "selector": SELECTOR,
        "expression": EXPRESSION,
        "reference": REFERENCE,
        "input": INPUT,
    }
    return {"$schema": _DIALECT, **PLAN, "$defs": shared | _entries(catalog) | tools | parameters}


def _entries(catalog: Catalog) -> Json:
    """What may stand in `steps`, at the top, in a block, and in a block of a block."""
    return {
        "step": _step(catalog),
        "entry": _entry("step", "parallel", "block"),
        "inner_step": {"allOf": [ref("step"), {"properties": {"max_failures": False}}]},
        "inner_entry": _entry("inner_step", "inner_parallel", "inner_block"),
        "parallel": _parallel("step"),
        "inner_parallel": _parallel("inner_step"),
        "block": _block("inner_entry", {"on_failure": ON_FAILURE, "max_failures": FAILURES}),
        "inner_block": _block("inner_step", {}),
    }


def _entry(step: str, parallel: str, block: str) -> Json:
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
        "then": ref(parallel),
        "else": {
            "if": {"anyOf": [{"required": ["steps"]}, headless]},
            "then": ref(block),
            "else": ref(step),
        },
    }


def _parallel(step: str) -> Json:
    return {
        "type": "object",
        "properties": {"parallel": list_of(step, "Steps that run side by side")},
        "required": ["parallel"],
        "additionalProperties": False,
    }


def _block(entry: str, counting: Json) -> Json:
    steps = list_of(entry, "What each batch passes through before the next one begins")
    return {
        "type": "object",
        "properties": {**BLOCK_PROPERTIES, **counting, "steps": steps},
        "required": ["steps"],
        "additionalProperties": False,
    }


def _step(catalog: Catalog) -> Json:
    names = [{"const": tool.name, "description": tool.summary} for tool in catalog.tools.values()]
    # Names are taken in any case, with _ or -: such a one passes, but nothing completes it.
    other = {"type": "string", "pattern": "[A-Z_]"}
    return {
        "type": "object",
        "properties": {
            "tool": {"anyOf": [*names, other], "description": "What does it"},
            "operation": {"type": "string"},
            "parameters": {"type": "object"},
            **STEP_PROPERTIES,
        },
        "required": ["tool"],
        "additionalProperties": False,
        "allOf": [
            {"if": _is("tool", tool.name), "then": ref(f"tool.{tool.name}")}
            for tool in catalog.tools.values()
        ],
    }


def _is(key: str, name: str) -> Json:
    return {"properties": {key: {"const": name}}, "required": [key]}


def _tool(tool: Tool) -> Json:
    """What a tool asks of its step: which operation, and its parameters."""
    operations = [
        {"const": operation.name, "description": operation.summary}
        for operation in tool.operations.values()
    ]
    chosen = {"operation": {"anyOf": [*operations, {"type": "string", "pattern": "[A-Z-]"}]}}
    default = next(iter(tool.operations)) if len(tool.operations) == 1 else tool.default
    rules: list[Json] = [
        {"if": _is("operation", operation.name), "then": _takes(tool, operation)}
        for operation in tool.operations.values()
    ]
    if default is not None:
        left_out = {"not": {"required": ["operation"]}}
        rules.append({"if": left_out, "then": _takes(tool, tool.operations[default])})
    required = {} if default is not None else {"required": ["operation"]}
    return {"description": tool.summary, "properties": chosen, "allOf": rules, **required}


def _takes(tool: Tool, operation: Operation) -> Json:
    asked = [name for name, p in operation.parameters.items() if p.required]
    return {
        "properties": {"parameters": ref(f"parameters.{tool.name}.{operation.name}")},
        **({"required": ["parameters"]} if asked else {}),
    }


def _parameters(operation: Operation) -> Json:
    """An operation's parameters, each also as an expression or a reference."""
    schema = operation_schema(operation)
    return {
        "type": "object",
        "description": schema["description"],
        "properties": {name: _open(value) for name, value in schema["properties"].items()},
        "required": schema["required"],
        "additionalProperties": False,
    }


def _open(schema: Json) -> Json:
    """A value as it is written in a plan: itself, or what gives it later."""
    told: Json = {
        key: schema[key] for key in ("description", "default", "examples") if key in schema
    }
    own = {key: value for key, value in schema.items() if key not in told}
    forms = [_open_items(form) for form in own["anyOf"]] if _is_list(own) else [own]
    return {**told, "anyOf": [*forms, ref("expression"), ref("reference")]}


def _is_list(schema: Json) -> bool:
    return any(form.get("type") == "array" for form in schema.get("anyOf", ()))


def _open_items(form: Json) -> Json:
    if form.get("type") != "array":
        return form
    items = {"anyOf": [form["items"], ref("expression"), ref("reference")]}
    return {**form, "items": items}
