"""The safety net: publishes what is due or was lost, renders dynamic steps, sweeps dead leases.

A resident loop, not a Celery task: it repairs the broker's work and must not go through it.
Any number may run side by side; rows are taken skip-locked.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kombu.exceptions import OperationalError

from app.config import Settings
from app.errors import Unavailable
from app.parts import Parts, build_parts
from app.store.listener import Listener
from app.store.outbox import Lease, Outbox
from app.tool_watch import ToolWatch
from app.worker_offer import LIVE_S
from workers.due import serve_due

log = logging.getLogger(__name__)

#: Starts that a step may use up before a lost worker makes it fail.
STARTS = 3
REAP_BACKOFF_S = 1.0
SLOTS_FACTOR = 4
RETENTION_S = 600.0
#: How soon a full queue is looked at again, and the least time between two rounds.
BUSY_TICK_S = 0.05
PACE_S = 0.01
#: What looks at every waiting row rests for so many times as long as it took.
SELDOM_FACTOR = 19


class Seldom:
    """Lets what looks at every waiting row run for a twentieth of the time at most."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}

    @contextmanager
    def turn(self, what: str) -> Iterator[bool]:
        """Whether it is the turn of `what` now."""
        began = time.monotonic()
        if began < self._not_before.get(what, 0.0):
            yield False
            return
        yield True
        ended = time.monotonic()
        self._not_before[what] = ended + SELDOM_FACTOR * (ended - began)


class Dispatcher:
    """Publishes unsent rows and serves due steps; one instance a process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._outbox = Outbox(parts.autocommit)
        self._sweeper = Sweeper(parts, self._outbox)
        self._cleaned_at = time.monotonic()
        self._seldom = Seldom()

    def run_once(self) -> float | None:
        """One whole round; seconds until more can be published, None when nothing waits for time.

        Raises Unavailable when the ledger is away.
        """
        pause_s = self.publish_once()
        self._sweeper.sweep()
        with self._seldom.turn("expire") as is_turn:
            if is_turn and self._outbox.expire_queued():
                log.warning("steps waited too long for a worker and failed")
        if self._outbox.expire_approvals():
            log.warning("approvals expired; what waited for them is cancelled")
        if self._outbox.expire_executions():
            log.warning("executions took longer than their plans allow and are cancelled")
        if time.monotonic() - self._cleaned_at > RETENTION_S:
            self._cleaned_at = time.monotonic()
            self._outbox.remove_old(self._parts.settings.retention_days)
            self._parts.artifacts.remove_expired()
        return pause_s

    def publish_once(self) -> float | None:
        """Serve what is due and fill the queues; as `run_once`, without looking at leases."""
        serve_due(self._parts, self._outbox)
        try:
            waiting = [queue for queue in self._outbox.queues() if self._fill(queue)]
            for queue in self._outbox.probe_queues():
                self._ask_probes(queue)
        except OperationalError as error:
            log.warning("the broker does not answer: %s", error)
            return None
        return BUSY_TICK_S if waiting else self._outbox.next_start_s()

    def _fill(self, queue: str) -> bool:
        """Fill a queue's window; True when more waits. Publish again only what is missing."""
        settings, window = self._parts.settings, self._parts.publisher.window
        slots = self._outbox.live_slots(queue, LIVE_S)
        if slots == 0:
            with self._seldom.turn(queue) as is_turn:
                if is_turn:
                    self._outbox.tell_unserved(queue)
        window.widen(queue, SLOTS_FACTOR * slots)
        depth = window.depth(queue)
        room = window.room(queue)
        if room == 0:
            return True
        was_lost = self._outbox.count_sent(queue) > depth
        resend_s = settings.resend_s if was_lost else None
        taken = self._outbox.take_unsent(queue, room, resend_s)
        for number, sending in enumerate(taken):
            if not self._parts.publisher.publish(sending):
                rest = [link.step_id for each in taken[number + 1 :] for link in each.run]
                self._parts.ledger.unsend_steps(rest)
                return False
        return len(taken) == room

    def _ask_probes(self, queue: str) -> None:
        """Have workers look what became of interrupted rows, where there are any to ask."""
        room = self._parts.publisher.window.room(queue)
        if room and self._outbox.live_slots(queue, LIVE_S):
            for sending in self._outbox.take_probes(queue, room, self._parts.settings.resend_s):
                self._parts.publisher.publish(sending)


@dataclass(slots=True)
class Sweeper:
    """Finds leases that died, on its own monotonic clock."""

    parts: Parts
    outbox: Outbox
    #: Lease to when its (token, heartbeats) was first seen.
    _seen: dict[Lease, float] = field(default_factory=dict)
    _looked_at: float = 0.0

    def sweep(self) -> None:
        """Look at all running rows; reap those unmoved for a whole lease."""
        now, settings = time.monotonic(), self.parts.settings
        if now - self._looked_at > settings.reap_s / 2:
            # We were away (or the ledger was): nobody could beat, so nobody is judged yet.
            self._seen.clear()
        self._looked_at = now
        self._seen = {lease: self._seen.get(lease, now) for lease in self.outbox.leases()}
        for lease, since in self._seen.items():
            if now - since >= settings.reap_s:
                state, sending = self.outbox.reap_step(lease, STARTS, REAP_BACKOFF_S)
                if state is not None:
                    log.warning("step %s lost its worker: now %s", lease.step_id, state)
                self.parts.publisher.publish(sending)


def serve_tick(
    dispatcher: Dispatcher, notes: Listener, stopped: threading.Event, tick_s: float
) -> None:
    """One whole round, then short ones until the tick is over: when told, or while more waits."""
    ends_at = time.monotonic() + tick_s
    pause_s = dispatcher.run_once()
    while not stopped.is_set() and (left_s := ends_at - time.monotonic()) > 0:
        told = notes.wait(left_s if pause_s is None else min(left_s, pause_s))
        if told or pause_s is not None:
            pause_s = dispatcher.publish_once()
            stopped.wait(PACE_S)  # many words in a row are one round


def main(settings: Settings) -> None:
    """Dispatch until SIGTERM or SIGINT."""
    stopped = threading.Event()
    parts = build_parts(settings, pool_size=3)
    watch = ToolWatch(parts)
    watch.start()
    wake: list[Callable[[], None]] = []

    def stop(_number: int, _frame: object) -> None:
        stopped.set()
        for call in wake:
            call()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    dispatcher = Dispatcher(parts)
    while not stopped.is_set():
        try:
            with Listener(parts.engine, "opsfarm_dispatch") as notes:
                wake[:] = [notes.wake]
                while not stopped.is_set():
                    serve_tick(dispatcher, notes, stopped, settings.dispatch_tick_s)
        except Unavailable as error:
            log.warning("%s; trying again", error)
            stopped.wait(settings.dispatch_tick_s)
        finally:
            wake.clear()
    watch.stop()
    parts.close()
