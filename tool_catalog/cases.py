"""Case files: what one call of an operation must become, found by name under `tests/tools/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tool_catalog.document import DocumentError, read_document
from tool_catalog.model import CatalogError
from tool_catalog.names import did_you_mean, suggest

CASES = Path(__file__).parents[1] / "tests" / "tools"

_KEYS = (
    *("summary", "operation", "proven_by", "parameters", "argv", "masked", "stdin", "effect"),
    *("run", "result", "fault"),
)
#: A case says at least one of these, or it proves nothing.
_CLAIMS = ("argv", "masked", "stdin", "effect", "result", "fault")


class Proof(StrEnum):
    """Against what an operation was run, the strongest first."""

    REAL = "real"
    SERVER = "server"
    DOUBLE = "double"
    ARGV = "argv"


@dataclass(frozen=True, slots=True)
class Case:
    """One case file: `tests/tools/<tool>/<case>.yaml`."""

    tool: str
    name: str
    operation: str
    proven_by: Proof
    parameters: Mapping[str, Any]
    #: The file's other keys: argv, masked, stdin, effect, run, result, fault.
    claims: Mapping[str, Any]


def find_cases(folder: Path = CASES) -> list[Case]:
    """Every case, ordered by tool and name; raises CatalogError naming file and key."""
    return [read_case(path) for path in sorted(folder.glob("*/*.yaml"))]


def read_case(path: Path) -> Case:
    """One case file; raises CatalogError naming it and the key."""
    shown = f"{path.parent.name}/{path.name}"
    body = _read_mapping(path, shown)
    if body.get("proven_by") not in list(Proof):
        raise CatalogError(f"{shown}: proven_by: must be one of {', '.join(Proof)}")
    if not isinstance(body.get("operation"), str):
        raise CatalogError(f"{shown}: operation: is missing")
    if not any(key in body for key in _CLAIMS) or ("result" in body) != ("run" in body):
        claims = ", ".join(_CLAIMS)
        raise CatalogError(f"{shown}: claims nothing: needs one of {claims}; result goes with run")
    return Case(
        tool=path.parent.name,
        name=path.stem,
        operation=body["operation"],
        proven_by=Proof(body["proven_by"]),
        parameters=body.get("parameters") or {},
        claims=body,
    )


def _read_mapping(path: Path, shown: str) -> Mapping[str, Any]:
    try:
        body = read_document(path.read_bytes(), source=shown).value
    except DocumentError as error:
        raise CatalogError(str(error)) from None
    if not isinstance(body, dict):
        raise CatalogError(f"{shown}: must be a mapping")
    for key in body:
        if key not in _KEYS:
            near = did_you_mean(suggest(key, _KEYS))
            raise CatalogError(f"{shown}: unknown key {key!r}{near}")
    return body
