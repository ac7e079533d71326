"""kombu's Redis transport, without commands that no `no_ack` queue needs.

Registered under the usual URL schemes, so that broker URLs stay what people know.
"""

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
    """A channel with our acknowledgement."""

    QoS = QoS


class Transport(kombu_redis.Transport):
    """What `redis://` and `rediss://` stand for in this process."""

    Channel = Channel


def register_transport() -> None:
    """Let kombu find our transport under Redis' URL schemes."""
    place = f"{Transport.__module__}:{Transport.__qualname__}"
    TRANSPORT_ALIASES.update(redis=place, rediss=place)
