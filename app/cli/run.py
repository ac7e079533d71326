"""`opsfarm run`: one tool, now."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from app.cli.asked import reason_option
from app.cli.complete import (
    complete_asset,
    complete_operation,
    complete_parameters,
    complete_target,
    complete_tool,
)
from app.cli.farm import open_farm
from app.cli.finish import Wait, finish, wait_options
from app.cli.outcome_text import print_tool_text
from app.cli.output import examples, json_option, note
from app.cli.values import read_pairs
from app.client import Farm


@click.command(
    epilog=examples(
        "opsfarm run df path=/var",
        "opsfarm run ping host=192.0.2.7 count=3",
        """opsfarm run command argv='["uptime"]' --target web-01""",
        'opsfarm run asset-delete hostname=web-09 confirm=true --reason "sold"',
        "opsfarm run sendmail to=ops@example.com subject=Hello body=@note.txt",
    )
)
@click.argument("tool", shell_complete=complete_tool)
@click.argument(
    "parameters", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_parameters()
)
@click.option(
    "--operation",
    shell_complete=complete_operation,
    help="Which of the tool's operations; its default when left out.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    shell_complete=complete_target,
    help="A name, id, address or selector such as environment=production,!web-03; repeatable.",
)
@click.option(
    "--confirm",
    multiple=True,
    shell_complete=complete_asset,
    help="Repeat the target's name to destroy something.",
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), help="In seconds."
)
@click.option("--run-as", help="Whom to become on the target: root.")
@click.option("--vantage", help="The host that a network step runs from.")
@click.option("--key", help="Your key: the same key and call never run twice.")
@reason_option
@wait_options
@json_option
def run(tool: str, parameters: tuple[str, ...], key: str | None, **options: Any) -> None:  # noqa: ANN401  # the other options, by name
    """Run TOOL once, print what it gave, and end like it.

    A repeated key makes a list; values may be JSON; key=@file reads a file (@@ is a plain @).
    """
    farm = open_farm()
    operation = find_operation(farm, tool, options["operation"])
    plan = make_plan(tool, read_pairs(parameters, operation.get("schema")), options)
    execution = farm.submit(plan, key=key, reason=options["reason"])
    for warning in execution.warnings:
        note(f"warning: {warning}")
    order = tuple(operation.get("output", {}).get("fields", ()))

    def show(shown: Mapping[str, Any]) -> None:
        print_tool_text(shown["steps"][0], order)

    finish(execution, Wait(options["detach"], options["wait_s"]), show)


def make_plan(
    tool: str, parameters: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """A plan of one step; members that were not given are left out."""
    members = {
        "tool": tool,
        "operation": options.get("operation"),
        "parameters": dict(parameters) or None,
        "targets": _one_or_list(options.get("targets") or ()),
        "confirm": _one_or_list(options.get("confirm") or ()),
        "timeout_s": options.get("timeout_s"),
        "run_as": options.get("run_as"),
        "vantage": options.get("vantage"),
    }
    kept = {name: value for name, value in members.items() if value is not None}
    return {"steps": [kept]}


def _one_or_list(values: Sequence[str]) -> str | list[str] | None:
    if len(values) == 1:
        return values[0]
    return list(values) or None


def find_operation(farm: Farm, tool: str, name: str | None = None) -> Mapping[str, Any]:
    """The operation meant, as the farm describes it; empty leaves it to submit to refuse it.

    Raises NotFound for an unknown tool, with a guess.
    """
    shown = farm.http.get(f"/tools/{quote(tool, safe='')}")
    operations: Mapping[str, Mapping[str, Any]] = shown["operations"]
    only = next(iter(operations)) if len(operations) == 1 else None
    return operations.get(name or shown["default"] or only or "", {})
