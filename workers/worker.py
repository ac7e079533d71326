"""A Celery worker of ours: the app with our step in it, and how one is run."""

import logging

from celery.signals import setup_logging

from app.celery_app import FarmCelery, make_celery
from app.config import Settings
from app.observe.logs import set_up_logging
from queues import Pool
from workers.lifecycle import install

#: Our own line a step says more, with its ids; these two loggers would add two more.
CHATTY = ("celery.worker.strategy", "celery.app.trace")


def make_worker_app(settings: Settings, pool: Pool | None = None) -> FarmCelery:
    """The Celery app of a worker; Celery's own tasks are not among those it serves.

    Without a pool it serves all domains' queues, and `-Q` narrows that as usual.
    """
    celery = make_celery(settings, pool)
    celery.conf.worker_pool = "workers.pools:ThreadsPool"
    celery.conf.worker_consumer = "workers.intake:Consumer"
    celery.conf.worker_concurrency = settings.slots
    celery.finalize()
    for name in [name for name in celery.tasks if name.startswith("celery.")]:
        celery.tasks.unregister(name)
    install(celery)

    def set_up(**_options: object) -> None:
        set_up_logging(settings.log_level, settings.log_format)
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

    # Celery asks for this signal before it would set up logging of its own.
    setup_logging.connect(set_up, weak=False)
    return celery


def run_worker(celery: FarmCelery, name: str) -> int:
    """Serve until SIGTERM has drained it; gives the exit status."""
    settings = celery.farm_settings
    worker = celery.Worker(
        hostname=f"{name}@{settings.host}",
        pool=celery.conf.worker_pool,
        concurrency=settings.slots,
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=not settings.events,
    )
    worker.start()
    return int(worker.exitcode or 0)
