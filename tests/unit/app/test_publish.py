import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from app.errors import Unavailable
from app.publish import DEPTH_AGE_S, Publisher, Window
from app.store.ledger import Link, Sending


class FakeLedger:
    """Keeps what was taken back."""

    def __init__(self):
        self.unsent = []
        self.away = False

    def unsend_steps(self, step_ids):
        if self.away:
            raise Unavailable("away")
        self.unsent += step_ids
        return len(step_ids)


@pytest.fixture
def ledger():
    return FakeLedger()


@pytest.fixture
def clock(monkeypatch):
    """Moves when it is told to."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("app.publish.time.monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def publisher(ledger):
    """A publisher whose sends are noted in `.sent`; one in `.broken` cannot be sent."""
    celery = Celery("test", broker="memory://", set_as_current=False)
    made = Publisher(celery, ledger, 4)
    made.window = Window(lambda queue: made.depths.get(queue, 0), 4)
    made.depths, made.sent, made.broken = {}, [], set()

    def send(name, args, **options):
        if args[0] in made.broken:
            raise OperationalError("no broker")
        made.sent.append(
            (args[0], options["queue"], [t["args"][0] for t in options["chain"] or ()])
        )

    def send_task(name, args=None, kwargs=None, **options):
        return send(name, args, **{"chain": None, **options})

    celery.send_task = send_task
    yield made
    celery.close()


def rows(count, queue="q", first=1, **members):
    run = tuple(Link(first + n, 0, queue, "df", "usage", 1) for n in range(count))
    return Sending(run=run, **members)


def test_a_broker_that_kept_us_waiting_is_left_alone_for_as_long(publisher, ledger, clock):
    def freeze(_queue):
        clock.now += 20
        raise OperationalError("timed out")

    publisher.window = Window(freeze, 4)
    assert publisher.room("q") is None
    assert clock.now == 1020
    assert publisher.room("q") is None
    assert not publisher.publish(rows(2))
    assert (clock.now, ledger.unsent) == (1020, [1, 2]), "nobody waited again"
    publisher.window = Window(lambda _queue: 0, 4)
    clock.now += 20.5
    assert publisher.room("q") == 4
    assert publisher.publish(rows(1))


def test_a_broker_that_refuses_at_once_is_asked_again_at_once(publisher, clock):
    publisher.broken = {1}
    assert not publisher.publish(rows(1))
    publisher.broken = set()
    assert publisher.publish(rows(1))


def test_nothing_to_send_is_sent(publisher, ledger):
    assert publisher.publish(Sending())
    assert (publisher.sent, ledger.unsent) == ([], [])


def test_rows_go_one_by_one(publisher, ledger):
    assert publisher.publish(rows(3))
    assert [number for number, *_ in publisher.sent] == [1, 2, 3]
    assert ledger.unsent == []


def test_a_chain_goes_as_one_message_and_takes_one_place(publisher):
    assert publisher.publish(rows(4, chain=True))
    assert len(publisher.sent) == 1
    assert publisher.window.room("q") == 3


def test_what_does_not_fit_is_taken_back(publisher, ledger):
    assert publisher.publish(rows(6))
    assert [number for number, *_ in publisher.sent] == [1, 2, 3, 4]
    assert ledger.unsent == [5, 6]


def test_a_chain_that_does_not_fit_gives_back_its_first_row(publisher, ledger):
    publisher.depths["q"] = 4
    assert publisher.publish(rows(3, chain=True))
    assert publisher.sent == []
    assert ledger.unsent == [1]


def test_a_full_queue_does_not_stop_another(publisher, ledger):
    publisher.depths["full"] = 4
    run = rows(2, "full").run + rows(2, "free", first=10).run
    assert publisher.publish(Sending(run=run))
    assert [number for number, *_ in publisher.sent] == [10, 11]
    assert ledger.unsent == [1, 2]


def test_what_the_broker_did_not_take_is_taken_back(publisher, ledger):
    publisher.broken = {2}
    assert not publisher.publish(rows(3))
    assert [number for number, *_ in publisher.sent] == [1]
    assert ledger.unsent == [2, 3]


def test_a_ledger_that_is_away_too_leaves_it_to_the_dispatcher(publisher, ledger):
    publisher.broken, ledger.away = {1}, True
    assert not publisher.publish(rows(1))


def test_a_broker_that_cannot_tell_its_depth_takes_nothing(publisher, ledger):
    def gone(queue):
        raise OperationalError("no broker")

    publisher.window = Window(gone, 4)
    assert not publisher.publish(rows(2))
    assert ledger.unsent == [1, 2]


def test_the_depth_is_asked_once_a_second(clock):
    asked = []
    window = Window(lambda queue: asked.append(queue) or 1, 4)
    assert [window.room("q"), window.room("q")] == [3, 3]
    assert window.room("other") == 3
    assert asked == ["q", "other"]
    clock.now += DEPTH_AGE_S + 0.1
    window.room("q")
    assert asked == ["q", "other", "q"]


def test_what_we_publish_counts_until_it_is_asked_again(clock):
    depths = {"q": 0}
    window = Window(lambda queue: depths[queue], 3)
    for room in (3, 2, 1, 0, 0):
        assert window.room("q") == room
        window.count("q")
    clock.now += DEPTH_AGE_S + 0.1
    assert window.room("q") == 3


def test_a_window_can_be_widened_but_not_narrowed():
    window = Window(lambda queue: 0, 4)
    window.widen("q", 100)
    assert (window.room("q"), window.room("other")) == (100, 4)
    window.widen("q", 1)
    assert window.room("q") == 4


def test_a_fuller_queue_than_the_window_has_no_room():
    assert Window(lambda queue: 9, 4).room("q") == 0
