"""What a command prints: results on standard output, words about them on standard error."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_JSON = "opsfarm.json"
#: Of a pipe, where nothing should be cut.
_UNLIMITED_WIDTH = 100_000
_LONGEST_CELL = 200
#: Control characters but for tab and line feed: a remote text may not steer the terminal.
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
_CONTROLS |= {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """The option `--json`: results as JSON on standard output, everything else elsewhere."""
    option = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_remember_json,
        help="Print JSON on standard output.",
    )
    return option(command)


def _remember_json(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given:
        context.meta[_JSON] = True


def wants_json() -> bool:
    """Whether `--json` was given, here or before the command."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(_JSON))


def examples(*lines: str) -> str:
    """An epilog of a help text that keeps its lines."""
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])


def share_examples(group: click.Group) -> None:
    """Give each command of a group those examples of the group that are its own."""
    lines = [line.strip() for line in (group.epilog or "").splitlines()[2:]]
    for name, command in group.commands.items():
        own = [line for line in lines if f"opsfarm {group.name} {name}" in line]
        command.epilog = command.epilog or (examples(*own) if own else None)


def print_json(value: object) -> None:
    """A value as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_text(text: str) -> None:
    """A text as it is; on a terminal without what could steer it."""
    shown = text.translate(_CONTROLS) if sys.stdout.isatty() else text
    click.echo(shown, nl=bool(shown) and not shown.endswith("\n"))


def print_line(line: str) -> None:
    """One line on standard output: what a plan says in it can neither break nor steer it."""
    click.echo("".join(map(_make_visible, line)))


def _make_visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def note(line: str) -> None:
    """A line for people, on standard error."""
    click.echo(line.translate(_CONTROLS), err=True)


def make_console(*, stderr: bool = False) -> Console:
    """A console that cuts nothing when its output is not a terminal."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    return console


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows as a table; nothing but the header when there are none."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    make_console().print(table)


def note_more(shown: Sequence[Mapping[str, Any]], limit: int, key: str) -> None:
    """Say how a list that may have been cut goes on: behind the last one's `key`."""
    if len(shown) >= limit:
        note(f"there may be more: --before {shown[-1][key]}")


def print_records(records: Sequence[Mapping[str, Any]], order: Sequence[str] = ()) -> None:
    """Mappings as a table whose columns are their keys, those of `order` first."""
    keys = dict.fromkeys(key for record in records for key in record)
    columns = [*(key for key in order if key in keys), *(key for key in keys if key not in order)]
    print_table(columns, [[record.get(column) for column in columns] for record in records])


def print_fields(fields: Mapping[str, Any]) -> None:
    """One mapping as lines `name  value`."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {cell(value, longest=_UNLIMITED_WIDTH)}".rstrip())


def moment(value: str | None) -> str:
    """A moment of the farm's (ISO 8601, UTC) as people read it, to the second."""
    return value[:19].replace("T", " ") if value else ""


def cell(value: object, longest: int = _LONGEST_CELL) -> str:
    """A value in one cell: text as it is, the rest as JSON, cut when it is long."""
    if value is None:
        return ""
    is_text = isinstance(value, str)
    text = str(value) if is_text else json.dumps(value, ensure_ascii=False, default=str)
    text = text.translate(_CONTROLS)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def print_output(output: object, order: Sequence[str] = ()) -> None:
    """What a tool gave: lists of mappings and mappings as tables, text as it is.

    `order` names the columns as the tool declares them: the ledger does not keep it.
    """
    if isinstance(output, str):
        print_text(output)
    elif isinstance(output, list) and output and all(isinstance(item, dict) for item in output):
        print_records(output, order)
    elif isinstance(output, dict):
        first = {name: output[name] for name in order if name in output}
        print_fields(first | output)
    else:
        print_json(output)
