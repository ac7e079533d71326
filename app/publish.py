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
#: A window that we counted full is looked at again this soon: workers empty it meanwhile.
FULL_AGE_S = 0.05
#: A broker that takes longer than this to fail is not asked again for a while.
SLOW_S = 1.0


class Window:
    """How many messages may still go to a queue: the backlog stays in Postgres.

    `read_depth(queue)` gives the messages now in the broker; it is asked at most once a
    second for each queue (more often while it is full), and what we publish meanwhile is
    counted on top.
    """

    def __init__(self, read_depth: Callable[[str], int], size: int) -> None:
        self._read_depth = read_depth
        self._size = size
        self._lock = threading.Lock()
        self._depths: dict[str, tuple[float, int]] = {}
        self._sizes: dict[str, int] = {}

    def widen(self, queue: str, size: int) -> None:
        """Let a queue hold more than usual, for workers with many slots."""
        self._sizes[queue] = max(self._size, size)

    def room(self, queue: str) -> int:
        """Messages that fit in now. Raises OperationalError when the broker does not answer."""
        size = self._sizes.get(queue, self._size)
        with self._lock:
            at, depth = self._depths.get(queue, (float("-inf"), 0))
        age_s = time.monotonic() - at
        if age_s > DEPTH_AGE_S or (depth >= size and age_s > FULL_AGE_S):
            depth = self.depth(queue)
        return max(0, size - depth)

    def depth(self, queue: str) -> int:
        """Messages in the queue, asked now. Raises OperationalError as `room` does."""
        depth = self._read_depth(queue)
        with self._lock:
            self._depths[queue] = (time.monotonic(), depth)
        return depth

    def count(self, queue: str) -> None:
        """One message more was published."""
        with self._lock:
            at, depth = self._depths.get(queue, (float("-inf"), 0))
            self._depths[queue] = (at, depth + 1)


class Patience:
    """Leaves a broker that kept somebody waiting alone, for as long as it made them wait.

    One that is down refuses at once and costs nothing; one that is frozen, or behind a network
    that drops everything, would hold up every submit for its whole time limit.
    """

    def __init__(self) -> None:
        self._lost_until = float("-inf")

    def is_lost(self) -> bool:
        """Whether the broker is not to be asked now."""
        return time.monotonic() < self._lost_until

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Ask the broker in the body. Raises OperationalError, as the body does."""
        began = time.monotonic()
        try:
            with _broker_errors():
                yield
        except OperationalError:
            waited_s = time.monotonic() - began
            if waited_s > SLOW_S:
                self._lost_until = time.monotonic() + waited_s
            raise


class Publisher:
    """Sends what the ledger marked as sent, and takes the mark back when that fails."""

    def __init__(self, celery: Celery, ledger: Ledger, window: int) -> None:
        self._celery = celery
        self._ledger = ledger
        self._patience = Patience()
        self.window = Window(self._read_depth, window)

    def room(self, queue: str) -> int | None:
        """How many rows of a queue may be marked as sent; None when the broker does not answer."""
        if self._patience.is_lost():
            return None
        try:
            with self._patience.measured():
                return self.window.room(queue)
        except OperationalError as error:
            log.warning("the broker does not answer: %s", _first_line(error))
            return None

    def publish(self, sending: Sending) -> bool:
        """Publish what fits into the window; the dispatcher publishes the rest when there is room.

        False: the broker does not answer, all of it comes later.
        """
        rows = list(sending.run)
        if self._patience.is_lost():
            self._take_back(rows)
            return not rows
        try:
            with self._patience.measured():
                self._send(sending, rows)
        except OperationalError as error:
            log.warning("broker did not take %s step(s): %s", len(rows), _first_line(error))
            self._take_back(rows)
            return False
        self._take_back(rows)
        return True

    def empty_queue(self, queue: str) -> int:
        """Throw away what lies in a queue and have the ledger publish its rows again.

        Gives how many messages it was. Raises OperationalError when the broker does not answer.
        """
        pool: Any = self._celery.pool
        with _broker_errors(), pool.acquire(block=True, timeout=5) as connection:
            connection.ensure_connection(**PUBLISH_ONCE)
            with connection.channel() as channel:
                try:
                    count = int(channel.queue_purge(queue) or 0)
                except connection.channel_errors:
                    count = 0  # RabbitMQ knows no queue before its consumer
        self._ledger.unsend_queue(queue)
        return count

    def _send(self, sending: Sending, rows: list[Link]) -> None:
        """Send what there is room for; what was sent leaves `rows`."""
        if sending.chain:
            self._send_chain(sending, rows)
            return
        for link, signature in zip(sending.run, build_links(sending, self._celery), strict=True):
            if self.window.room(link.queue):
                signature.apply_async()
                rows.remove(link)
                self.window.count(link.queue)

    def _send_chain(self, sending: Sending, rows: list[Link]) -> None:
        """Only the first row is in the broker; Celery publishes each next one as the last ends."""
        first = rows[0]
        if self.window.room(first.queue):
            build_chain(sending, self._celery).apply_async()
            rows.clear()
            self.window.count(first.queue)
        else:
            del rows[1:]  # those behind it are pending: they were not marked as sent

    def _take_back(self, rows: list[Link]) -> None:
        if not rows:
            return
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
