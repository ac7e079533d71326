"""What anybody who reaches the broker can do to its messages, on Redis and on RabbitMQ."""

import base64
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

import amqp
import redis
from kombu import Connection

from queues import Domain
from tests.lab.farm import Farm

#: Messages copied in one go.
_COPIES = 20


class Hands(Protocol):
    """Hands in the broker."""

    def copy_waiting(self) -> None:
        """Leave every waiting message three times."""

    def push(self, step_id: int, attempt: int, domain: str = "automation") -> None:
        """Forge a message for a row, in that domain's queue."""

    def push_malformed(self) -> None:
        """Leave what is no message of ours at all."""

    def texts(self) -> list[str]:
        """Everything that lies in the broker, as text."""


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

    def push(self, step_id: int, attempt: int, domain: str = "automation") -> None:
        """As `Hands.push`."""
        self._farm.push(self._farm.message(step_id, attempt), domain)

    def push_malformed(self) -> None:
        """As `Hands.push_malformed`."""
        for shape in make_shapes(self._farm.message(1, 0)):
            self._farm.push(shape)

    def texts(self) -> list[str]:
        """As `Hands.texts`. Values, not dumps of keys: those are compressed."""
        return [str(self._read(key)) for key in self._client.scan_iter("*")]

    def _read(self, key: bytes) -> Any:
        match self._client.type(key):
            case b"list":
                return self._client.lrange(key, 0, -1)
            case b"hash":
                return self._client.hgetall(key)
            case b"set":
                return self._client.smembers(key)
            case b"zset":
                return self._client.zrange(key, 0, -1, withscores=True)
            case _:
                return self._client.get(key)


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

    def push(self, step_id: int, attempt: int, domain: str = "automation") -> None:
        """As `Hands.push`."""
        envelope = json.loads(self._farm.message(step_id, attempt))
        for channel in self._channel():
            self._publish(
                channel,
                base64.b64decode(envelope["body"]),
                self._farm.queue(domain),
                content_type="application/json",
                content_encoding="utf-8",
                application_headers=envelope["headers"],
            )

    def push_malformed(self) -> None:
        """As `Hands.push_malformed`."""
        headers = json.loads(self._farm.message(1, 0))["headers"]
        for channel in self._channel():
            for body, properties in make_amqp_shapes(headers):
                self._publish(channel, body, self._farm.queue(), **properties)

    def texts(self) -> list[str]:
        """As `Hands.texts`: the messages of every queue are taken out and put back."""
        found: list[str] = []
        for domain in Domain:
            with suppress(amqp.NotFound):  # no worker of that domain ever came
                for channel in self._channel():
                    found += _look_into(channel, self._farm.queue(domain))
        return found

    def _channel(self) -> Iterator[Any]:
        with Connection(self._farm.broker_url) as connection, connection.channel() as channel:
            yield channel

    def _publish(self, channel: Any, body: bytes, queue: str, **properties: Any) -> None:
        channel.basic_publish(amqp.Message(body, **properties), routing_key=queue)


def _look_into(channel: Any, queue: str) -> list[str]:
    taken: list[Any] = []
    while len(taken) < _COPIES and (message := channel.basic_get(queue)):
        taken.append(message)
    for message in taken:
        channel.basic_reject(message.delivery_tag, requeue=True)
    return [f"{message.body!r} {message.properties}" for message in taken]


def make_shapes(text: str) -> list[str | bytes]:
    """What is no message, made from a message as Redis holds it."""
    envelope = json.loads(text)
    shapes: list[Any] = ["null", "7", "[]", "{}", "", "no json", b"\xff\xfe", '"text"', "true"]
    shapes += [text[: len(text) // 2], text + text, "[" * 5000, "1e999", '{"body": 1}']
    shapes += [json.dumps({k: v for k, v in envelope.items() if k != gone}) for gone in envelope]
    for key, value in itertools.product(envelope, (None, [1], "x", 7)):
        shapes.append(json.dumps(envelope | {key: value}))
    for key, value in itertools.product(envelope["headers"], (None, 7, ["x"], {"a": 1})):
        headers = envelope["headers"] | {key: value}
        shapes.append(json.dumps(envelope | {"headers": headers}))
    for body in (
        b"null",
        b"[]",
        b"[1]",
        b"[[1, 0], {}]",
        b"[[[1], 0], {}, {}]",
        b'[["1", 0], {}, {}]',
    ):
        shapes.append(json.dumps(envelope | {"body": base64.b64encode(body).decode()}))
    return shapes


def make_amqp_shapes(headers: dict[str, Any]) -> list[tuple[bytes, dict[str, Any]]]:
    """What is no message, as (body, properties), made from a message's headers."""
    bodies = [b"", b"null", b"7", b"[]", b"{}", b"no json", b"\xff\xfe", b'"text"', b"[[1]]"]
    shapes: list[tuple[bytes, dict[str, Any]]] = [(b"[[1, 0], {}, {}]", {})]
    types = ("application/json", "application/x-python-serialize", "")
    for body, content_type in itertools.product(bodies, types):
        properties = {"content_type": content_type, "application_headers": headers}
        shapes.append((body, properties | {"content_encoding": "utf-8"}))
    for name, value in itertools.product(headers, (None, 7, ["x"], {"a": 1})):
        properties = {"content_type": "application/json"}
        broken = headers | {name: value}
        shapes.append((b"[[1, 0], {}, {}]", properties | {"application_headers": broken}))
    return shapes
