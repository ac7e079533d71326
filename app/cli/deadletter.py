"""`opsfarm deadletter`: failed and interrupted steps that nobody has seen to yet."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from app.cli.decisions import tell_how_it_goes_on
from app.cli.farm import open_farm
from app.cli.interrupted import note_interrupted
from app.cli.outcome_text import print_results
from app.cli.output import (
    cell,
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
from app.farm_execution import Execution
from tool_catalog.model import Reason

_ROW = click.argument("row", type=click.IntRange(min=1), metavar="ROW")
_WHY = click.option("--reason", required=True, help="Why; kept with the step.")
_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_COLUMNS = ("step_id", "execution_id", "id", "tool", "target", "state", "reason", "at", "summary")


def _read_since(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> str | None:
    """A moment (ISO 8601), or how long ago it was."""
    ago = _AGO.fullmatch(given or "")
    if ago is None:
        return given if given is None else _check_moment(given)
    return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()


def _check_moment(given: str) -> str:
    try:
        return datetime.fromisoformat(given).isoformat()
    except ValueError:
        raise click.BadParameter(f"{given!r} is no moment: ISO 8601, or 30m, 24h, 7d ago") from None


@click.group(
    epilog=examples(
        "opsfarm deadletter list",
        "opsfarm deadletter list --reason worker_lost --tool systemctl --since 24h",
        "opsfarm deadletter show 4711",
        'opsfarm deadletter requeue 4711 --reason "the disk is mended"',
        'opsfarm deadletter discard 4711 --reason "that host is gone"',
    )
)
def deadletter() -> None:
    """Dead letters: steps that failed or were interrupted.

    Each is listed until somebody sees to it.

    ROW is the number of one step on one target, as the list shows it.
    """


@deadletter.command("list")
@click.option("--reason", type=click.Choice([each.value for each in Reason]), help="That ended so.")
@click.option("--tool", help="Of this tool.")
@click.option("--target", help="On this target.")
@click.option("--since", callback=_read_since, help="Since then: ISO 8601, or 30m, 24h, 7d ago.")
@click.option("--before", type=click.IntRange(min=1), help="Only lower numbers: the next page.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)
@json_option
def list_(**filters: Any) -> None:  # noqa: ANN401  # the options
    """The newest dead letters."""
    letters = open_farm().dead_letters.list(**filters)
    if wants_json():
        print_json({"letters": letters})
        return
    rows = [
        [moment(letter[name]) if name == "at" else letter[name] for name in _COLUMNS]
        for letter in letters
    ]
    head = ["row", "execution", "step", "tool", "target", "state", "reason", "at (UTC)", "summary"]
    print_table(head, rows)
    note_more(letters, filters["limit"], "step_id")


@deadletter.command()
@_ROW
@json_option
def show(row: int) -> None:
    """One step on one target: what it left behind, and its history."""
    letter = open_farm().dead_letters.show(row)
    if wants_json():
        print_json(letter)
        return
    head = ("step_id", "execution_id", "name", "execution_state", "principal", "discarded_at")
    print_fields({name: letter[name] for name in head if letter[name] is not None})
    click.echo()
    for event in letter["history"]:
        click.echo(_tell_event(event))
    click.echo()
    print_results(letter["step"])
    note_interrupted({"execution_id": letter["execution_id"], "steps": [letter["step"]]})


def _tell_event(event: Mapping[str, Any]) -> str:
    """When, what, who, why."""
    by = f" by {event['actor']}" if event["actor"] else ""
    data = event["data"]
    why = data.get("why") or data.get("resolved", {}).get("why") or _tell_probe(data)
    why = why or data.get("summary") or ""
    return f"{moment(event['at'])}  {event['kind']}{by}  {cell(why)}".rstrip()


def _tell_probe(data: Mapping[str, Any]) -> str:
    found = data.get("probe")
    return f"{found['found']}: {found['why']}" if found else ""


@deadletter.command()
@_ROW
@_WHY
@json_option
def requeue(row: int, reason: str) -> None:
    """Run a failed or interrupted step again.

    What was skipped because of it runs, too, once nothing else stops the plan.
    """
    farm = open_farm()
    shown = farm.dead_letters.requeue(row, reason)
    tell_how_it_goes_on(Execution(farm.http, shown), shown)


@deadletter.command()
@click.argument("rows", type=click.IntRange(min=1), metavar="ROW...", nargs=-1, required=True)
@_WHY
@json_option
def discard(rows: tuple[int, ...], reason: str) -> None:
    """Take failed steps from the list; they stay failed."""
    farm = open_farm()
    letters = [farm.dead_letters.discard(row, reason) for row in rows]
    if wants_json():
        print_json({"letters": letters})
        return
    for letter in letters:
        note(f"step {letter['step_id']} is discarded")
