"""Live lines of running steps, written to the ledger at most once a second and step."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DBAPIError

from app.errors import Unavailable
from app.json_text import make_storable
from app.step import Step
from app.store.db import guard_unavailable
from app.store.models import OutputChunk

log = logging.getLogger(__name__)

FLUSH_S = 1.0
MAX_LINES = 500
MAX_LINE = 4000


class LiveLines:
    """The lines of one attempt that were not written yet."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._lock = threading.Lock()
        self._lines: list[tuple[str, str]] = []
        self._dropped = 0
        #: Some were written already: then the last ones must follow.
        self.begun = False

    def add(self, stream: str, line: str) -> None:
        """Keep a line, already scrubbed; too many within a second are counted, not kept."""
        with self._lock:
            if len(self._lines) < MAX_LINES:
                self._lines.append((stream, make_storable(line[:MAX_LINE])))
            else:
                self._dropped += 1

    def take(self) -> list[tuple[str, str]]:
        """The lines so far; the buffer is empty then."""
        with self._lock:
            lines, self._lines = self._lines, []
            if self._dropped:
                lines.append(("note", f"... {self._dropped} lines not shown live"))
                self._dropped = 0
        return lines


class LiveOutput:
    """One thread a process writes for all its steps: watching costs the steps nothing.

    A step that ends before the first write leaves no chunk: its result holds its output.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._open: dict[int, LiveLines] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-output", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def open(self, step: Step) -> LiveLines:
        """A buffer for one attempt."""
        lines = LiveLines(step)
        with self._lock:
            self._open[step.id] = lines
        return lines

    def close(self, lines: LiveLines) -> None:
        """The attempt is over: write its last lines if watchers saw its first."""
        with self._lock:
            self._open.pop(lines.step.id, None)
        if lines.begun:
            self._write([lines])

    def _run(self) -> None:
        while not self._stopped.wait(FLUSH_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            buffers = list(self._open.values())
        self._write(buffers)

    def _write(self, buffers: Sequence[LiveLines]) -> None:
        rows = [_to_row(each, lines) for each in buffers if (lines := each.take())]
        if not rows:
            return
        try:
            with guard_unavailable(), self._engine.begin() as connection:
                connection.execute(text("set local synchronous_commit = off"))
                connection.execute(insert(OutputChunk), rows)
        except Unavailable:
            log.warning("live output of %s step(s) not kept: ledger unreachable", len(rows))
        except DBAPIError as error:  # what is only shown must not stop what is done
            log.warning("live output of %s step(s) not kept: %s", len(rows), type(error.orig))


def _to_row(buffer: LiveLines, lines: list[tuple[str, str]]) -> dict[str, Any]:
    buffer.begun = True
    step = buffer.step
    return {
        "tenant": step.tenant,
        "execution_id": step.execution_id,
        "step_id": step.id,
        "attempt": step.attempt,
        "lines": lines,
    }
