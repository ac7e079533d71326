from uuid import UUID, uuid4

import pytest

from app.errors import Unavailable
from app.step import Step
from tasks.running import RunningSteps
from tool_catalog.model import Effect, Repeat


class FakeLedger:
    """Answers heartbeats with what a test planted."""

    def __init__(self):
        self.mine, self.stop, self.away, self.asked = None, set(), False, []

    def heartbeat(self, worker, tokens):
        if self.away:
            raise Unavailable("away")
        self.asked.append((worker, tokens))
        return set(tokens) if self.mine is None else self.mine, self.stop


@pytest.fixture
def ledger():
    return FakeLedger()


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr("tasks.running.time.monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def running(ledger, clock):
    return RunningSteps(ledger, "w", 20.0)


def make(repeat=Repeat.READ, effect=Effect.READ):
    return Step(
        id=1,
        execution_id=UUID(int=1),
        tenant="default",
        plan_name="",
        position=1,
        key="a",
        tool="t",
        operation="o",
        effect=effect,
        repeat=repeat,
        parameters={},
        target=None,
        attempt=1,
        token=uuid4(),
        timeout_s=1,
        retries_left=0,
        backoff_s=0,
    )


def test_a_step_is_held_while_it_runs(running):
    step = make()
    with running.watch(step) as held:
        assert running.list() == [held]
        assert held.step is step
    assert running.list() == []


def test_a_step_that_breaks_is_let_go(running):
    with pytest.raises(RuntimeError), running.watch(make()):
        raise RuntimeError
    assert running.list() == []


def test_one_heartbeat_is_for_all(running, ledger):
    first, second = make(), make()
    with running.watch(first), running.watch(second):
        running.heartbeat()
    assert ledger.asked == [("w", [first.token, second.token])]


def test_a_cancelled_step_is_stopped_and_still_ours(running, ledger):
    with running.watch(make()) as held, running.watch(make()) as other:
        ledger.stop = {held.step.token}
        running.heartbeat()
    assert (held.cancelled.is_set(), held.lost) == (True, False)
    assert not other.cancelled.is_set()


def test_a_step_that_was_taken_away_is_stopped_as_lost(running, ledger):
    with running.watch(make()) as held, running.watch(make()) as other:
        ledger.mine = {other.step.token}
        running.heartbeat()
    assert (held.cancelled.is_set(), held.lost) == (True, True)
    assert (other.cancelled.is_set(), other.lost) == (False, False)


def test_a_step_that_ended_during_the_heartbeat_is_nobody_s_loss(running, ledger):
    with running.watch(make()) as held:
        pass

    def answer(worker, tokens):
        return set(), set()

    running._steps[id(held)] = held
    snapshot = running.list()
    del running._steps[id(held)]
    running.list = lambda: snapshot
    ledger.heartbeat = answer
    running.heartbeat()
    assert not held.lost


@pytest.mark.parametrize(
    ("repeat", "armed", "ended"),
    [
        (Repeat.READ, False, True),
        (Repeat.NEVER, False, True),
        (Repeat.IDEMPOTENT, True, True),
        (Repeat.KEYED, True, True),
        (Repeat.TRANSACTIONAL, True, True),
        (Repeat.NEVER, True, False),
        (Repeat.PROBE, True, False),
    ],
)
def test_without_a_ledger_only_what_would_run_again_is_ended(running, clock, repeat, armed, ended):
    with running.watch(make(repeat)) as held:
        held.armed = armed
        running.give_up_repeatable()
        assert not held.cancelled.is_set(), "not before its time"
        clock.now += 20.1
        running.give_up_repeatable()
        assert (held.cancelled.is_set(), held.lost) == (ended, ended)


def test_a_heartbeat_starts_the_time_again(running, ledger, clock):
    with running.watch(make()) as held:
        clock.now += 19
        running.heartbeat()
        clock.now += 19
        ledger.away = True
        with pytest.raises(Unavailable):
            running.heartbeat()
        running.give_up_repeatable()
        assert not held.cancelled.is_set()
        clock.now += 2
        running.give_up_repeatable()
        assert held.cancelled.is_set()
