"""`opsfarm approvals`, and `opsfarm executions approve|reject`."""

import sys
from typing import Any

import click

from app.cli.asked import print_approval, tell_need
from app.cli.complete import complete_execution
from app.cli.executions import executions
from app.cli.farm import open_farm
from app.cli.output import (
    examples,
    json_option,
    moment,
    note,
    note_more,
    print_json,
    print_line,
    print_table,
    wants_json,
)
from app.farm_execution import Execution

_ID = click.argument("execution_id", metavar="ID", shell_complete=complete_execution)
#: The fewest characters of an execution's id; fewer digits are an approval's number.
_SHORTEST_ID = 8
_STEP = click.argument("step", required=False, metavar="[STEP]")


@click.group(
    epilog=examples(
        "opsfarm approvals list",
        "opsfarm approvals list --all",
        "opsfarm approvals show 0197c0de",
    )
)
def approvals() -> None:
    """Approvals: what waits for a yes before it runs.

    'opsfarm executions approve ID' says it, 'opsfarm executions reject ID' says no.
    """


@approvals.command("list")
@click.option("--all", "everything", is_flag=True, help="Decided ones, too.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)
@click.option("--before", type=click.IntRange(min=1), help="Only lower numbers: the next page.")
@json_option
def list_(everything: bool, limit: int, before: int | None) -> None:
    """What waits for a yes, the newest first."""
    found = open_farm().approvals(everything=everything, limit=limit, before=before)
    if wants_json():
        print_json({"approvals": found})
        return
    rows = [
        [
            each["id"],
            each["execution_id"],
            each["name"],
            each["principal"],
            ", ".join(map(_name_step, each["steps"])),
            _tell(each),
            moment(each["expires_at"]),
        ]
        for each in found
    ]
    columns = ["#", "execution", "name", "asked by", "steps", "needs", "until (UTC)"]
    print_table(columns, rows)
    note_more(found, limit, "id")


@approvals.command()
@click.argument("given", metavar="ID", shell_complete=complete_execution)
@json_option
def show(given: str) -> None:
    """Exactly what an execution asked for.

    Each approval with its commands, targets and credentials, and what became of it. ID is the
    execution's id, or the number of one approval.
    """
    farm = open_farm()
    by_number = given.isdecimal() and len(given) < _SHORTEST_ID
    found = [farm.approval(int(given))] if by_number else farm.execution(given).approvals()
    if wants_json():
        print_json({"approvals": found})
        return
    for each in found:
        print_approval(each)
        if each["decision"]:
            print_line(_tell(each))
    if not found:
        note(f"execution {given} asked for no approval")


@executions.command()
@_ID
@_STEP
@click.option("--reason", help="Why; a terminal asks for it.")
@click.option("--digest", help="Of the approval that was looked at: any other is refused.")
@json_option
def approve(execution_id: str, step: str | None, **said: str | None) -> None:
    """Say yes to what an execution waits with.

    STEP, a number or id, is needed where several approvals wait. What is approved is shown.
    """
    execution = open_farm().execution(execution_id)
    digest = said["digest"] or _show_meant(execution, step)
    reason = said["reason"] or _ask_reason()
    _finish(execution, execution.approve(reason, step=step, digest=digest))


@executions.command()
@_ID
@_STEP
@click.option("--reason", required=True, help="Why not; kept with the execution.")
@json_option
def reject(execution_id: str, step: str | None, reason: str) -> None:
    """Say no to what an execution waits with.

    It is cancelled; where nothing of the plan had begun, all of it is.
    """
    execution = open_farm().execution(execution_id)
    _finish(execution, execution.reject(reason, step=step))


def _show_meant(execution: Execution, step: str | None) -> str | None:
    """Print the one approval that waits and give its digest; None leaves it to the farm."""
    waiting = [
        each
        for each in execution.approvals()
        if each["decision"] is None
        and (step is None or any(step in _names(asked) for asked in each["shown"]["steps"]))
    ]
    if len(waiting) != 1:
        return None
    if not wants_json():
        print_approval(waiting[0])
    return str(waiting[0]["digest"])


def _name_step(step: dict[str, Any]) -> str:
    count = step["targets"]
    return str(step["id"]) + (f" ({count} targets)" if count > 1 else "")


def _names(step: dict[str, Any]) -> set[str]:
    return {str(step["position"]), step["id"]}


def _ask_reason() -> str:
    if wants_json() or not sys.stdin.isatty():
        return ""
    return str(click.prompt("Why", default="", show_default=False, err=True)).strip()


def _finish(execution: Execution, shown: dict[str, Any]) -> None:
    if wants_json():
        print_json(shown)
        return
    note(f"execution {execution.id}: {execution.state}")
    for each in shown["approvals"]:
        note(f"  still needs {tell_need(each)}")


def _tell(approval: dict[str, Any]) -> str:
    """Whose yes it needs, or what became of it."""
    if approval["decision"] is None:
        return tell_need(approval)
    by = f" by {approval['decided_by']}" if approval["decided_by"] else ""
    why = f": {approval['reason']}" if approval["reason"] else ""
    return f"{approval['decision']}{by}{why}"
