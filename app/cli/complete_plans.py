"""What the shell offers after <Tab> for plans: stored names, files, names of inputs."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from app.cli.ask import open_quickly
from app.errors import OpsfarmError
from app.plan_name import read_plan_name
from tool_catalog.document import DocumentError, read_document


def complete_stored(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Stored plans, behind an @ their versions; nothing when no farm answers."""
    name, at, _ = incomplete.partition("@")
    try:
        with open_quickly() as farm:
            found = farm.plans.versions(name) if at else farm.plans.list()
    except OpsfarmError:
        return []
    names = [(f"{v['name']}@{v['version']}" if at else v["name"], v["note"]) for v in found]
    return [CompletionItem(n, help=help_) for n, help_ in names if n.startswith(incomplete)]


def complete_plan(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files, and stored plans."""
    file = CompletionItem(incomplete, type="file")
    return [file, *complete_stored(context, parameter, incomplete)]


def complete_input(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The inputs of the plan that stands on the line already, as `NAME=`."""
    plan = context.params.get("plan") or context.params.get("file")
    return [
        CompletionItem(f"{name}=", help=str(asked.get("summary", "")))
        for name, asked in (_inputs_of(plan) if plan else {}).items()
        if isinstance(asked, dict) and name.startswith(incomplete)
    ]


def _inputs_of(word: str) -> dict[str, object]:
    try:
        if read_plan_name(word):
            with open_quickly() as farm:
                return dict(farm.plans.show(word)["inputs"])
        return dict(read_document(Path(word).read_bytes(), source=word).value["inputs"])
    except (OpsfarmError, DocumentError, OSError, KeyError, TypeError, ValueError):
        return {}
