"""Waits for what may block in a library (a login, a handshake) no longer than its step does."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

from app.errors import StepError, Stopped
from tasks.runners.base import StepControl
from tool_catalog.model import Reason

#: How soon a set `cancelled` or a passed deadline is noticed; the end of the wait wakes at once.
_TICK_S = 0.1

T = TypeVar("T")


def open_unless_stopped(
    opening: Callable[[], T], close: Callable[[T], object], control: StepControl
) -> T:
    """What `opening` gives or raises, in time; what it gives too late is closed.

    Raises Stopped as soon as the step is cancelled, TIMEOUT once its time is over: `opening` must
    be something that changes nothing.
    """
    attempt = _Attempt(opening, close)
    threading.Thread(target=attempt.run, name="opening", daemon=True).start()
    while not attempt.is_over(_TICK_S):
        if control.cancelled.is_set() and attempt.give_up():
            raise Stopped("stopped while it connected; nothing had begun", verified=True)
        if not control.seconds_left and attempt.give_up():
            message = f"no connection within {control.timeout_s:g} s"
            raise StepError(Reason.TIMEOUT, message, transient=True)
    return attempt.result()


class _Attempt(Generic[T]):
    """One opening, which may come to its end after nobody waits for it any more."""

    def __init__(self, opening: Callable[[], T], close: Callable[[T], object]) -> None:
        self._opening = opening
        self._close = close
        self._future: Future[T] = Future()
        self._ended = threading.Event()

    def run(self) -> None:
        """Open, and close at once where nobody waits."""
        try:
            opened = self._opening()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            if self._future.set_running_or_notify_cancel():
                self._future.set_exception(error)
        else:
            if self._future.set_running_or_notify_cancel():
                self._future.set_result(opened)
            else:
                with suppress(Exception):  # nobody is there to be told
                    self._close(opened)
        self._ended.set()

    def is_over(self, within_s: float) -> bool:
        """Wait a while for the end."""
        return self._ended.wait(within_s)

    def give_up(self) -> bool:
        """Wait no longer; False: it has just ended."""
        return self._future.cancel()

    def result(self) -> T:
        """What it gave; raises what it raised."""
        return self._future.result()
