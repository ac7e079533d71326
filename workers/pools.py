"""The thread pool of our workers.

With `worker_disable_prefetch`, Celery's own threads pool notices a free slot only on the
event loop's 1 s tick: one task a second and slot. This one writes a byte into a pipe that the
loop reads when a task is done, so the next message is taken at once.
"""

import contextlib
import os
from typing import Any

from celery.concurrency.thread import TaskPool


class ThreadsPool(TaskPool):
    """Celery's threads pool that wakes the event loop when a slot gets free."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(*args, **kwargs)
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def register_with_event_loop(self, hub: Any) -> None:  # noqa: ANN401  # kombu's Hub
        """Let the hub read the pipe: being woken is all that it has to do."""
        hub.add_reader(self._wake_reader, self._drain_pipe)

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # Celery's signature
        """Run a task in a thread; wake the loop when it is done."""
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(self._wake)
        return result

    def on_stop(self) -> None:
        """Wait for running threads, then close the pipe."""
        super().on_stop()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _wake(self, _future: object) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the loop just as well
            os.write(self._wake_writer, b"\0")

    def _drain_pipe(self) -> None:
        with contextlib.suppress(BlockingIOError):  # another wake-up read it already
            os.read(self._wake_reader, 65536)
