"""`opsfarm plan`: run, check and dry-run a plan."""

import json
from collections.abc import Mapping
from typing import Any, TextIO

import click

from app.cli.asked import reason_option, tell_short
from app.cli.dry_run import name_target, print_run
from app.cli.farm import open_farm
from app.cli.finish import Wait, finish, wait_options
from app.cli.output import (
    cell,
    examples,
    json_option,
    note,
    print_json,
    print_line,
    print_table,
    wants_json,
)
from app.cli.plan_source import given_options, open_plan, plan_argument
from app.config import read_settings
from app.plan_schema import plan_schema
from tool_catalog.loader import load_catalog


@click.group(
    epilog=examples(
        "opsfarm plan run nightly.yaml",
        "opsfarm plan run nightly@3 --set environment=staging --limit tags.role=web",
        "opsfarm plan check nightly.yaml",
        "opsfarm plan dry-run nightly.yaml --json",
        "cat plan.json | opsfarm plan run - --detach",
        "opsfarm plan schema --output plan.schema.json",
    )
)
def plan() -> None:
    """Run, check and describe plans."""


@plan.command()
@plan_argument
@given_options
@click.option("--key", help="Your key: the same key, plan and inputs never run twice.")
@reason_option
@wait_options
@json_option
def run(plan: str, settings: tuple[str, ...], limit: str | None, **options: Any) -> None:  # noqa: ANN401  # key, reason and the wait options
    """Submit a plan and follow it to its end.

    PLAN is a file, - for standard input, or NAME or NAME@VERSION of a stored plan. A word with a
    path separator or an extension is a file: write ./NAME for one named like a stored plan.
    """
    farm, source = open_farm(), open_plan(plan)
    inputs = source.read_inputs(farm, settings)
    execution = farm.submit(
        source.given, options["key"], inputs=inputs, limit=limit, reason=options["reason"]
    )
    for warning in execution.warnings:
        note(f"warning: {warning}")
    finish(execution, Wait(options["detach"], options["wait_s"]))


@plan.command()
@plan_argument
@given_options
@json_option
def check(plan: str, settings: tuple[str, ...], limit: str | None) -> None:
    """Show what a plan would be, or every fault in it.

    PLAN is a file, - for standard input, or NAME or NAME@VERSION of a stored plan. A word with a
    path separator or an extension is a file: write ./NAME for one named like a stored plan.
    """
    farm, source = open_farm(), open_plan(plan)
    checked = farm.check(source.given, inputs=source.read_inputs(farm, settings), limit=limit)
    if wants_json():
        print_json(checked)
        return
    print_check(checked)


@plan.command("dry-run")
@plan_argument
@given_options
@json_option
def dry_run(plan: str, settings: tuple[str, ...], limit: str | None) -> None:
    """Show the exact commands that a plan would run.

    PLAN is a file, - for standard input, or NAME or NAME@VERSION of a stored plan. A word with a
    path separator or an extension is a file: write ./NAME for one named like a stored plan.
    """
    farm, source = open_farm(), open_plan(plan)
    shown = farm.dry_run(source.given, inputs=source.read_inputs(farm, settings), limit=limit)
    if wants_json():
        print_json(shown)
        return
    print_dry_run(shown)


@plan.command()
@click.option("--output", type=click.File("w"), default="-", help="A file to write it to.")
def schema(output: TextIO) -> None:
    """Print the JSON Schema of plans, for editors.

    With it they complete and check; needs no farm. It knows the tools, operations and parameters
    of the catalogue on this machine. A plan names it in its first line:
    # yaml-language-server: $schema=plan.schema.json
    """
    settings = read_settings()
    shown = plan_schema(load_catalog(settings.tool_path, settings.fallback_domain))
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False), file=output)


def print_check(checked: Mapping[str, Any]) -> None:
    """What a plan would be: one line for each step."""
    rows = [
        [
            step["position"],
            step["id"],
            f"{step['tool']} {step['operation']}",
            step["effect"],
            tell_short(step["approval"]),
            _tell_targets(step),
            step["queue"],
        ]
        for step in checked["steps"]
    ]
    print_table(["#", "step", "tool", "effect", "approval", "targets", "queue"], rows)
    _note_warnings(checked)


def print_dry_run(shown: Mapping[str, Any]) -> None:
    """What a plan would run: a command for each row of each step."""
    for step in shown["steps"]:
        _print_commands(step)
    _note_warnings(shown)


def _tell_targets(step: Mapping[str, Any]) -> str:
    """Whom a step acts on: batch by batch in a block."""
    if step["skipped"]:
        return f"skipped: {step['skipped']}"
    if step["batches"] and any(step["batches"]):
        return " | ".join(", ".join(batch) for batch in step["batches"])
    if step["dynamic"]:
        return "when due"
    return ", ".join(step["targets"]) or "the farm"


def _print_commands(step: Mapping[str, Any]) -> None:
    workers = ", ".join(step["workers"]) or "no live worker"
    became = f" as {step['run_as']}" if step["run_as"] else ""
    print_line(
        f"step {step['position']} {step['id']}: {step['tool']} {step['operation']} "
        f"({step['effect']}){became}, queue {step['queue']}, {workers}"
    )
    if step["approval"]:
        print_line(f"  needs {tell_short(step['approval'])} before it runs")
    if step["lasts"]:
        print_line("  cannot be undone: its tool declares no undo")
    for command in step["commands"]:
        batch = f"batch {command['batch']}, " if command["batch"] else ""
        item = f", item {cell(command['item'])}" if command["item"] is not None else ""
        target = name_target(command["target"] or "the farm", command)
        print_run(f"{batch}{target}{item}", command)
    if step["skipped"]:
        print_line(f"  skipped: {step['skipped']}")
    elif step["dynamic"]:
        print_line("  holds expressions: rendered, checked and judged when it is due")


def _note_warnings(shown: Mapping[str, Any]) -> None:
    for warning in shown["warnings"]:
        note(f"warning: {warning}")
