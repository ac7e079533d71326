"""How commands that submit end: detached, or like the execution they waited for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from app.cli.asked import note_waiting, offer_reason
from app.cli.exits import Exit
from app.cli.follow import follow
from app.cli.outcome_text import print_steps
from app.cli.output import note, print_json, wants_json
from app.farm_execution import Execution
from app.step import ExecutionState

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to stay with an execution."""

    detach: bool = False
    wait_s: float | None = None


def wait_options(command: Command) -> Command:
    """The options `--detach` and `--wait-s`."""
    command = click.option(
        "--wait-s", type=click.FloatRange(min=0), help="Wait at most so many seconds (end: 124)."
    )(command)
    return click.option("--detach", is_flag=True, help="Print the execution's id and end.")(command)


def finish(
    execution: Execution,
    wait: Wait,
    show: Callable[[Mapping[str, Any]], None] = print_steps,
    pick: Callable[[Mapping[str, Any]], object] = dict,
) -> None:
    """Follow an execution, print what it gave with `show`, and end the command like it.

    `pick` gives what `--json` prints: the execution itself, where nothing else is said.
    """
    if not execution.created:
        note(f"the key stands for execution {execution.id} already: nothing new was started")
    if wait.detach:
        _print_id(execution)
        return
    if execution.state == ExecutionState.WAITING:
        offer_reason(execution)
    status, shown = follow(execution, wait.wait_s)
    if wants_json():
        print_json(pick(shown))
    elif status is not Exit.INTERRUPTED:
        show(shown)
    click.get_current_context().exit(status)


def _print_id(execution: Execution) -> None:
    if wants_json():
        print_json(
            {
                "execution_id": execution.id,
                "state": execution.state,
                "delivery": execution.delivery,
                "warnings": list(execution.warnings),
            }
        )
        return
    click.echo(execution.id)
    if execution.state == ExecutionState.WAITING:
        note(f"execution {execution.id} waits for an approval")
        note_waiting(execution.status())
