"""Whether what the farm leans on answers now."""

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError
from sqlalchemy import Engine

from app.errors import Unavailable
from app.store.db import guard_unavailable

_log = logging.getLogger(__name__)


def ledger_answers(engine: Engine) -> bool:
    """Whether PostgreSQL answers a query."""
    try:
        with guard_unavailable(), engine.connect() as connection:
            connection.exec_driver_sql("select 1")
    except Unavailable as error:
        _log.warning("health: %s", error)
        return False
    return True


def broker_answers(celery: Celery) -> bool:
    """Whether the broker takes a channel; asked once, not again and again."""
    connection: Any = celery.connection_for_write()
    errors: tuple[type[Exception], ...] = (
        *connection.connection_errors,
        *connection.channel_errors,
        KombuError,
        OSError,
    )
    try:
        connection.connect()
        connection.channel()
    except errors as error:
        _log.warning("health: the broker does not answer (%s)", type(error).__name__)
        return False
    finally:
        connection.release()
    return True
