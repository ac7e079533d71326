"""kombu's Redis transport, without work that a message does not need.

Registered under the usual URL schemes, so that broker URLs stay what people know.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


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


class Transport(kombu_redis.Transport):
    """What `redis://` and `rediss://` stand for in this process."""

    Channel = Channel


def register_transport() -> None:
    """Let kombu find our transport under Redis' URL schemes."""
    place = f"{Transport.__module__}:{Transport.__qualname__}"
    TRANSPORT_ALIASES.update(redis=place, rediss=place)
