"""How far the catalogue is: tools per folder against the target list, and what proves them."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from queues import Domain
from tool_catalog.cases import CASES, Case, Proof, find_cases
from tool_catalog.loader import NAME, TOOLS, Catalog
from tool_catalog.model import CatalogError
from tool_catalog.names import near_or_all

TARGETS = Path(__file__).with_name("targets.csv")
_TEMPLATE = Path(__file__).with_name("_template.yaml")
_CASE_TEMPLATE = Path(__file__).with_name("_case_template.yaml")
#: The name that the templates use for the tool.
_PLACEHOLDER = "example-program"


@dataclass(frozen=True, slots=True)
class TargetTool:
    """A tool that the catalogue shall have, and where."""

    name: str
    domain: str
    folder: str


@dataclass(frozen=True, slots=True)
class FolderCount:
    """How many tools of a folder exist, and how many of those are proven in each way."""

    folder: str
    wanted: int
    present: int
    #: A tool counts by its least proven operation.
    proven: Mapping[Proof, int]


@dataclass(frozen=True, slots=True)
class ToolProof:
    """How each operation of a tool is proven; None is not at all."""

    tool: str
    folder: str
    operations: Mapping[str, Proof | None]

    def line(self) -> str:
        """`  df    usage real`; operations of one kind of proof together."""
        parts = [
            f"{', '.join(name for name, found in self.operations.items() if found is proof)} "
            f"{proof or 'unproven'}"
            for proof in dict.fromkeys(self.operations.values())
        ]
        return f"  {self.tool:24} {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """What `opsfarm tools check` tells."""

    folders: tuple[FolderCount, ...]
    tools: tuple[ToolProof, ...]
    #: Tools in the wrong place, operations without a case, cases of nothing.
    faults: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text: folders with their tools, the site's own, the total, the faults."""
        shown = []
        for row in self.folders:
            shown += [_line(row), *(t.line() for t in self.tools if t.folder == row.folder)]
        known = {row.folder for row in self.folders}
        others = [tool.line() for tool in self.tools if tool.folder not in known]
        beside = ["beside the target list", *others] if others else []
        return [*shown, *beside, _line(_total(self.folders)), *self.faults]


def read_targets(path: Path = TARGETS) -> tuple[TargetTool, ...]:
    """The target list: a csv with the columns tool, domain, folder."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return tuple(TargetTool(row["tool"], row["domain"], row["folder"]) for row in rows)


def check_catalog(
    catalog: Catalog, cases_folder: Path = CASES, targets: Iterable[TargetTool] | None = None
) -> CatalogReport:
    """Count tools and proofs; raises CatalogError for a case file that cannot be read."""
    wanted = tuple(read_targets() if targets is None else targets)
    cases = find_cases(cases_folder)
    proofs = prove_operations(cases)
    folders = sorted({target.folder for target in wanted})
    counts = tuple(_count(folder, wanted, catalog, proofs) for folder in folders)
    faults = [*_misplaced(catalog, wanted), *_unproven(catalog, proofs), *_stray(catalog, cases)]
    return CatalogReport(counts, _prove_tools(catalog, proofs), tuple(faults))


def _prove_tools(
    catalog: Catalog, proofs: Mapping[tuple[str, str], Proof]
) -> tuple[ToolProof, ...]:
    found = []
    for tool in catalog.tools.values():
        operations = {name: proofs.get((tool.name, name)) for name in tool.operations}
        found.append(ToolProof(tool.name, tool.folder, operations))
    return tuple(found)


def prove_operations(cases: Iterable[Case]) -> dict[tuple[str, str], Proof]:
    """(tool, operation) to the strongest proof that a case of it claims."""
    order = list(Proof)
    proofs: dict[tuple[str, str], Proof] = {}
    for case in cases:
        key = (case.tool, case.operation)
        proofs[key] = min(proofs.get(key, case.proven_by), case.proven_by, key=order.index)
    return proofs


def _count(
    folder: str,
    targets: Iterable[TargetTool],
    catalog: Catalog,
    proofs: Mapping[tuple[str, str], Proof],
) -> FolderCount:
    names = [target.name for target in targets if target.folder == folder]
    present = [catalog.tools[name] for name in names if name in catalog.tools]
    order = list(Proof)
    weakest: Counter[Proof] = Counter()
    for tool in present:
        found = [proofs.get((tool.name, operation)) for operation in tool.operations]
        if None not in found:
            weakest[max((proof for proof in found if proof), key=order.index)] += 1
    return FolderCount(folder, len(names), len(present), dict(weakest))


def _total(folders: Iterable[FolderCount]) -> FolderCount:
    rows = list(folders)
    proven: Counter[Proof] = Counter()
    for row in rows:
        proven.update(row.proven)
    return FolderCount("all", sum(r.wanted for r in rows), sum(r.present for r in rows), proven)


def _line(row: FolderCount) -> str:
    proven = ", ".join(f"{row.proven[proof]} {proof}" for proof in Proof if row.proven.get(proof))
    return f"{row.folder:24} {row.present:3} of {row.wanted:3}  {proven}".rstrip()


def _misplaced(catalog: Catalog, targets: Iterable[TargetTool]) -> list[str]:
    wanted = tuple(targets)
    folders = _folders_of(wanted)
    unknown = [
        f"{tool.name}: {_no_folder(tool.folder, folders)}"
        for tool in catalog.tools.values()
        if tool.folder and tool.folder not in folders
    ]
    return unknown + [
        f"{target.name}: is in {tool.folder or 'no folder'} ({tool.domain}), "
        f"the target list says {target.folder} ({target.domain})"
        for target in wanted
        if (tool := catalog.tools.get(target.name)) is not None
        and (tool.folder, tool.domain) != (target.folder, target.domain)
    ]


def _folders_of(targets: Iterable[TargetTool]) -> set[str]:
    """The domains' own folders, for tools beside the target list, and those of the list."""
    return {*Domain, *(target.folder for target in targets)}


