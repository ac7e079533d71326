"""What `celery -A workers.entry` finds: the app with our steps in its worker.

`OPSFARM_POOL` chooses the queues (`python -m workers <pool>` sets it); without it the app
serves all domains, and `-Q` narrows it as usual.
"""

import logging
import os

from celery.signals import setup_logging

from app.celery_app import FarmCelery, make_celery
from app.config import Settings, read_settings
from app.observe.logs import set_up_logging
from queues import Pool
from workers.lifecycle import install


def make_worker_app(settings: Settings, pool: Pool | None = None) -> FarmCelery:
    """The Celery app of a worker; Celery's own tasks are not among those it serves."""
    celery = make_celery(settings, pool)
    celery.conf.worker_pool = "workers.pools:ThreadsPool"
    celery.conf.worker_concurrency = settings.slots
    celery.finalize()
    for name in [name for name in celery.tasks if name.startswith("celery.")]:
        celery.tasks.unregister(name)
    install(celery)
    return celery


def _set_up_logging(**_options: object) -> None:
    set_up_logging(_settings.log_level, _settings.log_format)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        # Our own line a step says more, with its ids; theirs would be two more.
        logging.getLogger(name).setLevel(logging.WARNING)


_settings = read_settings()
_pool = os.environ.get("OPSFARM_POOL")
app = make_worker_app(_settings, Pool(_pool) if _pool else None)
# Celery asks for this signal before it would set up logging of its own.
setup_logging.connect(_set_up_logging, weak=False)
