"""kombu's Redis transport, without work that a message does not need.

Registered under the usual URL schemes, so that broker URLs stay what people know.
"""

import logging
from collections.abc import Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

log = logging.getLogger(__name__)


class QoS(kombu_redis.QoS):
    """Acknowledges only what is waiting for it.

    kombu takes each message of a `no_ack` queue off a list of unacknowledged messages that it
    never put it on (MULTI, ZREM, HDEL, EXEC): four commands a step for nothing.
    """

    def ack(self, delivery_tag: str) -> None:
        """Take a delivered message off Redis' list; nothing for one that is not on it."""
        if self._delivered and delivery_tag in self._delivered:
            super().ack(delivery_tag)


class Channel(kombu_redis.Channel):
    """A channel with our acknowledgement, and with one client instead of one a message.

    redis-py's client is a thin object over the connection pool, but making one costs a tenth of
    what a step costs a worker.
    """

    QoS = QoS
    _kept_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401  # kombu's word
        """The client over the channel's pool, made anew when that was (a lost connection)."""
        make = super()._create_client  # type: ignore[misc]  # kombu's stubs leave it out
        if asynchronous:  # the consumer's own: it belongs to one connection
            return make(asynchronous=True)
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = make()
        return self._kept_client

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401  # kombu's word
        """Take a message; one that is no JSON is dropped instead of ending the worker."""
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # kombu's stubs leave it out
        except ValueError:  # what the decoders of UTF-8, JSON and base64 raise
            log.error("dropped a message that could not be read")  # noqa: TRY400  # not our error
            return True


class Transport(kombu_redis.Transport):
    """What `redis://` and `rediss://` stand for in this process."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str | None) -> None:  # noqa: ANN401  # any JSON
        """Hand a message on; one that kombu could not open is dropped.

        kombu and Celery take a message's shape for granted, and what breaks it ends the worker.
        The ledger holds the step that a dropped message may have meant: it is published again.
        """
        if _is_message(message):
            super()._deliver(message, queue)
        else:
            log.error("dropped a malformed message in %s: %s", queue, type(message).__name__)


def _is_message(message: object) -> bool:
    """Whether the envelope is what kombu writes: mappings, a tag, a body in text."""
    if not isinstance(message, Mapping):
        return False
    properties, headers = message.get("properties"), message.get("headers")
    if not isinstance(properties, Mapping) or not isinstance(headers, Mapping):
        return False
    return (
        isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), Mapping)
        and properties.get("body_encoding") in (None, "base64")  # any value may stand there
        and isinstance(message.get("body"), str)
    )


def register_transport() -> None:
    """Let kombu find our transport under Redis' URL schemes."""
    place = f"{Transport.__module__}:{Transport.__qualname__}"
    TRANSPORT_ALIASES.update(redis=place, rediss=place)