def _no_folder(folder: str, folders: Iterable[str]) -> str:
    return f"there is no folder {folder!r}{near_or_all(folder, folders)}"


def _unproven(catalog: Catalog, proofs: Mapping[tuple[str, str], Proof]) -> list[str]:
    return [
        f"{tool.name} {operation}: no case in tests/tools/{tool.name}/"
        for tool in catalog.tools.values()
        for operation in tool.operations
        if tool.folder and (tool.name, operation) not in proofs
    ]


def _stray(catalog: Catalog, cases: Iterable[Case]) -> list[str]:
    return [
        f"{case.tool}/{case.name}.yaml: no operation {case.tool} {case.operation}"
        for case in cases
        if case.tool not in catalog.tools
        or case.operation not in catalog.tools[case.tool].operations
    ]


def new_tool(
    name: str, folder: str, *, tools: Path = TOOLS, cases: Path = CASES
) -> tuple[Path, Path]:
    """Write a tool file and a case file from the templates; both load and pass as they are.

    `folder` is the place under `tools/`, e.g. "automation/linux". Raises CatalogError when the
    name or the folder cannot be, or a file is there already.
    """
    _check_name(name)
    targets = read_targets()
    folders = _folders_of(targets)
    if folder not in folders:
        raise CatalogError(f"{name}: {_no_folder(folder, folders)}")
    for target in targets:
        if target.name == name and target.folder != folder:
            raise CatalogError(f"{name}: the target list has it in {target.folder}, not {folder}")
    tool_file = tools / folder / f"{name}.yaml"
    case_file = cases / name / "show.yaml"
    _write(_TEMPLATE, tool_file, name)
    _write(_CASE_TEMPLATE, case_file, name)
    return tool_file, case_file


def new_site_tool(name: str, folder: Path) -> Path:
    """Write a tool file into a folder of OPSFARM_TOOL_PATH; cases are for those that come with us.

    Raises CatalogError when the name cannot be, or a file is there already.
    """
    _check_name(name)
    if any(path.stem == name for path in TOOLS.rglob("*.yaml")):
        raise CatalogError(f"{name}: opsfarm has a tool of that name; take another one")
    tool_file = folder / f"{name}.yaml"
    _write(_TEMPLATE, tool_file, name)
    return tool_file


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise CatalogError(f"{name!r}: a tool's name is lower-case words joined by hyphens")


def _write(template: Path, path: Path, name: str) -> None:
    if path.exists():
        raise CatalogError(f"{path} is there already")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template.read_text().replace(_PLACEHOLDER, name))
