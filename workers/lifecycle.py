"""The life of a worker process: come up, say what it can do, keep its leases, drain, go."""

import logging
import threading
import time
from dataclasses import replace
from typing import Any

from celery import Celery, bootsteps
from celery.exceptions import ImproperlyConfigured
from celery.worker.components import Pool as PoolStep
from kombu.exceptions import OperationalError

from app.config import Settings
from app.errors import Unavailable
from app.parts import Parts, build_parts
from app.store.db import make_engine
from app.store.listener import Listener
from app.tool_watch import ToolWatch
from app.worker_offer import WorkerOffer
from tasks.scratch import Scratch
from tasks.steps import register_run_step
from tasks.workshop import Workshop, build_workshop, find_operations
from tool_catalog.loader import Catalog
from workers.capture import ask_versions, find_capabilities, find_interfaces, find_programs
from workers.pools import ThreadsPool

log = logging.getLogger(__name__)

#: A stopped step gets this long to end before the process goes.
STOP_S = 5.0
DRAIN_TICK_S = 0.1
#: So many processes of one name that died young in a row were killed by what their queues hold.
DEADLY = 3
#: What the roster says of a worker that Celery's own command line started.
ALL_POOLS = "all"


class Pulse:
    """Renews the leases of this process and listens for cancelled executions, in a thread."""

    def __init__(self, shop: Workshop, parts: Parts, offer: WorkerOffer) -> None:
        self._shop = shop
        self._parts = parts
        self.offer = offer
        # Its own connection: a full pool must not stop the heart.
        self._engine = make_engine(shop.settings.database_url, pool_size=2, name=shop.worker)
        self._stopped = threading.Event()
        #: Held while the roster is told something: the later word is the newer one.
        self._telling = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._search = threading.Thread(
            target=self.tell_programs, args=(shop.catalog,), name="programs", daemon=True
        )

    def start(self) -> None:
        """Begin to beat; versions of programs follow, however long they take to tell."""
        self._thread.start()
        self._search.start()

    def stop(self) -> None:
        """End, and say goodbye in the roster."""
        self._stopped.set()
        self._thread.join(timeout=STOP_S)
        try:
            with self._telling:
                self._parts.roster.retire(self._shop.worker)
        except Unavailable:
            log.warning("could not say goodbye: ledger unreachable")
        self._engine.dispose()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._advertise()
                self._beat()
            except Unavailable:
                log.warning("no heartbeat: ledger unreachable")
                self._shop.running.give_up_repeatable()
                self._stopped.wait(min(1.0, self._shop.settings.heartbeat_s))

    def tell_programs(self, catalog: Catalog) -> None:
        """Ask programs for their versions: on a busy host that takes longer than a lease."""
        own = find_programs(catalog, self.offer.pool.removeprefix(ALL_POOLS))
        self.offer = replace(self.offer, programs={**self.offer.programs, **ask_versions(own)})
        try:
            self._advertise()
        except Unavailable:
            log.warning("programs are told later: ledger unreachable")

    def _advertise(self) -> None:
        with self._telling:
            if not self._stopped.is_set():
                self._parts.roster.advertise(self.offer)

    def _beat(self) -> None:
        """Beat every `heartbeat_s`, and at once when some execution was cancelled."""
        with Listener(self._engine, "opsfarm_cancel") as cancels:
            while not self._stopped.is_set():
                self._shop.running.heartbeat()
                self._wait(cancels)

    def _wait(self, cancels: Listener) -> None:
        deadline = time.monotonic() + self._shop.settings.heartbeat_s
        while not self._stopped.is_set() and (left := deadline - time.monotonic()) > 0:
            if cancels.wait(min(left, 0.5)):
                return


