"""Connections kept between steps: a thread takes one for itself and gives it back."""

import atexit
import threading
import time
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """Whatever holds sockets."""

    def close(self) -> None:
        """Let go of them."""
        ...


Kind = TypeVar("Kind", bound=Closable)


class Kept(Generic[Kind]):
    """Idle connections per key, the last used first; closed when too old, and on exit."""

    def __init__(self, idle_s: float, per_key: int = 8) -> None:
        self._idle_s = idle_s
        self._per_key = per_key
        self._idle: dict[Hashable, list[tuple[float, Kind]]] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def take(self, key: Hashable) -> Kind | None:
        """An idle connection, now the caller's own; None when there is none fresh enough."""
        with self._lock:
            waiting = self._idle.get(key, [])
            since, kept = waiting.pop() if waiting else (0.0, None)
        if kept is None or time.monotonic() - since < self._idle_s:
            return kept
        kept.close()
        return self.take(key)

    def give(self, key: Hashable, kept: Kind) -> None:
        """Hand back a connection that still works."""
        with self._lock:
            waiting = self._idle.setdefault(key, [])
            if len(waiting) < self._per_key:
                waiting.append((time.monotonic(), kept))
                return
        kept.close()

    def close(self) -> None:
        """Close everything that is idle."""
        with self._lock:
            idle = [kept for waiting in self._idle.values() for _since, kept in waiting]
            self._idle.clear()
        for kept in idle:
            kept.close()
