"""Exit status that scripts can trust, and the words for what went wrong."""

from collections.abc import Sequence
from enum import IntEnum

import click

from app.cli.output import note, print_json, wants_json
from app.errors import (
    ConfigError,
    FarmUnreachable,
    Fault,
    Malformed,
    OpsfarmError,
    PlanRejected,
    Unavailable,
    UserError,
)
from app.problem import show_problem
from app.step import ExecutionState
from tool_catalog.model import CatalogError

#: Where the plan that is being sent came from: a file name, or none for what was typed.
_SOURCE = "opsfarm.plan_source"


class Exit(IntEnum):
    """What a command's end means; the same for every command."""

    SUCCEEDED = 0
    FAILED = 1
    REFUSED = 2
    NEEDS_A_PERSON = 3
    CANCELLED = 4
    UNREACHABLE = 5
    WAIT_ENDED = 124
    INTERRUPTED = 130


_OF_STATE = {
    ExecutionState.SUCCEEDED: Exit.SUCCEEDED,
    ExecutionState.FAILED: Exit.FAILED,
    ExecutionState.CANCELLED: Exit.CANCELLED,
    ExecutionState.WAITING: Exit.NEEDS_A_PERSON,
    ExecutionState.ATTENTION: Exit.NEEDS_A_PERSON,
    ExecutionState.RUNNING: Exit.WAIT_ENDED,
}


def exit_of(state: str) -> Exit:
    """The exit status that an execution's state stands for."""
    return _OF_STATE[ExecutionState(state)]


def remember_source(source: str) -> None:
    """Faults of the plan sent next are shown with places in this file."""
    click.get_current_context().meta[_SOURCE] = source


def report(error: OpsfarmError | CatalogError) -> Exit:
    """Tell the user on standard error (and as JSON on request); gives the exit status."""
    if isinstance(error, UserError | Unavailable) and wants_json():
        print_json(show_problem(error))
    faults = error.faults if isinstance(error, PlanRejected | Malformed) else ()
    unread = isinstance(error, Malformed) and faults
    note(f"opsfarm: {'it cannot be read' if unread else error}" + (":" if faults else ""))
    source = getattr(error, "plan", None) or click.get_current_context().meta.get(_SOURCE)
    for line in fault_lines(faults, source):
        note(line)
    hint = getattr(error, "hint", None)
    if hint:
        note(f"  {hint}")
    return _exit_of_error(error)


def _exit_of_error(error: Exception) -> Exit:
    if isinstance(error, FarmUnreachable | Unavailable):
        return Exit.UNREACHABLE
    refused = isinstance(error, UserError | ConfigError | CatalogError)
    return Exit.REFUSED if refused else Exit.FAILED


def fault_lines(faults: Sequence[Fault], source: str | None) -> list[str]:
    """One line per fault: `plan.yaml:7:5 step 3 (df): no parameter 'dpeth'; did you mean ...?`."""
    return [_fault_line(fault, source) for fault in faults]


def _fault_line(fault: Fault, source: str | None) -> str:
    place = ""
    if source:
        numbers = (fault.line, fault.column) if fault.line else ()
        place = ":".join([source, *(str(number) for number in numbers)]) + " "
    where = f"step {fault.step}: " if fault.step else f"{fault.path}: " if fault.path else ""
    return f"{place}{where}{fault.message}" + (f"; {fault.hint}" if fault.hint else "")
