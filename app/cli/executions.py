"""`opsfarm executions`: list, show, watch, cancel and rerun."""

from collections.abc import Mapping
from typing import Any

import click

from app.cli.asked import note_waiting, reason_option
from app.cli.complete import complete_execution
from app.cli.exits import Exit
from app.cli.farm import open_farm
from app.cli.finish import Wait, finish, wait_options
from app.cli.interrupted import note_interrupted
from app.cli.outcome_text import print_results, print_steps
from app.cli.output import (
    examples,
    json_option,
    moment,
    note,
    note_more,
    print_fields,
    print_json,
    print_table,
    wants_json,
)
from app.plan_name import PlanName
from app.step import FINAL_EXECUTION_STATES, ExecutionState

_ID = click.argument("execution_id", metavar="ID", shell_complete=complete_execution)
_HEAD = (
    "execution_id",
    "name",
    "state",
    "delivery",
    "principal",
    "reason",
    "source",
    "plan",
    "rerun_of",
    "reruns",
    "created_at",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "cancelled_by",
    "cancel_reason",
)


@click.group(
    epilog=examples(
        "opsfarm executions list --state failed",
        "opsfarm executions list --before 2026-03-02T00:00:00Z --json",
        "opsfarm executions show 0197c0de",
        "opsfarm executions show 0197c0de --step disk",
        "opsfarm executions watch 0197c0de",
        'opsfarm executions cancel 0197c0de --reason "wrong host"',
        'opsfarm executions resolve 0197c0de restart --as succeeded --reason "it runs again"',
        "opsfarm executions resume 0197c0de",
        "opsfarm executions rerun 0197c0de --failed-only",
        'opsfarm executions undo 0197c0de --reason "not on these hosts"',
        'opsfarm executions approve 0197c0de --reason "agreed with ann"',
        'opsfarm executions reject 0197c0de restart --reason "not before six"',
    )
)
def executions() -> None:
    """Executions: what was run, what runs now.

    ID is the execution's id or a unique beginning of it, of 8 characters or more.
    """


@executions.command("list")
@click.option(
    "--state",
    type=click.Choice([state.value for state in ExecutionState]),
    help="Only those in this state.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)
@click.option("--before", help="Only those created before this moment (ISO 8601).")
@json_option
def list_(state: str | None, limit: int, before: str | None) -> None:
    """The newest executions."""
    shown = open_farm().executions(state=state, limit=limit, before=before)
    if wants_json():
        print_json({"executions": shown})
        return
    rows = [
        [
            entry["execution_id"],
            entry["name"],
            entry["state"],
            entry["principal"],
            moment(entry["created_at"]),
            moment(entry["finished_at"]),
        ]
        for entry in shown
    ]
    print_table(["execution", "name", "state", "principal", "created (UTC)", "finished"], rows)
    note_more(shown, limit, "created_at")


@executions.command()
@_ID
@click.option("--step", help="Only this step, by number or id, with all its output.")
@json_option
def show(execution_id: str, step: str | None) -> None:
    """One execution with its steps."""
    shown = open_farm().execution(execution_id).status()
    chosen = _find_step(shown, step) if step else None
    if wants_json():
        print_json(chosen or shown)
    elif chosen:
        print_results(chosen)
        note_interrupted({**shown, "steps": [chosen]})
    else:
        print_fields(_head_of(shown))
        click.echo()
        print_steps(shown)
        if shown["delivery"] == "delayed":
            note("delivery is delayed: the broker does not answer, or others are ahead")
        note_waiting(shown)


def _head_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an execution beside its steps."""
    stored = shown["plan"]
    written = {
        "plan": str(PlanName(**stored)) if stored else None,
        "reruns": ", ".join(shown["reruns"]),
    }
    head = {name: written.get(name, shown.get(name)) for name in _HEAD}
    return {name: value for name, value in head.items() if value}


def _find_step(execution: Mapping[str, Any], wanted: str) -> dict[str, Any]:
    for step in execution["steps"]:
        if wanted in {str(step["position"]), step["id"]}:
            return dict(step)
    known = ", ".join(step["id"] for step in execution["steps"][:20])
    raise click.BadParameter(f"no step {wanted[:80]!r}; there are: {known}")


@executions.command()
@_ID
@click.option("--wait-s", type=click.FloatRange(min=0), help="Watch at most so long (end: 124).")
@json_option
def watch(execution_id: str, wait_s: float | None) -> None:
    """Follow an execution to its end, and end like it."""
    finish(open_farm().execution(execution_id), Wait(wait_s=wait_s))


@executions.command()
@_ID
@click.option(
    "--reason",
    default="asked for on the command line",
    show_default=True,
    help="Kept with the execution.",
)
@json_option
def cancel(execution_id: str, reason: str) -> None:
    """Stop an execution.

    Queued steps end at once, running ones as soon as they can be ended; `finally` runs. A second
    cancel stops `finally`, too.
    """
    execution = open_farm().execution(execution_id)
    shown = execution.cancel(reason)
    if wants_json():
        print_json(shown)
    else:
        note(f"execution {execution.id}: {execution.state}")
    if execution.state not in FINAL_EXECUTION_STATES:
        note(f"  its running steps are being ended: opsfarm executions watch {execution.id}")
    click.get_current_context().exit(Exit.SUCCEEDED)


@executions.command()
@_ID
@click.option(
    "--failed-only",
    is_flag=True,
    help="Only on targets that failed, were cancelled or interrupted.",
)
@click.option("--key", help="Your key: the same key never runs it twice.")
@reason_option
@wait_options
@json_option
def rerun(execution_id: str, failed_only: bool, **options: Any) -> None:  # noqa: ANN401  # key, reason and the wait options
    """Run a final execution's plan again, and follow it.

    It has the same inputs and limit, and a new id; steps without targets always run again.
    """
    again = {name: options.pop(name) for name in ("key", "reason")}
    execution = open_farm().execution(execution_id).rerun(failed_only=failed_only, **again)
    for warning in execution.warnings:
        note(f"warning: {warning}")
    finish(execution, Wait(**options))
