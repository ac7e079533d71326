"""Asks the farm for what a shell offers: quickly, and never with an error."""

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from app.client import Farm
from app.errors import OpsfarmError

log = logging.getLogger(__name__)

#: How long a farm has to answer before nothing is offered.
PATIENCE_S = 1.0

Offers = Iterable[str | CompletionItem]
Complete = Callable[[click.Context, click.Parameter, str], Offers]


def open_quickly() -> Farm:
    """The farm, with little patience; raises FarmUnreachable."""
    return Farm(patience_s=PATIENCE_S)


def ask(path: str, **query: str | int) -> dict[str, Any]:
    """What the farm answers to a GET; nothing where it cannot."""
    try:
        with open_quickly() as farm:
            answer: dict[str, Any] = farm.http.get(path, timeout_s=PATIENCE_S, **query)
            return answer
    except OpsfarmError:
        return {}


def offering(complete: Complete) -> Callable[..., list[CompletionItem]]:
    """Keep what begins like the half-typed word; a bug offers nothing and says nothing."""

    @functools.wraps(complete)
    def offer(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            found = complete(context, parameter, incomplete)
            items = [CompletionItem(o) if isinstance(o, str) else o for o in found]
        except Exception:  # a traceback in the middle of somebody's command line helps nobody
            log.debug("no completion", exc_info=True)
            return []
        return [item for item in items if _fits(item, incomplete)]

    return offer


def _fits(item: CompletionItem, incomplete: str) -> bool:
    """A word with a blank would fall apart on the line."""
    value = str(item.value)
    return item.type != "plain" or (value.startswith(incomplete) and " " not in value)
