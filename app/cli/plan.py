"""`opsfarm plan`: run, check and dry-run a plan file."""

import sys
from pathlib import Path
from typing import Any

import click

from app.cli.exits import remember_source
from app.cli.farm import open_farm
from app.cli.finish import Wait, finish, wait_options
from app.cli.output import (
    examples,
    json_option,
    note,
    print_fields,
    print_json,
    print_table,
    wants_json,
)

_FILE = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))


@click.group(
    epilog=examples(
        "opsfarm plan run nightly.yaml",
        "opsfarm plan check nightly.yaml",
        "opsfarm plan dry-run nightly.yaml --json",
        "cat plan.json | opsfarm plan run - --detach",
    )
)
def plan() -> None:
    """Run and check plans."""


@plan.command()
@_FILE
@click.option("--key", help="Your key: the same key and plan never run twice.")
@wait_options
@json_option
def run(file: str, key: str | None, **wait: Any) -> None:  # noqa: ANN401  # the wait options
    """Submit the plan in FILE and follow it to its end.

    FILE is YAML or JSON; - is standard input. Ends like the plan.
    """
    text = read_plan_file(file)
    execution = open_farm().submit(text, key=key)
    for warning in execution.warnings:
        note(f"warning: {warning}")
    finish(execution, Wait(**wait))


@plan.command()
@_FILE
@json_option
def check(file: str) -> None:
    """Show what a plan would be, or every fault in it.

    FILE is YAML or JSON; - is standard input. Nothing is kept.
    """
    checked = open_farm().check(read_plan_file(file))
    if wants_json():
        print_json(checked)
        return
    rows = [
        [
            step["position"],
            step["id"],
            f"{step['tool']} {step['operation']}",
            step["effect"],
            "when due" if step["dynamic"] else ", ".join(step["targets"]) or "the farm",
            step["queue"],
        ]
        for step in checked["steps"]
    ]
    print_table(["#", "step", "tool", "effect", "targets", "queue"], rows)
    _note_warnings(checked)


@plan.command("dry-run")
@_FILE
@json_option
def dry_run(file: str) -> None:
    """Show the exact commands that a plan would run.

    FILE is YAML or JSON; - is standard input. Secrets are masked; nothing runs.
    """
    shown = open_farm().dry_run(read_plan_file(file))
    if wants_json():
        print_json(shown)
        return
    for step in shown["steps"]:
        workers = ", ".join(step["workers"]) or "no live worker"
        click.echo(
            f"step {step['position']} {step['id']}: {step['tool']} {step['operation']} "
            f"({step['effect']}), queue {step['queue']}, {workers}"
        )
        for command in step["commands"]:
            print_fields({f"  {command['target'] or 'the farm'}": command["command"]})
        if step["dynamic"]:
            click.echo("  holds expressions: rendered, checked and judged when it is due")
    _note_warnings(shown)


def _note_warnings(shown: dict[str, Any]) -> None:
    for warning in shown["warnings"]:
        note(f"warning: {warning}")


def read_plan_file(file: str) -> str:
    """The plan's text; faults are then shown with places in this file."""
    remember_source("standard input" if file == "-" else file)
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode()
    except OSError as error:
        raise click.BadParameter(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8 text") from error
