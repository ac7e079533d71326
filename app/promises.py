"""What an operation promises beside its command, as expressions over what was seen (pure).

`verify.until` proves an effect, `changed_if` tells whether there was one, `undo.if` whether there
is anything to reverse.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.errors import ExpressionError
from app.expression_tree import Reference
from app.render import evaluate_condition, inspect_condition
from app.sandbox import METHOD_NAMES
from tool_catalog.bad_key import BadKey
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation, Output, Tool
from tool_catalog.names import near_or_all

#: The names that each expression may use.
#: `unknown` is true where nobody saw the effect's own end.
UNTIL_NAMES = ("output", "before", "previous", "parameters", "unknown")
CHANGED_NAMES = ("output", "before", "after", "parameters")
UNDO_NAMES = ("output", "before", "after", "parameters")


def is_reached(until: str, facts: Mapping[str, Any]) -> bool:
    """Whether `verify.until` holds; `facts` has UNTIL_NAMES. Raises ExpressionError."""
    return evaluate_condition(until, facts, UNTIL_NAMES)


def has_changed(changed_if: str, facts: Mapping[str, Any]) -> bool:
    """Whether `changed_if` holds; `facts` has CHANGED_NAMES. Raises ExpressionError."""
    return evaluate_condition(changed_if, facts, CHANGED_NAMES)


def is_undoable(undo_if: str, facts: Mapping[str, Any]) -> bool:
    """Whether `undo.if` holds; `facts` has UNDO_NAMES. Raises ExpressionError."""
    return evaluate_condition(undo_if, facts, UNDO_NAMES)


def check_promises(catalog: Catalog) -> None:
    """Raises CatalogError for the first expression of a tool file that cannot work."""
    for tool in catalog.tools.values():
        for operation in tool.operations.values():
            for key, text, outputs in _expressions(tool, operation):
                try:
                    _check(text, outputs, operation)
                except ExpressionError as error:
                    bad = BadKey(f"operations.{operation.name}.{key}", str(error))
                    raise catalog.fault(tool, bad) from None


def _expressions(
    tool: Tool, operation: Operation
) -> Iterator[tuple[str, str, Mapping[str, Output | None]]]:
    """Each expression with its key, and what every name in it stands for (None: any value)."""
    own = operation.output
    read = None if operation.before is None else tool.operations[operation.before].output
    before = {} if read is None else {"before": read}
    after = {} if read is None else {"before": read, "after": read}
    if operation.verify is not None:
        seen = tool.operations[operation.verify.operation].output
        names = {"output": seen, "previous": seen, **before, "parameters": None, "unknown": None}
        yield "verify.until", operation.verify.until, names
    if operation.changed_if is not None:
        yield "changed_if", operation.changed_if, {"output": own, **after, "parameters": None}
    if operation.undo is not None and operation.undo.if_ is not None:
        yield "undo.if", operation.undo.if_, {"output": own, **after, "parameters": None}


def _check(text: str, outputs: Mapping[str, Output | None], operation: Operation) -> None:
    for reference in inspect_condition(text, tuple(outputs)):
        output = outputs[reference.root]
        if reference.root == "parameters":
            _check_name(reference, operation.parameters)
        elif output is None:
            continue
        elif output.fields and output.artifact is None and output.stderr is None:
            _check_name(reference, output.fields)


def _check_name(reference: Reference, known: Mapping[str, Any]) -> None:
    """The first name after the root is one of those known; an index before it is passed over."""
    name = next((part for part in reference.parts if isinstance(part, str)), None)
    if name is None or name in known or name in METHOD_NAMES:
        return
    raise ExpressionError(f"{reference}: no {name!r}{near_or_all(name, known)}")
