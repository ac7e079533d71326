"""`opsfarm assets import`: a file of assets against the inventory, and on request into it."""

import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click

from app.cli.exits import remember_source
from app.cli.farm import open_farm
from app.cli.output import cell, json_option, note, print_json, wants_json
from app.errors import Malformed
from app.imports.findings import AssetDraft, Findings
from app.imports.reading import FORMATS, read_assets

_NOTHING = "(nothing)"
_BESIDE = ("group_vars", "host_vars")
_SHOWN_NAMES = 20


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Left out: told by the file.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Host names such as 'web-*'.")
@click.option("--apply", is_flag=True, help="Write it: all assets or none.")
@json_option
def import_(file: str, format_: str | None, only: tuple[str, ...], *, apply: bool) -> None:
    """Compare a file with the inventory; --apply writes it.

    Reads Ansible inventories (INI, YAML, JSON), CSV with a header, and ssh_config. FILE may be -.
    No asset is ever removed.
    """
    remember_source(file)
    findings = _read(file, format_)
    drafts = [draft for draft in findings.drafts if _is_asked(draft.hostname, only)]
    _say_what_is_left_out(file, findings)
    _note_beside(file, findings)
    if not drafts:
        raise click.UsageError(f"no host of {file} fits {' '.join(only)}")
    answer = _send(drafts, findings.owned_tags, apply=apply)
    if wants_json():
        print_json(answer)
    else:
        _print(answer, file)
    if not apply and (answer["new"] or answer["changed"]):
        note("nothing is written yet; --apply writes it")
    elif apply and answer["new"]:
        _say_how_to_go_on(answer["new"])


def _read(file: str, format_: str | None) -> Findings:
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    findings = read_assets(content, file, format_)
    if findings.faults:
        raise Malformed("the file cannot be imported", faults=findings.faults)
    return findings


def _is_asked(hostname: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatch(hostname, pattern.lower()) for pattern in only)


def _say_what_is_left_out(file: str, findings: Findings) -> None:
    """One line for each thing, with the first place of it."""
    places: dict[str, list[int]] = {}
    for left_out in findings.notes:
        places.setdefault(left_out.text, []).append(left_out.line)
    for text, lines in places.items():
        more = f" (and in {len(lines) - 1} more lines)" if len(lines) > 1 else ""
        note(f"{file}:{lines[0]}: {text}{more}")


def _note_beside(file: str, findings: Findings) -> None:
    """Ansible would read these folders too; its own program prints all of it in one file."""
    if file == "-" or findings.owned_tags is None:
        return
    for folder in _BESIDE:
        if (Path(file).parent / folder).is_dir():
            note(
                f"{file}: {folder}/ beside it is not read; to have its values, import what "
                f"'ansible-inventory -i {file} --list' prints"
            )


def _send(drafts: Sequence[AssetDraft], owned_tags: str | None, *, apply: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "assets": [{"hostname": draft.hostname, "fields": dict(draft.fields)} for draft in drafts],
        "apply": apply,
    }
    if owned_tags:
        body["owned_tags"] = owned_tags
    answer: dict[str, Any] = open_farm().http.post("/assets/import", body)
    return answer


def _print(answer: Mapping[str, Any], file: str) -> None:
    for hostname, fields in answer["new"].items():
        click.echo(f"new      {hostname}")
        for path, value in _flatten(fields):
            click.echo(f"           {path}: {cell(value)}")
    for hostname, changes in answer["changed"].items():
        click.echo(f"changed  {hostname}")
        for path, change in changes.items():
            before, after = (_say(change[when]) for when in ("before", "after"))
            click.echo(f"           {path}: {before} -> {after}")
    note(
        f"{len(answer['new'])} new, {len(answer['changed'])} changed, "
        f"{len(answer['unchanged'])} unchanged" + (", written" if answer["applied"] else "")
    )
    if answer["not_in_file"]:
        note(f"not in {file}, and left alone: {_names(answer['not_in_file'])}")


def _flatten(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        pair
        for name, value in fields.items()
        for pair in (
            [(f"{name}.{key}", inner) for key, inner in value.items()]
            if isinstance(value, Mapping)
            else [(name, value)]
        )
    ]


def _say(value: object) -> str:
    return _NOTHING if value is None else cell(value)


def _names(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _say_how_to_go_on(new: Mapping[str, Mapping[str, Any]]) -> None:
    users = {fields.get("connection", {}).get("user") for fields in new.values()}
    user = users.pop() if len(users) == 1 else None
    selector = next(iter(new)) if len(new) == 1 else "SELECTOR"
    login = f"opsfarm credentials add NAME --asset {selector} --user {user or 'USER'}"
    note(f"next: {login}")
    note(f"      opsfarm assets trust {selector}")
    note(f"      opsfarm assets test {selector}")
