"""`opsfarm plans`: plans that the farm keeps, version by version."""

from difflib import unified_diff
from pathlib import Path
from typing import Any

import click

from app.cli.complete_plans import complete_plan, complete_stored
from app.cli.farm import open_farm
from app.cli.output import (
    examples,
    json_option,
    moment,
    note,
    print_json,
    print_table,
    print_text,
    wants_json,
)
from app.cli.plan_source import is_file_name, open_file, open_plan
from app.client import Farm
from app.errors import NotFound
from app.plan_name import PlanName, read_plan_name
from tool_catalog.document import DocumentError, read_document


@click.group(
    epilog=examples(
        "opsfarm plans save nightly.yaml",
        'opsfarm plans save checks.yaml --name nightly --note "also /var"',
        "opsfarm plans list",
        "opsfarm plans show nightly@3 > nightly.yaml",
        "opsfarm plans diff nightly@2 nightly@3",
        "opsfarm plans diff nightly nightly.yaml",
    )
)
def plans() -> None:
    """Stored plans: saved as versions that never change.

    NAME is the newest version, NAME@3 the third. 'opsfarm plan run NAME' runs one.
    """


@plans.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--name", help="What to store it as; left out: the plan's name, else the file's.")
@click.option("--note", default="", help="A word on what changed; kept with the version.")
@json_option
def save(file: str, name: str | None, note: str) -> None:
    """Check the plan in FILE and store it as the newest version.

    FILE is YAML or JSON; - is standard input. The text is kept as it is. Saving what the newest
    version holds changes nothing.
    """
    source = open_file(file)
    name = name or _choose_name(source.given, file)
    saved = open_farm().plans.save(source.given, name, note)
    _tell_saved(saved)


def _choose_name(text: str, file: str) -> str | None:
    """None leaves it to the plan's own name; else the file's, where a plan may be called so."""
    try:
        own = read_document(text, source=file).value["name"]
    except (DocumentError, KeyError, TypeError):
        own = None
    stem = Path(file).stem
    return None if own is not None or read_plan_name(stem) is None else stem


def _tell_saved(saved: dict[str, Any]) -> None:
    if wants_json():
        print_json(saved)
        return
    for warning in saved["warnings"]:
        note(f"warning: {warning}")
    version = PlanName(saved["name"], saved["version"])
    note("saved" if saved["created"] else "nothing changed since")
    click.echo(str(version))


@plans.command("list")
@click.argument("name", required=False, shell_complete=complete_stored)
@json_option
def list_(name: str | None) -> None:
    """The newest version of each plan, or every version of NAME."""
    farm = open_farm()
    found = farm.plans.versions(name) if name else farm.plans.list()
    if wants_json():
        print_json({"versions" if name else "plans": found})
        return
    rows = [
        [
            str(PlanName(each["name"], each["version"])),
            each["saved_by"],
            moment(each["saved_at"]),
            ", ".join(each["changed_tools"]),
            each["note"],
        ]
        for each in found
    ]
    print_table(["plan", "saved by", "at (UTC)", "tools changed since", "note"], rows)


@plans.command()
@click.argument("name", shell_complete=complete_stored)
@json_option
def show(name: str) -> None:
    """Print the text of NAME or NAME@VERSION as it was saved."""
    shown = open_farm().plans.show(name)
    if wants_json():
        print_json(shown)
        return
    by = f"saved by {shown['saved_by']} at {moment(shown['saved_at'])} UTC"
    note(f"{PlanName(shown['name'], shown['version'])}, {by}" + f": {shown['note']}".rstrip(": "))
    for tool in shown["changed_tools"]:
        note(f"{tool} changed since")
    print_text(shown["text"])


@plans.command()
@click.argument("first", shell_complete=complete_stored)
@click.argument("second", required=False, shell_complete=complete_plan)
@json_option
def diff(first: str, second: str | None) -> None:
    """Show how SECOND differs from FIRST, as a unified diff of their texts.

    FIRST is NAME or NAME@VERSION; SECOND is that or a file. Without SECOND a version is held
    against the newest, and the newest against the one before.
    """
    farm = open_farm()
    old, new = _find_two(farm, first, second)
    lines = list(unified_diff(_lines(old[1]), _lines(new[1]), old[0], new[0]))
    if wants_json():
        print_json({"from": old[0], "to": new[0], "diff": "".join(lines)})
        return
    if not lines:
        note(f"{old[0]} and {new[0]} are the same")
    for line in lines:
        print_text(line)


def _find_two(farm: Farm, first: str, second: str | None) -> tuple[tuple[str, str], ...]:
    """(name, text) of both, the older first."""
    if second is None:
        wanted = read_plan_name(first)
        if wanted is not None and wanted.version is None:
            first = _name_before_newest(farm, wanted.name)
        second = first.partition("@")[0]
    return _read(farm, first), _read(farm, second)


def _name_before_newest(farm: Farm, name: str) -> str:
    versions = farm.plans.versions(name)
    if len(versions) == 1:
        raise NotFound(f"{name} has only one version", hint=f"hold it against a file: {name} FILE")
    return str(PlanName(name, versions[1]["version"]))


def _read(farm: Farm, word: str) -> tuple[str, str]:
    if is_file_name(word):
        return word, open_plan(word).given
    shown = farm.plans.show(word)
    return str(PlanName(shown["name"], shown["version"])), shown["text"]


def _lines(text: str) -> list[str]:
    """Lines with their ends; the last one, too, so that a diff never runs two together."""
    return (text if text.endswith("\n") else f"{text}\n").splitlines(keepends=True)