class FarmStep(bootsteps.StartStopStep):
    """Celery's worker blueprint step that makes a Celery worker one of ours.

    It comes after the pool and before the consumer: nothing is consumed before the task is
    registered, and on shutdown the consumer stops before we drain.
    """

    requires = (PoolStep,)

    def __init__(self, worker: Any, **_options: object) -> None:  # noqa: ANN401  # Celery's worker
        _check_pool(worker)
        settings: Settings = worker.app.farm_settings
        queues = tuple(worker.app.amqp.queues.consume_from)
        parts = build_parts(settings, worker.app, pool_size=worker.concurrency + 2)
        self.shop = build_workshop(parts, worker.hostname, queues)
        register_run_step(worker.app, self.shop)
        offer = WorkerOffer(
            name=worker.hostname,
            host=settings.host,
            pool=worker.app.farm_pool or ALL_POOLS,
            queues=queues,
            slots=worker.concurrency,
            programs=dict.fromkeys(find_programs(parts.catalog), ""),
            capabilities=find_capabilities(),
            interfaces=find_interfaces(),
        )
        self.pulse = Pulse(self.shop, parts, offer)
        self.scratch = Scratch(settings)
        self.tools = ToolWatch(parts, self._serve_tools)
        self._parts = parts

    def start(self, _worker: object) -> None:
        """Start the heart and the writer of live lines; sweep up after those that were killed."""
        self.scratch.hold()
        quarantine(self._parts, self.pulse.offer)
        self.shop.live_output.start()
        self.pulse.start()
        self.tools.start()

    def stop(self, _worker: object) -> None:
        """Drain, then let go of everything."""
        drain(self.shop)
        self.tools.stop()
        self.pulse.stop()
        self.shop.live_output.stop()
        for runner in self.shop.runners.values():
            runner.close()
        self.scratch.close()
        self._parts.close()

    def _serve_tools(self, catalog: Catalog) -> None:
        """Find what another catalogue needs, before it is taken; raises CatalogError."""
        self.shop.operations.update(find_operations(catalog))
        self.pulse.tell_programs(catalog)

    def terminate(self, worker: object) -> None:
        """Celery calls this instead of `stop` when it is told to hurry."""
        self.stop(worker)


def install(celery: Celery) -> None:
    """Put our step into the app's worker."""
    celery.steps["worker"].add(FarmStep)


def quarantine(parts: Parts, offer: WorkerOffer) -> None:
    """Before anything is consumed: empty the queues if they killed those who served them before.

    The ledger fills them again, so that throwing good messages away costs no more than time. A
    message that ends the process comes back on RabbitMQ, and would end the next one, too.
    """
    try:
        deaths = parts.roster.begin(offer)
        if deaths < DEADLY:
            return
        for queue in offer.queues:
            count = parts.publisher.empty_queue(queue)
            log.error("%s died %s times at its start: %s message(s) of %s are thrown away",
                      offer.name, deaths, count, queue)  # fmt: skip
        parts.roster.forgive(offer.name)
    except (Unavailable, OperationalError) as error:
        log.warning("starts are not counted now: %s", error)


def drain(shop: Workshop) -> None:
    """Stop what has not armed, let the rest end within `drain_s`, then stop that, too."""
    for running in shop.running.list():
        running.draining = True
        if not running.armed:
            running.cancelled.set()
    _wait_until_idle(shop, shop.settings.drain_s)
    for running in shop.running.list():
        running.cancelled.set()
    _wait_until_idle(shop, STOP_S)


def _wait_until_idle(shop: Workshop, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while shop.running.list() and time.monotonic() < deadline:
        time.sleep(DRAIN_TICK_S)


def _check_pool(worker: Any) -> None:  # noqa: ANN401  # Celery's worker
    """Only our pool: others lose speed (threads) or the parts built in this process (prefork)."""
    if not issubclass(worker.pool_cls, ThreadsPool):
        raise ImproperlyConfigured(
            f"this farm's workers run on workers.pools:ThreadsPool, not {worker.pool_cls}; "
            "leave out -P"
        )
