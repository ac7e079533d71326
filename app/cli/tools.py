"""`opsfarm tools`: the catalogue on this machine; only `reload` needs a farm."""

import importlib
from pathlib import Path
from typing import Any

import click

from app.cli.complete import complete_tool
from app.cli.exits import Exit
from app.cli.farm import open_farm
from app.cli.output import cell, examples, json_option, note, print_json, print_table, wants_json
from app.config import read_settings
from app.errors import NotFound
from tool_catalog.check import CatalogReport, check_catalog, new_site_tool, new_tool
from tool_catalog.loader import Catalog, load_catalog
from tool_catalog.model import Operation, Tool
from tool_catalog.names import UnknownName
from tool_catalog.schema import operation_schema, show_head


@click.group(
    epilog=examples(
        "opsfarm tools list --domain network",
        "opsfarm tools show tcpdump",
        "opsfarm tools check",
        "opsfarm tools new uptime automation/linux",
        "opsfarm tools reload",
    )
)
def tools() -> None:
    """The catalogue: what steps can be made of."""


def _load() -> Catalog:
    settings = read_settings()
    return load_catalog(settings.tool_path, settings.fallback_domain)


@tools.command("list")
@click.option("--domain", help="Only this domain: comms, asset, network or automation.")
@json_option
def list_(domain: str | None) -> None:
    """Every tool with its operations and what they do to the world."""
    found = [tool for tool in _load().tools.values() if domain in {None, tool.domain.value}]
    if wants_json():
        print_json([show_head(tool) for tool in found])
        return
    rows = [
        [
            tool.name,
            tool.folder or tool.domain.value,
            ", ".join(f"{name} ({op.effect.value})" for name, op in tool.operations.items()),
            tool.summary,
        ]
        for tool in found
    ]
    print_table(["tool", "folder", "operations", "summary"], rows)


@tools.command()
@click.argument("name", shell_complete=complete_tool)
@json_option
def show(name: str) -> None:
    """One tool: its operations, their parameters and an example of each."""
    try:
        tool = _load().find(name)
    except UnknownName as error:
        raise NotFound(str(error), hint="'opsfarm tools list' shows every tool") from error
    if wants_json():
        schemas = {key: operation_schema(found) for key, found in tool.operations.items()}
        print_json(show_head(tool) | {"schemas": schemas})
        return
    click.echo(f"{tool.name} ({tool.domain.value}): {tool.summary}")
    for operation in tool.operations.values():
        _print_operation(tool, operation)


def _print_operation(tool: Tool, operation: Operation) -> None:
    default = ", the default" if operation.name == tool.default else ""
    click.echo(f"\n{operation.name} ({operation.effect.value}{default}): {operation.summary}")
    rows = [
        [
            name,
            parameter.type.value,
            "required" if parameter.required else cell(parameter.default),
            ", ".join(parameter.choices) or parameter.summary,
        ]
        for name, parameter in operation.parameters.items()
    ]
    if rows:
        print_table(["parameter", "type", "default", "what"], rows)
    example = operation.examples[0]
    given = " ".join(f"{name}={cell(value)}" for name, value in example.parameters.items())
    needless = operation.name == tool.default or len(tool.operations) == 1
    chosen = "" if needless else f"--operation {operation.name} "
    click.echo(f"  opsfarm run {tool.name} {chosen}{given}".rstrip())


@tools.command()
@json_option
def check() -> None:
    """Load every tool file; say how each is proven.

    real: against the real thing; server: a server of the same protocol; double: a stand-in; argv:
    the command was compared. Ends with 2 when there is a fault.
    """
    catalog = _load()
    # Its expressions need Jinja2, which would make every other command start more slowly.
    importlib.import_module("app.promises").check_promises(catalog)
    report = check_catalog(catalog)
    if wants_json():
        print_json(_as_json(report))
    else:
        click.echo("\n".join(report.lines()))
    if report.faults:
        plural = "s" if len(report.faults) > 1 else ""
        note(f"opsfarm: the catalogue has {len(report.faults)} fault{plural}")
        click.get_current_context().exit(Exit.REFUSED)


def _as_json(report: CatalogReport) -> dict[str, Any]:
    return {
        "tools": len(report.tools),
        "folders": [
            {
                "folder": folder.folder,
                "wanted": folder.wanted,
                "present": folder.present,
                "proven": {proof.value: count for proof, count in folder.proven.items()},
            }
            for folder in report.folders
        ],
        "operations": {tool.tool: dict(tool.operations) for tool in report.tools},
        "faults": list(report.faults),
    }


@tools.command()
@click.argument("name")
@click.argument("folder")
@json_option
def new(name: str, folder: str) -> None:
    """Write a tool file and a case file to begin with.

    NAME is the tool's name, FOLDER its place, e.g. automation/linux. A path, such as ./tools or
    /etc/opsfarm/tools, is a folder of a site's own tools; they have no case files.
    """
    if folder.startswith(("/", ".")):
        _new_site_tool(name, Path(folder))
        return
    tool_file, case_file = new_tool(name, folder)
    if wants_json():
        print_json({"tool": str(tool_file), "case": str(case_file)})
        return
    click.echo(f"{tool_file}\n{case_file}")
    note("both load as they are; change them, then: opsfarm tools check")


@tools.command()
@json_option
def reload() -> None:
    """Let a running farm read its tool files anew.

    Each process reads those of its own host. Where one is bad, it keeps what it had.
    """
    done = open_farm().http.post("/tools/reload", {})
    if wants_json():
        print_json(done)
        return
    parts = [
        f"{kind}: {', '.join(done[kind])}" for kind in ("added", "changed", "removed") if done[kind]
    ]
    click.echo(f"{done['tools']} tools; {'; '.join(parts) or 'nothing was changed'}")


def _new_site_tool(name: str, folder: Path) -> None:
    path = new_site_tool(name, folder.resolve())
    if wants_json():
        print_json({"tool": str(path)})
        return
    click.echo(path)
    note(f"change it, then: OPSFARM_TOOL_PATH={path.parent} opsfarm tools check")
