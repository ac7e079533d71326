"""`opsfarm executions resolve|resume|undo`: what a person does with one that stopped."""

from typing import Any

import click

from app.cli.complete import complete_execution
from app.cli.executions import executions
from app.cli.exits import Exit, exit_of
from app.cli.farm import open_farm
from app.cli.finish import Wait, finish, wait_options
from app.cli.interrupted import CHOICES
from app.cli.output import json_option, note, print_json, wants_json
from app.farm_execution import Execution, Resolution
from app.step import FINAL_EXECUTION_STATES

_ID = click.argument("execution_id", metavar="ID", shell_complete=complete_execution)


@executions.command()
@_ID
@click.argument("step")
@click.option("--as", "as_", type=click.Choice(list(CHOICES)), required=True, help="How it ended.")
@click.option("--target", help="Of a step that fanned out: on whom.")
@click.option("--reason", default="", help="How you know; kept with the step.")
@json_option
def resolve(execution_id: str, step: str, as_: Resolution, **said: str) -> None:
    """Say how an interrupted step ended.

    With `--as retry` it runs once more, with `--as probe` a worker looks whether its effect is
    there, and that decides: the one choice that needs no reason. STEP is its id or number, or
    row:N. Until then it holds its asset; 'opsfarm executions show ID' shows what there is to know.
    """
    if as_ != "probe" and not said["reason"].strip():
        raise click.UsageError(f"--as {as_} needs a reason: how you know (--reason TEXT)")
    execution = open_farm().execution(execution_id)
    shown = execution.resolve(step, as_, said["reason"], target=said["target"])
    tell_how_it_goes_on(execution, shown)


@executions.command()
@_ID
@click.option("--failed-only", is_flag=True, help="Only on the targets that failed.")
@click.option("--reason", default="", help="Kept with the execution.")
@wait_options
@json_option
def resume(execution_id: str, failed_only: bool, reason: str, **options: Any) -> None:  # noqa: ANN401  # the wait options
    """Let an execution go on where it first failed.

    It failed or was cancelled; what succeeded is not run again. 'opsfarm executions rerun' starts
    the whole plan anew.
    """
    execution = open_farm().execution(execution_id)
    execution = execution.resume(failed_only=failed_only, reason=reason)
    for warning in execution.warnings:
        note(f"warning: {warning}")
    finish(execution, Wait(**options))


@executions.command()
@_ID
@click.option("--reason", required=True, help="Why; kept with the execution.")
@wait_options
@json_option
def undo(execution_id: str, reason: str, **options: Any) -> None:  # noqa: ANN401  # the wait options
    """Reverse what an execution did, the last first.

    Steps whose tool declares no undo stay as they are, and are named.
    """
    execution = open_farm().execution(execution_id).undo(reason)
    finish(execution, Wait(**options))


def tell_how_it_goes_on(execution: Execution, shown: dict[str, Any]) -> None:
    """What a decision made of an execution; ends the command like it, if it is final."""
    if wants_json():
        print_json(shown)
    else:
        note(f"execution {execution.id}: {execution.state}")
    if execution.state not in FINAL_EXECUTION_STATES:
        note(f"  watch it: opsfarm executions watch {execution.id}")
        click.get_current_context().exit(Exit.SUCCEEDED)
    click.get_current_context().exit(exit_of(execution.state))
