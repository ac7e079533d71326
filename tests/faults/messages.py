"""What anybody who reaches the broker can do to its messages, on Redis and on RabbitMQ."""

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any, Protocol

import amqp
import redis
from kombu import Connection

from tests.lab.farm import Farm

#: Messages copied in one go.
_COPIES = 20


class Hands(Protocol):
    """Hands in the broker."""

    def copy_waiting(self) -> None:
        """Leave every waiting message three times, and once in another domain's queue."""

    def push(self, step_id: int, attempt: int) -> None:
        """Forge a message for a row."""

    def push_malformed(self) -> None:
        """Leave what is no message of ours at all."""


def reach_into(farm: Farm) -> Hands:
    """Hands in the broker of this farm."""
    return RedisHands(farm) if farm.broker_url.startswith("redis") else RabbitHands(farm)


class RedisHands:
    """Lists of JSON texts."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._client: redis.Redis = farm.broker

    def copy_waiting(self) -> None:
        """As `Hands.copy_waiting`."""
        for body in self._client.lrange(self._farm.queue(), 0, _COPIES):
            self._client.lpush(self._farm.queue(), body, body)
            self._client.lpush(self._farm.queue("comms"), body)

    def push(self, step_id: int, attempt: int) -> None:
        """As `Hands.push`."""
        self._farm.push(self._farm.message(step_id, attempt))

    def push_malformed(self) -> None:
        """As `Hands.push_malformed`."""
        envelope = json.loads(self._farm.message(1, 0))
        shapes: list[Any] = ["null", "7", "[]", "{}", "", "no json", b"\xff\xfe", '"text"', "true"]
        shapes += [
            json.dumps({k: v for k, v in envelope.items() if k != gone}) for gone in envelope
        ]
        for key, value in itertools.product(envelope, (None, [1], "x")):
            shapes.append(json.dumps(envelope | {key: value}))
        for shape in shapes:
            self._farm.push(shape)


class RabbitHands:
    """AMQP messages; each call has a channel of its own."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def copy_waiting(self) -> None:
        """As `Hands.copy_waiting`."""
        for channel in self._channel():
            for _ in range(_COPIES):
                message = channel.basic_get(self._farm.queue())
                if message is None:
                    return
                for queue in (self._farm.queue(), self._farm.queue()):
                    self._publish(channel, message.body, queue, **message.properties)
                channel.basic_reject(message.delivery_tag, requeue=True)

    def push(self, step_id: int, attempt: int) -> None:
        """As `Hands.push`."""
        envelope = json.loads(self._farm.message(step_id, attempt))
        for channel in self._channel():
            self._publish(
                channel,
                base64.b64decode(envelope["body"]),
                self._farm.queue(),
                content_type="application/json",
                content_encoding="utf-8",
                application_headers=envelope["headers"],
            )

    def push_malformed(self) -> None:
        """As `Hands.push_malformed`."""
        headers = json.loads(self._farm.message(1, 0))["headers"]
        bodies = [b"", b"null", b"7", b"[]", b"{}", b"no json", b"\xff\xfe", b'"text"', b"[[1]]"]
        for channel in self._channel():
            for body in bodies:
                for content_type in ("application/json", "application/x-python-serialize", ""):
                    self._publish(
                        channel,
                        body,
                        self._farm.queue(),
                        content_type=content_type,
                        content_encoding="utf-8",
                        application_headers=headers,
                    )
            for name, value in itertools.product(headers, (None, 7, ["x"], {"a": 1})):
                self._publish(
                    channel,
                    b"[[1, 0], {}, {}]",
                    self._farm.queue(),
                    content_type="application/json",
                    application_headers=headers | {name: value},
                )
            self._publish(channel, b"[[1, 0], {}, {}]", self._farm.queue())

    def _channel(self) -> Iterator[Any]:
        with Connection(self._farm.broker_url) as connection, connection.channel() as channel:
            yield channel

    def _publish(self, channel: Any, body: bytes, queue: str, **properties: Any) -> None:
        channel.basic_publish(amqp.Message(body, **properties), routing_key=queue)
