"""Celery beat on the ledger: `celery -A workers.entry beat -S workers.beat:LedgerScheduler`.

It keeps no file and sends no task of its own: firing a schedule is a submit.
"""

import logging
from functools import partial
from math import inf
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from sqlalchemy.exc import SQLAlchemyError

from app.celery_app import make_celery
from app.config import Settings, read_settings
from app.errors import Unavailable
from app.firing import Firing
from app.parts import build_parts
from app.tool_watch import ToolWatch

_log = logging.getLogger(__name__)


class LedgerScheduler(Scheduler):
    """Fires the schedules that the ledger holds. Any number of beats may run."""

    def __init__(self, app: Celery, settings: Settings | None = None, **options: Any) -> None:  # noqa: ANN401  # Celery's options
        self._settings = settings or read_settings()
        self._away = False
        self._tools: ToolWatch | None = None
        super().__init__(app, **options)
        #: The longest sleep: a schedule that was just added is found after it.
        self._tick_s = min(float(self.max_interval or inf), self._settings.beat_tick_s)

    def setup_schedule(self) -> None:
        """Connect to the ledger; a scheduler made only to be described does not."""
        parts = build_parts(self._settings)
        self._firing = Firing(parts)
        self._tools = ToolWatch(parts)
        self._tools.start()

    def close(self) -> None:
        """End what `setup_schedule` began."""
        if self._tools is not None:
            self._tools.stop()
        super().close()

    def tick(self, *_: Any, **__: Any) -> float:  # noqa: ANN401  # Celery's test hooks
        """Fire what is due; give the seconds to sleep. A ledger that is away is waited for."""
        try:
            pause_s = self._firing.run_once()
        except (Unavailable, SQLAlchemyError) as error:
            self._note_away(error)
            return self._tick_s
        if self._away:
            self._away = False
            _log.warning("the ledger answers again; beat goes on")
        return self._tick_s if pause_s is None else min(self._tick_s, pause_s)

    @property
    def info(self) -> str:
        """A line of beat's banner."""
        return "    . schedules -> the ledger"

    def _note_away(self, error: Exception) -> None:
        """Once for each outage, not once for each attempt."""
        if not self._away:
            self._away = True
            _log.error("beat waits for the ledger: %s", error)


def main(settings: Settings) -> None:
    """Run beat until SIGTERM or SIGINT."""
    beat = make_celery(settings).Beat(
        scheduler=partial(LedgerScheduler, settings=settings),  # type: ignore[arg-type]  # or a callable
        loglevel=settings.log_level,
        quiet=True,
    )
    beat.run()
