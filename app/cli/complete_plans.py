"""What the shell offers after <Tab> for plans: stored names, files, inputs and their choices."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from app.cli.ask import Offers, ask, offering
from app.plan_name import PlanName, read_plan_name
from tool_catalog.document import read_document


@offering
def complete_stored(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> Offers:
    """Stored plans; behind an @ their versions."""
    return _stored(incomplete)


@offering
def complete_plan(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Offers:
    """Files, and stored plans."""
    return [CompletionItem(incomplete, type="file"), *_stored(incomplete)]


@offering
def complete_input(context: click.Context, _parameter: click.Parameter, incomplete: str) -> Offers:
    """The inputs of the plan that stands on the line already, as `NAME=`; then their choices."""
    # Click stops reading at an option that still wants its value: the plan lies in `args` then.
    words = (context.params.get("plan"), context.params.get("file"), *context.args[-1:])
    plan = next(filter(None, words), None)
    inputs = _inputs_of(plan) if plan else {}
    name, equals, _ = incomplete.partition("=")
    if equals:
        return [f"{name}={choice}" for choice in _choices(inputs.get(name, {}))]
    return [
        CompletionItem(f"{each}=", help=str(asked.get("summary", "")))
        for each, asked in inputs.items()
    ]


def _stored(incomplete: str) -> Iterator[CompletionItem]:
    name, at, _ = incomplete.partition("@")
    if not at:
        for each in ask("/plans").get("plans", ()):
            yield CompletionItem(each["name"], help=each["note"])
    elif read_plan_name(name):
        for each in ask(f"/plans/{name}/versions").get("versions", ()):
            yield CompletionItem(str(PlanName(name, each["version"])), help=each["note"])


def _inputs_of(word: str) -> Mapping[str, Any]:
    if read_plan_name(word):
        inputs: Mapping[str, Any] = ask(f"/plans/{word}").get("inputs", {})
        return inputs
    return dict(read_document(Path(word).read_bytes(), source=word).value["inputs"])


def _choices(asked: Mapping[str, Any]) -> list[str]:
    return ["true", "false"] if asked.get("type") == "boolean" else list(asked.get("choices", ()))
