"""The steps that this process runs now: who must stop, and who is told that we are alive."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.step import Step
from app.store.ledger import Ledger
from tool_catalog.model import Repeat

#: After a reaping these run again, so a worker that cannot heartbeat must end its own try.
REPEATABLE = frozenset({Repeat.READ, Repeat.TRANSACTIONAL, Repeat.IDEMPOTENT, Repeat.KEYED})


@dataclass(slots=True)
class Running:
    """A claimed step in this process."""

    step: Step
    cancelled: threading.Event = field(default_factory=threading.Event)
    #: Set once the effect may have happened.
    armed: bool = False
    #: The ledger says that the step is not ours any more.
    lost: bool = False
    #: The worker shuts down: a stop is no cancel.
    draining: bool = False


class RunningSteps:
    """Registry of the process, renewed by one heartbeat for all of them."""

    def __init__(self, ledger: Ledger, worker: str, self_kill_s: float) -> None:
        self._ledger = ledger
        self._worker = worker
        self._self_kill_s = self_kill_s
        self._lock = threading.Lock()
        #: By identity, not by token: a probe has that of its step, which may still run here.
        self._steps: dict[int, Running] = {}
        self._alive_at = time.monotonic()

    @contextmanager
    def watch(self, step: Step) -> Iterator[Running]:
        """Hold a step in the registry while it runs."""
        running = Running(step)
        with self._lock:
            self._steps[id(running)] = running
        try:
            yield running
        finally:
            with self._lock:
                del self._steps[id(running)]

    def list(self) -> list[Running]:
        """What runs now."""
        with self._lock:
            return list(self._steps.values())

    def heartbeat(self) -> None:
        """Renew all leases; stop what was cancelled or is not ours any more.

        Raises Unavailable when the ledger is away; call `give_up_repeatable` then.
        """
        held = self.list()
        mine, stop = self._ledger.heartbeat(self._worker, [each.step.token for each in held])
        self._alive_at = time.monotonic()
        for running in held:
            if running.step.token in stop:
                running.cancelled.set()
            elif running.step.token not in mine:
                self._let_go(running)

    def give_up_repeatable(self) -> None:
        """Without heartbeat for too long: end what reaping would start again elsewhere.

        An armed step that nobody will repeat goes on to its own deadline: killing a firmware
        upgrade because the database is away would prevent nothing.
        """
        if time.monotonic() - self._alive_at < self._self_kill_s:
            return
        for running in self.list():
            if not running.armed or running.step.repeat in REPEATABLE:
                self._let_go(running)

    def _let_go(self, running: Running) -> None:
        with self._lock:  # it may have finished since: then it is nobody's loss
            if id(running) not in self._steps:
                return
        running.lost = True
        running.cancelled.set()
