"""`opsfarm assets`: the inventory by hand; each command is a plan of one asset tool."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from app.cli.asked import reason_option
from app.cli.assets_import import import_
from app.cli.assets_trust import trust
from app.cli.complete import complete_asset, complete_parameters, complete_target
from app.cli.farm import open_farm
from app.cli.finish import Wait, finish
from app.cli.host_check import check_hosts
from app.cli.outcome_text import note_failures
from app.cli.output import examples, json_option, note, print_output, print_records
from app.cli.run import find_operation
from app.cli.values import read_pairs
from app.step import State

Command = TypeVar("Command", bound=Callable[..., Any])

_ASSET = click.argument("asset", shell_complete=complete_asset)
_MEMBERS = (
    *("id", "hostname", "ip_address", "type", "status", "environment", "criticality", "os"),
    *("connection", "tags", "metadata", "created_at", "updated_at"),
)
_LISTED = ("id", "hostname", "ip_address", "type", "status", "environment", "os", "tags")


@click.group(
    epilog=examples(
        "opsfarm assets create web-01 ip_address=192.0.2.10 environment=production",
        """opsfarm assets create web-02 tags='{"role": "web"}'""",
        "opsfarm assets list environment=production limit=20",
        "opsfarm assets show web-01",
        "opsfarm assets update web-01 status=maintenance",
        'opsfarm assets delete web-01 --confirm --reason "sold"',
        "opsfarm assets import ~/.ssh/config --only 'web-*'",
        "opsfarm assets import inventory.ini --apply",
        "opsfarm assets trust web-01",
        "opsfarm assets trust tags.group.web=true --yes",
        "opsfarm assets test environment=production",
    )
)
def assets() -> None:
    """The inventory: machines and devices.

    KEY=VALUE are the parameters of the tools asset-list, asset-create and asset-update
    ('opsfarm tools show asset-create'). With --json, list prints {"assets": [...], "total": ...},
    show, create, update and delete the asset; what failed, the execution.
    """


assets.add_command(import_)
assets.add_command(trust)


def _pairs(tool: str) -> Callable[[Command], Command]:
    """The argument KEY=VALUE, for the parameters of a tool."""
    return click.argument(
        "parameters",
        nargs=-1,
        metavar="[KEY=VALUE]...",
        shell_complete=complete_parameters(tool),
    )


@assets.command("list")
@_pairs("asset-list")
@json_option
def list_(parameters: tuple[str, ...]) -> None:
    """One page of assets; filters and limit as KEY=VALUE."""
    _run("asset-list", {}, parameters)


@assets.command()
@_ASSET
@json_option
def show(asset: str) -> None:
    """One asset, by host name or id."""
    _run("asset-query", _name_asset(asset))


@assets.command()
@click.argument("hostname")
@_pairs("asset-create")
@json_option
def create(hostname: str, parameters: tuple[str, ...]) -> None:
    """Add an asset."""
    _run("asset-create", {"hostname": hostname}, parameters)


@assets.command()
@_ASSET
@_pairs("asset-update")
@json_option
def update(asset: str, parameters: tuple[str, ...]) -> None:
    """Change what is given of an asset, named by host name or id."""
    _run("asset-update", _name_asset(asset), parameters)


@assets.command()
@_ASSET
@click.option("--confirm", is_flag=True, help="There is no way back; without it you are asked.")
@reason_option
@json_option
def delete(asset: str, *, confirm: bool, reason: str | None) -> None:
    """Remove an asset and its credentials."""
    if not confirm:
        click.confirm(f"Remove {asset} and its credentials for good?", abort=True, err=True)
    _run("asset-delete", _name_asset(asset) | {"confirm": True}, reason=reason)


@assets.command()
@click.argument("selector", shell_complete=complete_target)
@json_option
def test(selector: str) -> None:
    """Check name, port, host key, login, sudo and system of assets.

    Each failure says what to do next. Assets in maintenance or retired are left out and named.
    """
    check_hosts(open_farm(), selector)


def _name_asset(asset: str) -> dict[str, Any]:
    return {"id": int(asset)} if asset.isdecimal() else {"hostname": asset}


def _run(
    tool: str, named: Mapping[str, Any], pairs: tuple[str, ...] = (), reason: str | None = None
) -> None:
    farm = open_farm()
    operation = find_operation(farm, tool)
    given = read_pairs(pairs, operation.get("schema"))
    for name in sorted(given.keys() & named.keys()):
        rename = "; new_hostname=... renames it" if tool == "asset-update" else ""
        raise click.BadParameter(f"{name} is what names the asset{rename}")
    parameters = {**given, **named}
    plan = {"steps": [{"tool": tool, "parameters": parameters}]}
    execution = farm.submit(plan, reason=reason)
    show = _print_one if tool == "asset-query" else _print_assets
    finish(execution, Wait(), show, _pick_assets)


def _pick_assets(execution: Mapping[str, Any]) -> object:
    """What a program wants: the page, or the one asset; of what did not succeed, the execution."""
    step = execution["steps"][0]
    output = step["results"][0]["output"]
    if step["state"] != State.SUCCEEDED or not isinstance(output, dict):
        return execution
    if step["tool"] == "asset-query":
        return output["assets"][0]
    return output.get("asset", output)


def _print_one(execution: Mapping[str, Any]) -> None:
    """The asset that was asked for, as its fields."""
    step = execution["steps"][0]
    for asset in (step["results"][0]["output"] or {}).get("assets", ()):
        print_output(asset, _MEMBERS)
    note_failures(step)


def _print_assets(execution: Mapping[str, Any]) -> None:
    """A page of assets as a table; the one that was changed as its fields."""
    step = execution["steps"][0]
    output = step["results"][0]["output"]
    if step["state"] != State.SUCCEEDED or not isinstance(output, dict):
        note_failures(step)
    elif "assets" in output:
        print_records([{name: asset.get(name) for name in _LISTED} for asset in output["assets"]])
        note(f"{len(output['assets'])} of {output['total']}")
    else:
        print_output(output.get("asset", output), _MEMBERS)
