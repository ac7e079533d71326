"""Ends what waits for a socket: at its deadline, or when its step is cancelled."""

import socket
import threading
import time
from contextlib import suppress
from typing import Literal

#: How soon a set `cancelled` or a passed deadline is noticed.
_TICK_S = 0.1


class CutOff:
    """Watches one socket at a time; a socket's own limit starts anew with every byte."""

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        self._cancelled = cancelled
        self._ended = threading.Event()
        #: Why the socket was shut, once it was.
        self.by: Literal["time", "cancel"] | None = None

    def watch(self, opened: socket.socket | None, seconds: float) -> None:
        """Shut the socket after so many seconds, or on a cancel, unless `end` comes before."""
        arguments = (opened, time.monotonic() + seconds)
        threading.Thread(target=self._watch, args=arguments, daemon=True).start()

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._ended.set()

    def _watch(self, opened: socket.socket | None, until: float) -> None:
        while not self._ended.wait(max(0.0, min(_TICK_S, until - time.monotonic()))):
            if self._cancelled is not None and self._cancelled.is_set():
                self.by = "cancel"
            elif time.monotonic() >= until:
                self.by = "time"
            else:
                continue
            if opened is not None:
                with suppress(OSError):  # closed by its owner meanwhile
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)
            return
