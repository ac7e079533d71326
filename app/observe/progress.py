"""One reader of the ledger's events for all watchers; it asks nothing while nobody watches."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

from app.errors import Unavailable
from app.store.listener import Listener
from app.store.records import EVENTS_LIMIT, Cursor, EventView

#: Where the ledger tells that an execution is final; the payload is its id.
FINAL_CHANNEL = "opsfarm_final"
TICK_S = 0.1
_RECONNECT_S = 1.0
_log = logging.getLogger(__name__)

#: Takes an event's JSON, or None once everything that had happened before was handed over.
OnEvent = Callable[[dict[str, Any] | None], None]


class EventReader(Protocol):
    """What is needed of `app.store.records.Records`."""

    def read_events(
        self, cursor: Cursor, execution_id: UUID | None = None, limit: int = EVENTS_LIMIT
    ) -> tuple[list[EventView], Cursor]:
        """Events behind the cursor, and the cursor to go on from."""

    def newest_cursor(self) -> Cursor:
        """Behind everything that can be read now."""


class _Watcher:
    """One who follows an execution: how far they are, and whom to tell."""

    def __init__(self, execution_id: UUID, after: Cursor, on_event: OnEvent) -> None:
        self.execution_id = execution_id
        self.cursor = after
        self.caught_up = False
        self.on_event = on_event

    def take(self, view: EventView) -> None:
        """Hand over an event, unless the watcher has it already."""
        is_output = view.body["kind"] == "step.output"
        told, new = self.cursor, view.cursor
        if (new.chunk <= told.chunk) if is_output else (new.event <= told.event):
            return
        self.cursor = Cursor(max(told.event, new.event), max(told.chunk, new.chunk))
        self.on_event(view.body | {"id": str(self.cursor)})


class Progress:
    """Tells watchers what happens. Callbacks run in the reader's thread: they must not wait."""

    def __init__(
        self,
        events: EventReader,
        listen: Callable[[], Listener],
        tick_s: float = TICK_S,
    ) -> None:
        self._events = events
        self._listen = listen
        self._tick_s = tick_s
        self._lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._ends: dict[object, tuple[UUID, Callable[[], None]]] = {}
        self._cursor: Cursor | None = None
        self._listener: Listener | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the reader; its watchers hear nothing more."""
        self._stopped.set()
        self._wake()
        self._thread.join()

    @contextmanager
    def watch(self, execution_id: UUID, after: Cursor, on_event: OnEvent) -> Iterator[None]:
        """Hand over every event of an execution behind `after`, past ones first."""
        watcher = _Watcher(execution_id, after, on_event)
        with self._lock:
            self._watchers.add(watcher)
        self._wake()
        try:
            yield
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    @contextmanager
    def await_end(self, execution_id: UUID, look: Callable[[], None]) -> Iterator[None]:
        """Call `look` when the execution may have become final."""
        ticket = object()
        with self._lock:
            self._ends[ticket] = (execution_id, look)
        try:
            yield
        finally:
            with self._lock:
                del self._ends[ticket]

    def _wake(self) -> None:
        with self._lock:
            if self._listener is not None:
                self._listener.wake()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._serve()
            except Unavailable as error:
                _log.warning("progress: %s; trying again", error)
                self._stopped.wait(_RECONNECT_S)

    def _serve(self) -> None:
        with self._listen() as listener:
            with self._lock:
                self._listener = listener
            try:
                # What ended while nobody listened was not told.
                self._tell_ended(None)
                while not self._stopped.is_set():
                    self._serve_once(listener)
            finally:
                with self._lock:
                    self._listener = None

    def _serve_once(self, listener: Listener) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for payload in listener.wait(self._tick_s if watchers else None):
            self._tell_ended(UUID(payload))
        if watchers:
            self._tell(watchers)
        else:
            self._cursor = None

    def _tell_ended(self, execution_id: UUID | None) -> None:
        with self._lock:
            looks = [look for of, look in self._ends.values() if execution_id in {None, of}]
        for look in looks:
            look()

    def _tell(self, watchers: list[_Watcher]) -> None:
        """One query for all, after the newcomers got what happened before."""
        if self._cursor is None:
            self._cursor = self._events.newest_cursor()
        for watcher in watchers:
            if not watcher.caught_up:
                self._catch_up(watcher)
        by_execution: dict[UUID | None, list[_Watcher]] = {}
        for watcher in watchers:
            by_execution.setdefault(watcher.execution_id, []).append(watcher)
        for view in self._read_new():
            for watcher in by_execution.get(view.execution_id, ()):
                watcher.take(view)

    def _catch_up(self, watcher: _Watcher) -> None:
        cursor = watcher.cursor
        while True:
            views, cursor = self._events.read_events(cursor, watcher.execution_id)
            for view in views:
                watcher.take(view)
            if len(views) < EVENTS_LIMIT:
                break
        watcher.caught_up = True
        watcher.on_event(None)

    def _read_new(self) -> Iterator[EventView]:
        while self._cursor is not None:
            views, self._cursor = self._events.read_events(self._cursor)
            yield from views
            if len(views) < EVENTS_LIMIT:
                return
