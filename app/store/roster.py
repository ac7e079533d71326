"""The roster: which workers there are and what they can do, renewed by their heartbeat."""

import time
from typing import Any

from sqlalchemy import Engine, and_, case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.store.db import guard_unavailable
from app.store.models import WorkerRow
from app.worker_offer import WorkerOffer

#: A process that died within this time of its start died of something that it met at once.
_YOUNG = text("interval '60 s'")
#: Deaths that lie further back tell nothing of now.
_LONG_AGO = text("interval '10 min'")


class Roster:
    """Workers advertise here; submit and the dispatcher read it. Raises Unavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def advertise(self, worker: WorkerOffer) -> None:
        """Write or renew a worker's entry; its first one also sets when it started."""
        values = _entry_of(worker)
        entry = insert(WorkerRow).values(**values)
        entry = entry.on_conflict_do_update(
            index_elements=["name"], set_={**values, "seen_at": func.now(), "stopped_at": None}
        )
        with guard_unavailable(), self._engine.begin() as connection:
            connection.execute(entry)

    def begin(self, worker: WorkerOffer) -> int:
        """Enter a process that starts; how often in a row those before it died young.

        One that did not say goodbye died; within a minute of its start, young.
        """
        died_young = and_(
            WorkerRow.stopped_at.is_(None),
            WorkerRow.seen_at - WorkerRow.started_at < _YOUNG,
            WorkerRow.seen_at > func.now() - _LONG_AGO,
        )
        entry = _entry_of(worker)
        begun = insert(WorkerRow).values(**entry)
        counted = begun.on_conflict_do_update(
            index_elements=["name"],
            set_={
                **entry,
                "started_at": func.now(),
                "seen_at": func.now(),
                "stopped_at": None,
                "deaths": case((died_young, WorkerRow.deaths + 1), else_=0),
            },
        ).returning(WorkerRow.deaths)
        with guard_unavailable(), self._engine.begin() as connection:
            return int(connection.execute(counted).scalar_one())

    def forgive(self, name: str) -> None:
        """Count a worker's deaths anew: what may have killed it is gone."""
        gone = update(WorkerRow).where(WorkerRow.name == name).values(deaths=0)
        with guard_unavailable(), self._engine.begin() as connection:
            connection.execute(gone)

    def retire(self, name: str) -> None:
        """Note an orderly stop; the entry stays, so that its offers are still known."""
        gone = update(WorkerRow).where(WorkerRow.name == name).values(stopped_at=func.now())
        with guard_unavailable(), self._engine.begin() as connection:
            connection.execute(gone)

    def offers(self, within_s: float) -> tuple[WorkerOffer, ...]:
        """Workers seen within so many seconds, stopped ones included, by name."""
        age_s = func.extract("epoch", func.now() - WorkerRow.seen_at)
        rows = select(WorkerRow.__table__, age_s.label("age_s"))
        rows = rows.where(age_s <= within_s).order_by(WorkerRow.name)
        with guard_unavailable(), self._engine.connect() as connection:
            return tuple(_to_offer(row) for row in connection.execute(rows))


class RecentOffers:
    """The roster as of at most a second ago: submit asks it for every plan."""

    def __init__(self, roster: Roster, within_s: float, age_s: float = 1.0) -> None:
        self._roster = roster
        self._within_s = within_s
        self._age_s = age_s
        self._read_at = float("-inf")
        self._offers: tuple[WorkerOffer, ...] = ()

    def read(self) -> tuple[WorkerOffer, ...]:
        """As `Roster.offers`; two threads may both ask anew, which does no harm."""
        now = time.monotonic()
        if now - self._read_at > self._age_s:
            self._offers = self._roster.offers(self._within_s)
            self._read_at = now
        return self._offers


def _entry_of(worker: WorkerOffer) -> dict[str, Any]:
    return {
        "name": worker.name,
        "host": worker.host,
        "pool": worker.pool,
        "queues": list(worker.queues),
        "slots": worker.slots,
        "offers": {
            "programs": dict(worker.programs),
            "capabilities": list(worker.capabilities),
            "interfaces": list(worker.interfaces),
        },
    }


def _to_offer(row: Any) -> WorkerOffer:  # noqa: ANN401  # a row with the columns of WorkerRow
    return WorkerOffer(
        name=row.name,
        host=row.host,
        pool=row.pool,
        queues=tuple(row.queues),
        slots=row.slots,
        programs=row.offers.get("programs", {}),
        capabilities=tuple(row.offers.get("capabilities", ())),
        interfaces=tuple(row.offers.get("interfaces", ())),
        seconds_ago=max(0.0, float(row.age_s)),
        stopped=row.stopped_at is not None,
    )
