"""Which messages a worker lets in: those that Celery wrote for `run_step`, nothing else.

Celery trusts the headers of a message; some values of theirs end the worker (a list as an id),
others make it wait (an `eta`) or skip work (`expires`). A refused message costs nothing: the
ledger holds the step that it may have meant, and the dispatcher publishes that again.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from celery.worker import consumer
from kombu.exceptions import KombuError

from queues import RUN_STEP

log = logging.getLogger(__name__)

#: Headers that Celery sets only for features that opsfarm does not use.
_UNUSED = ("eta", "expires", "group", "stamps")
_LONGEST_ID = 64
#: Arguments, keywords, and what Celery embeds.
_PARTS = 3


class Consumer(consumer.Consumer):
    """Celery's consumer behind a door."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:  # noqa: ANN401  # Celery's signature
        """Celery's handler of messages, asked only for those that are ours."""
        handle = super().create_task_handler(*args, **kwargs)
        lost_connection = self.connection_errors  # type: ignore[attr-defined]  # set by Celery

        def let_in(message: Any) -> None:  # noqa: ANN401  # kombu's Message
            if is_ours(message):
                handle(message)
            else:
                log.error("refused a message that opsfarm did not write")
                message.reject_log_error(log, lost_connection)

        return let_in


def is_ours(message: Any) -> bool:  # noqa: ANN401  # kombu's Message
    """Whether a message is one that our publisher, or Celery for our chain, wrote."""
    is_json = message.content_type == "application/json" and message.content_encoding == "utf-8"
    return is_json and has_our_headers(message.headers) and is_our_body(_read_body(message))


def has_our_headers(headers: object) -> bool:
    """Whether these are the headers of a `run_step` message as Celery writes them."""
    if not isinstance(headers, Mapping):
        return False
    number, retries = headers.get("id"), headers.get("retries")
    return (
        headers.get("task") == RUN_STEP
        and isinstance(number, str)
        and 0 < len(number) <= _LONGEST_ID
        and retries in (None, 0)
        and headers.get("timelimit") in (None, [None, None])
        and not any(headers.get(name) for name in _UNUSED)
        and all(_is_text(headers.get(name)) for name in ("root_id", "parent_id", "shadow"))
    )


def is_our_body(body: object) -> bool:
    """Whether this is Celery's protocol 2: `[arguments, {}, {"chain": ..., ...}]`."""
    if not isinstance(body, list) or len(body) != _PARTS:
        return False
    arguments, keywords, embed = body
    return isinstance(arguments, list) and keywords == {} and isinstance(embed, Mapping)


def _read_body(message: Any) -> object:  # noqa: ANN401  # kombu's Message
    try:
        return message.payload
    except (KombuError, ValueError, LookupError):
        return None  # no JSON, not compressed as it says, ...: is_our_body refuses it


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)
