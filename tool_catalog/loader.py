"""Finds the tool files, refuses a bad one by file and key, and answers by name."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from queues import EXECUTION_LOCATIONS, Domain
from tool_catalog.bad_key import BadKey
from tool_catalog.document import Document, DocumentError, find_place, read_document
from tool_catalog.function_checks import check_functions
from tool_catalog.model import CatalogError, Operation, Tool
from tool_catalog.names import did_you_mean, normalise, shorten, suggest, unknown
from tool_catalog.tool_file import read_tool

TOOLS = Path(__file__).parent / "tools"

#: What a tool may be called.
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass
class Catalog:
    """Every tool there is, by name; who holds it looks here each time, for it can be renewed."""

    tools: Mapping[str, Tool]
    #: Tool to its file, and how messages name that.
    files: Mapping[str, tuple[Path, str]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all tool files, hex: two catalogues with the same one are the same."""
        return _digest_of({name: tool.digest for name, tool in self.tools.items()})

    def take_over(self, newer: "Catalog") -> None:
        """Hold the tools of another reading from now on."""
        self.tools, self.files = newer.tools, newer.files
        self.__dict__.pop("digest", None)

    def find(self, name: str) -> Tool:
        """The tool of that name in any case, `_` or `-`; raises UnknownName."""
        tool = self.tools.get(name) or self.tools.get(normalise(name))
        if tool is None:
            raise unknown("tool", name, self.tools)
        return tool

    def fault(self, tool: Tool, bad: BadKey) -> CatalogError:
        """The error for what was found wrong with a tool that loads, with its place in the file."""
        if tool.name not in self.files:
            return CatalogError(f"{tool.name}: {bad}")
        path, shown = self.files[tool.name]
        document = read_document(path.read_bytes(), source=shown, int_keys=True)
        return CatalogError(_describe(shown, document, bad))

    def operation(self, tool: Tool, name: str | None) -> Operation:
        """The operation of that name, any case, `_` or `-`; None takes the only one or the default.

        Raises UnknownName(kind="operation").
        """
        if name is None:
            name = next(iter(tool.operations)) if len(tool.operations) == 1 else tool.default or ""
        form = normalise(name).replace("-", "_")
        operation = tool.operations.get(form)
        if operation is None:
            raise unknown("operation", name, tool.operations)
        return operation


def load_catalog(tool_path: str = "", fallback: Domain = Domain.AUTOMATION) -> Catalog:
    """Every tool file of ours, and those in the folders of `tool_path` (separated by ":").

    Raises CatalogError naming the file, the line and the key of the first fault.
    """
    found: dict[str, Tool] = {}
    files: dict[str, tuple[Path, str]] = {}
    for path, shown in _find_files(tool_path):
        tool = load_tool(path, fallback=fallback, shown=shown)
        if tool.name in found:
            why = f"tool {tool.name!r} stands in {files[tool.name][1]} too: give one another name"
            raise CatalogError(f"{shown}:1:1: {why}")
        found[tool.name] = tool
        files[tool.name] = path, shown
    return Catalog(dict(sorted(found.items())), files)


def read_digest(tool_path: str = "") -> str:
    """The digest that the catalogue of these files would have, without reading what they say."""
    paths = (path for path, _ in _find_files(tool_path))
    return _digest_of({path.stem: _hash(path.read_bytes()) for path in paths})


def _digest_of(digests: Mapping[str, str]) -> str:
    return _hash("\n".join(f"{name} {digest}" for name, digest in sorted(digests.items())).encode())


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _find_files(tool_path: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(TOOLS.rglob("*.yaml")):
        yield path, f"tools/{path.relative_to(TOOLS).as_posix()}"
    for folder in filter(None, tool_path.split(":")):
        if not Path(folder).is_dir():
            raise CatalogError(f"{folder}: no such folder; OPSFARM_TOOL_PATH names it")
        for path in sorted(Path(folder).rglob("*.yaml")):
            yield path, str(path)


def load_tool(path: Path, *, fallback: Domain = Domain.AUTOMATION, shown: str = "") -> Tool:
    """One tool file; its place under `tools/` gives its domain, else `execution_location`.

    `shown` is how messages name the file. Raises CatalogError.
    """
    shown = shown or path.name
    text = path.read_bytes()
    if not NAME.fullmatch(path.stem):
        raise CatalogError(f"{shown}:1:1: a tool's name is lower-case words joined by hyphens")
    try:
        document = read_document(text, source=shown, int_keys=True)
    except DocumentError as error:
        raise CatalogError(str(error)) from None
    try:
        folder = _folder_of(path)
        tool = read_tool(
            document.value,
            name=path.stem,
            domain=_domain_of(folder, document.value, fallback),
            folder=folder,
            digest=_hash(text),
        )
        check_functions(tool)
    except BadKey as bad:
        raise CatalogError(_describe(shown, document, bad)) from None
    return tool


def _describe(shown: str, document: Document, bad: BadKey) -> str:
    line, column = find_place(document.places, bad.key) or (1, 1)
    where = f" {bad.key}:" if bad.key else ""
    return f"{shown}:{line}:{column}:{where} {bad.problem}"


def _folder_of(path: Path) -> str:
    try:
        return path.resolve().relative_to(TOOLS).parent.as_posix()
    except ValueError:
        return ""


def _domain_of(folder: str, value: Any, fallback: Domain) -> Domain:  # noqa: ANN401  # as it was read
    stated = value.get("execution_location") if isinstance(value, Mapping) else None
    if stated is not None and str(stated) not in EXECUTION_LOCATIONS:
        near = did_you_mean(suggest(str(stated), EXECUTION_LOCATIONS))
        allowed = ", ".join(EXECUTION_LOCATIONS)
        problem = f"no location {shorten(str(stated))!r}{near or f'; use one of {allowed}'}"
        raise BadKey("execution_location", problem)
    if not folder:
        return EXECUTION_LOCATIONS[stated] if stated else fallback
    domain_name = folder.partition("/")[0]
    if domain_name not in {domain.value for domain in Domain}:
        raise BadKey("", f"the folder {domain_name!r} is no domain: use one of {', '.join(Domain)}")
    domain = Domain(domain_name)
    if stated and EXECUTION_LOCATIONS[stated] is not domain:
        says = f"says {EXECUTION_LOCATIONS[stated]}, but the file is in the folder of {domain}"
        problem = f"{says}: move the file, or leave this out"
        raise BadKey("execution_location", problem)
    return domain
