"""The roster: which workers there are and what they can do, renewed by their heartbeat."""

import time
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.store.db import guard_unavailable
from app.store.models import WorkerRow
from app.worker_offer import WorkerOffer


class Roster:
    """Workers advertise here; submit and the dispatcher read it. Raises Unavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def advertise(self, worker: WorkerOffer) -> None:
        """Write or renew a worker's entry; its first one also sets when it started."""
        values = {
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
        entry = insert(WorkerRow).values(name=worker.name, **values)
        entry = entry.on_conflict_do_update(
            index_elements=["name"], set_={**values, "seen_at": func.now(), "stopped_at": None}
        )
        with guard_unavailable(), self._engine.begin() as connection:
            connection.execute(entry)

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
