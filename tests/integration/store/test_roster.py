from sqlalchemy import text

from app.store.roster import Roster
from app.worker_offer import WorkerOffer

CAPTURE = WorkerOffer(
    name="capture@cap-1",
    host="cap-1",
    pool="capture",
    queues=("network.capture", "network.capture.cap-1"),
    slots=4,
    programs={"tcpdump": "4.99.3"},
    capabilities=("net_raw", "net_admin"),
    interfaces=("eth0", "lo"),
)


def age(engine, name, seconds):
    with engine.begin() as connection:
        connection.execute(
            text("update workers set seen_at = now() - make_interval(secs => :s) where name = :n"),
            {"s": seconds, "n": name},
        )


def test_what_a_worker_advertises_is_what_is_offered(engine):
    roster = Roster(engine)
    roster.advertise(CAPTURE)
    (offer,) = roster.offers(60)
    assert (offer.name, offer.host, offer.pool) == ("capture@cap-1", "cap-1", "capture")
    assert offer.queues == ("network.capture", "network.capture.cap-1")
    assert offer.slots == 4
    assert offer.programs == {"tcpdump": "4.99.3"}
    assert offer.capabilities == ("net_raw", "net_admin")
    assert offer.interfaces == ("eth0", "lo")
    assert not offer.stopped
    assert 0 <= offer.seconds_ago < 30


def test_advertising_again_renews_and_replaces(engine):
    roster = Roster(engine)
    roster.advertise(CAPTURE)
    age(engine, CAPTURE.name, 500)
    roster.advertise(WorkerOffer(**{**_fields(CAPTURE), "slots": 9, "programs": {}}))
    (offer,) = roster.offers(60)
    assert offer.slots == 9
    assert offer.programs == {}


def test_silent_workers_are_offered_only_within_the_time_asked_for(engine):
    roster = Roster(engine)
    roster.advertise(CAPTURE)
    age(engine, CAPTURE.name, 500)
    assert roster.offers(60) == ()
    (offer,) = roster.offers(600)
    assert 490 < offer.seconds_ago < 560


def test_a_retired_worker_is_still_known_but_stopped_until_it_comes_back(engine):
    roster = Roster(engine)
    roster.advertise(CAPTURE)
    roster.retire(CAPTURE.name)
    assert [offer.stopped for offer in roster.offers(60)] == [True]
    roster.advertise(CAPTURE)
    assert [offer.stopped for offer in roster.offers(60)] == [False]


def _fields(offer):
    return {name: getattr(offer, name) for name in offer.__dataclass_fields__}
