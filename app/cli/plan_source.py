"""Where a command's plan comes from: a file, standard input, or the farm's stored ones."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from app.cli.complete import complete_target
from app.cli.complete_plans import complete_input, complete_plan
from app.cli.exits import remember_source
from app.cli.output import note
from app.cli.values import read_settings
from app.client import Farm
from app.plan_name import is_plan_text, read_plan_name
from tool_catalog.document import DocumentError, read_document

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PlanSource:
    """A plan as the farm takes it: its text, or the name of a stored one."""

    given: str
    stored: bool

    def read_inputs(self, farm: Farm, pairs: Sequence[str]) -> dict[str, Any]:
        """Values for its inputs; asks the farm what a stored plan asks for."""
        if not pairs:
            return {}
        asked = farm.plans.show(self.given)["inputs"] if self.stored else _inputs_of(self.given)
        return read_settings(pairs, asked)


def plan_argument(command: Command) -> Command:
    """The argument PLAN."""
    argument = click.argument("plan", metavar="PLAN", shell_complete=complete_plan)
    return argument(command)


def given_options(command: Command) -> Command:
    """The options `--set` and `--limit`: what a plan is run with."""
    command = click.option(
        "--limit",
        metavar="SELECTOR",
        shell_complete=complete_target,
        help="Act on nothing outside of this: web-01,web-02 or environment=staging,!web-03.",
    )(command)
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        shell_complete=complete_input,
        help="Give an input its value; NAME=a,b for a list, NAME:=JSON, NAME=@FILE; repeatable.",
    )(command)


def open_plan(word: str) -> PlanSource:
    """What a word on the command line means; raises click.BadParameter for an unreadable file."""
    if word != "-" and not is_file_name(word):
        if Path(word).is_file():
            note(f"{word} is the stored plan; the file of that name is ./{word}")
        return PlanSource(word, stored=True)
    return open_file(word)


def open_file(file: str) -> PlanSource:
    """The plan in a file, - is standard input; raises click.BadParameter when it is unreadable."""
    text = _read_file(file)
    # The line break: what a file holds is never the name of a stored plan.
    return PlanSource(text if is_plan_text(text) else f"{text}\n", stored=False)


def is_file_name(word: str) -> bool:
    """Whether a word means a file: by a separator, an extension, or as no plan is named so."""
    return "/" in word or bool(Path(word).suffix) or read_plan_name(word) is None


def _read_file(file: str) -> str:
    """The plan's text; faults are then shown with places in this file."""
    remember_source("standard input" if file == "-" else file)
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode()
    except OSError as error:
        raise click.BadParameter(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8 text") from error


def _inputs_of(text: str) -> Mapping[str, Any]:
    """What the plan of a text asks for; the farm tells what is wrong with the text."""
    try:
        document = read_document(text, source="plan").value
    except DocumentError:
        return {}
    inputs = document.get("inputs") if isinstance(document, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}
