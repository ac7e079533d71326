"""The heart of a worker process, on a real database."""

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from app.config import Settings
from app.store.db import make_engine
from app.store.roster import Roster
from app.worker_offer import WorkerOffer
from tests.lab.waiting import wait_until
from workers import lifecycle
from workers.lifecycle import Pulse

OFFER = WorkerOffer("w@here", "here", "automation", ("automation",), 4)


@dataclass
class Steps:
    """Counts the beats."""

    beats: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def heartbeat(self):
        self.beats.release()

    def give_up_repeatable(self):
        raise AssertionError("the ledger is there")


@pytest.fixture
def shop(database_url):
    settings = Settings(OPSFARM_DATABASE_URL=database_url, heartbeat_s=0.05)
    return SimpleNamespace(settings=settings, worker=OFFER.name, running=Steps(), catalog=None)


@pytest.fixture
def roster(database_url):
    engine = make_engine(database_url)
    yield Roster(engine)
    engine.dispose()


def test_leases_are_renewed_while_programs_are_slow_to_tell(shop, roster, monkeypatch):
    go_on = threading.Event()

    def ask(names):
        assert go_on.wait(10)
        return dict.fromkeys(names, "7.93")

    monkeypatch.setattr(lifecycle, "find_programs", lambda _catalog, _pool: ["nmap"])
    monkeypatch.setattr(lifecycle, "ask_versions", ask)
    pulse = Pulse(shop, SimpleNamespace(roster=roster), OFFER)
    pulse.start()
    try:
        for _ in range(3):
            assert shop.running.beats.acquire(timeout=10)
        assert roster.offers(10)[0].programs == {}
        go_on.set()
        wait_until(lambda: roster.offers(10)[0].programs, "it told nothing", 10)
    finally:
        go_on.set()
        pulse.stop()
    (offer,) = roster.offers(10)
    assert (dict(offer.programs), offer.stopped) == ({"nmap": "7.93"}, True)
