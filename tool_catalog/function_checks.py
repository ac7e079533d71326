"""The Python functions that tool files name: each is defined where its name says."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tool_catalog.bad_key import BadKey
from tool_catalog.model import Tool
from tool_catalog.names import near_or_all

#: Looked at as text: the catalogue is read by programs that import no operation.
_OPERATIONS = Path(__file__).parents[1] / "tasks" / "operations"
_DEFINITION = re.compile(r"^def ([a-z][a-z0-9_]*)\(", re.MULTILINE)


def check_functions(tool: Tool) -> None:
    """Raises BadKey for the first operation whose function is not there."""
    for name, operation in tool.operations.items():
        if operation.python is None:
            continue
        module, _, function = operation.python.partition(":")
        place = f"operations.{name}.python"
        known = _functions_of(module)
        if known is None:
            words = f"no module {module!r} under tasks/operations/{near_or_all(module, _modules())}"
            raise BadKey(place, words)
        if function not in known:
            words = f"{module} has no function {function!r}{near_or_all(function, known)}"
            raise BadKey(place, words)


@cache
def _functions_of(module: str) -> frozenset[str] | None:
    path = _OPERATIONS.joinpath(*module.split(".")).with_suffix(".py")
    return frozenset(_DEFINITION.findall(path.read_text())) if path.is_file() else None


def _modules() -> Iterable[str]:
    for path in _OPERATIONS.rglob("*.py"):
        if path.stem not in {"__init__", "base"}:
            yield ".".join(path.relative_to(_OPERATIONS).with_suffix("").parts)
