"""Publishing: the only road from the ledger to the broker."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError

from app.celery_app import PUBLISH_ONCE
from app.chain import build_chain, build_links
from app.errors import Unavailable
from app.store.ledger import Ledger, Link, Sending

log = logging.getLogger(__name__)

#: How long a depth that was read stays good.
DEPTH_AGE_S = 1.0


class Window:
    """How many messages may still go to a queue: the backlog stays in Postgres.

    `read_depth(queue)` gives the messages now in the broker; it is asked at most once a
    second for each queue, and what we publish meanwhile is counted on top.
    """

    def __init__(self, read_depth: Callable[[str], int], size: int) -> None:
        self._read_depth = read_depth
        self._size = size
        self._lock = threading.Lock()
        self._depths: dict[str, tuple[float, int]] = {}

    def room(self, queue: str, *, size: int | None = None) -> int:
        """Messages that fit in now; 0 when the broker does not answer."""
        with self._lock:
            at, depth = self._depths.get(queue, (0.0, 0))
        if time.monotonic() - at > DEPTH_AGE_S:
            depth = self._ask(queue)
        return max(0, (size or self._size) - depth)

    def depth(self, queue: str) -> int:
        """Messages in the queue as of now; the window's size when nobody knows."""
        return self._ask(queue)

    def count(self, queue: str) -> None:
        """One message more was published."""
        with self._lock:
            at, depth = self._depths.get(queue, (0.0, 0))
            self._depths[queue] = (at, depth + 1)

    def _ask(self, queue: str) -> int:
        try:
            depth = self._read_depth(queue)
        except OperationalError:
            return self._size  # closed: the ledger keeps the rows
        with self._lock:
            self._depths[queue] = (time.monotonic(), depth)
        return depth


class Publisher:
    """Sends what the ledger marked as sent, and takes the mark back when that fails."""

    def __init__(self, celery: Celery, ledger: Ledger, window: int) -> None:
        self._celery = celery
        self._ledger = ledger
        self.window = Window(self._read_depth, window)

    def send_limit(self, queue: str) -> int:
        """How many rows a ledger command may mark as sent for a direct publish."""
        return self.window.room(queue)

    def publish(self, sending: Sending) -> bool:
        """Publish a run. False: the broker did not take it, the dispatcher will."""
        if not sending.run:
            return True
        rows = list(sending.run)
        try:
            with _broker_errors():
                self._send(sending, rows)
        except OperationalError as error:
            log.warning("broker did not take %s step(s): %s", len(rows), _first_line(error))
            self._take_back(rows)
            return False
        return True

    def _send(self, sending: Sending, rows: list[Link]) -> None:
        """Send; what was sent leaves `rows`."""
        if sending.chain:
            build_chain(sending, self._celery).apply_async()
            self.window.count(sending.run[0].queue)
            return
        for link, signature in zip(sending.run, build_links(sending, self._celery), strict=True):
            signature.apply_async()
            rows.remove(link)
            self.window.count(link.queue)

    def _take_back(self, rows: list[Link]) -> None:
        try:
            self._ledger.unsend_steps([link.step_id for link in rows])
        except Unavailable:
            log.warning("ledger unreachable: unsent steps are found after resend_s")

    def _read_depth(self, queue: str) -> int:
        pool: Any = self._celery.pool
        with _broker_errors(), pool.acquire(block=True, timeout=5) as connection:
            connection.ensure_connection(**PUBLISH_ONCE)  # the pool closes those that failed
            try:
                return _count_messages(connection, queue)
            except connection.connection_errors as error:
                raise OperationalError(str(error)) from error


def _count_messages(connection: Any, queue: str) -> int:  # noqa: ANN401  # kombu's Connection
    with connection.channel() as channel:
        try:
            found = channel.queue_declare(queue=queue, passive=True)
        except connection.channel_errors:
            return 0  # Redis knows no empty list; RabbitMQ no queue before its consumer
        return int(found.message_count)


@contextmanager
def _broker_errors() -> Iterator[None]:
    """Redis and AMQP failures under one name, kombu's OperationalError."""
    try:
        yield
    except OperationalError:
        raise
    except (OSError, LimitExceeded) as error:
        raise OperationalError(str(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
