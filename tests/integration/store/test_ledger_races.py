"""Two sessions, one row: the first holds its transaction open, the second runs into it.

Each pair is played in both orders, with the first committed and with it rolled back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.lab import ledger_words as say
from tests.lab.ledger_bench import FAILED, InThread, LedgerBench, done, make_change, wait_until
from tests.lab.ledger_books import check, check_events, check_mutexes
from tests.lab.ledger_words import Scene, Word, arrive, took
from tool_catalog.model import Repeat


@dataclass(frozen=True)
class Race:
    """Two words about one row, and what becomes of it in both orders.

    Each end is (whether the second one's word was taken, the row's state); the first one's is.
    """

    arrange: Callable[[LedgerBench], Scene]
    words: tuple[Word, Word]
    ends: tuple[tuple[bool, str], tuple[bool, str]]
    #: Whether each second one's word is taken when the first one's was taken back.
    alone: tuple[bool, bool] = (True, True)


def at(state: str, **members) -> Callable[[LedgerBench], Scene]:
    return lambda bench: arrive(bench, state, **members)


def unsent(bench: LedgerBench) -> Scene:
    scene = arrive(bench, "queued")
    assert bench.ledger.unsend_steps([scene.row]) == 1
    return scene


def lost(bench: LedgerBench) -> Scene:
    """Claimed once and taken away again; the former holder's lease is what the scene holds."""
    scene = arrive(bench, "running")
    assert bench.reap(scene.step) == "queued"
    return scene


def overdue(bench: LedgerBench) -> Scene:
    scene = arrive(bench, "queued", queue_timeout_s=10.0)
    bench.ask("update steps set queued_at = queued_at - interval '11 s'")
    return scene


def unanswered(bench: LedgerBench) -> Scene:
    """An approval whose time is over soon after the yes was said."""
    scene = arrive(bench, "waiting")
    bench.ask("update approvals set expires_at = clock_timestamp() + interval '1 s'")
    return scene


def changed(bench: LedgerBench) -> Scene:
    """A failed execution that has something to reverse."""
    execution = bench.open(make_change("before"), make_change("a"))
    bench.run(execution, "before")
    bench.run(execution, "a", FAILED)
    return Scene(bench, execution, bench.step_id(execution, "a"))


def expire(connection, scene):
    """The sweep, once the time is over."""
    left_s = "extract(epoch from max(expires_at) - clock_timestamp())"
    connection.exec_driver_sql(f"select pg_sleep(0.01 + greatest(0, {left_s})) from approvals")
    return say.expire_approvals(connection, scene)


RACES = {
    "claim, claim": Race(
        at("queued"), (say.claim, say.claim), ((False, "running"), (False, "running"))
    ),
    "claim, cancel": Race(
        at("queued"), (say.claim, say.cancel), ((True, "running"), (False, "cancelled"))
    ),
    "claim, publish again, an older start reaped": Race(
        lost, (say.claim, say.resend), ((False, "running"), (True, "running"))
    ),
    "claim, publish": Race(
        unsent, (say.claim, say.take_unsent), ((False, "running"), (True, "running"))
    ),
    "claim, unsend": Race(
        at("queued"), (say.claim, say.unsend), ((False, "running"), (True, "running"))
    ),
    "finish, cancel": Race(
        at("armed"), (say.finish, say.cancel), ((False, "succeeded"), (True, "succeeded"))
    ),
    "finish, reap": Race(
        at("running"), (say.finish, say.reap), ((False, "succeeded"), (False, "queued"))
    ),
    "finish, reap of what may not repeat": Race(
        at("armed"), (say.finish, say.reap), ((False, "succeeded"), (True, "succeeded"))
    ),
    "finish, failure": Race(
        at("armed"), (say.finish, say.fail), ((False, "succeeded"), (False, "failed"))
    ),
    "finish, failure, late": Race(
        at("interrupted"), (say.finish, say.fail), ((False, "succeeded"), (False, "failed"))
    ),
    "finish, interrupt": Race(
        at("armed"), (say.finish, say.interrupt), ((False, "succeeded"), (True, "succeeded"))
    ),
    "reap, reap": Race(at("running"), (say.reap, say.reap), ((False, "queued"), (False, "queued"))),
    "reap, reap of what may not repeat": Race(
        at("armed"), (say.reap, say.reap), ((False, "interrupted"), (False, "interrupted"))
    ),
    "reap, cancel": Race(
        at("running"), (say.reap, say.cancel), ((True, "cancelled"), (True, "cancelled"))
    ),
    "reap, arm": Race(
        at("running"), (say.reap, say.arm), ((False, "queued"), (True, "interrupted"))
    ),
    "resolve, late result": Race(
        at("interrupted"),
        (say.resolve("failed"), say.finish),
        ((False, "failed"), (False, "succeeded")),
    ),
    "retry by word, late result": Race(
        at("interrupted"),
        (say.resolve("retry"), say.finish),
        ((False, "queued"), (False, "succeeded")),
    ),
    "resolve, resolve": Race(
        at("interrupted"),
        (say.resolve("succeeded"), say.resolve("retry")),
        ((False, "succeeded"), (False, "queued")),
    ),
    "cancel, resolve": Race(
        at("interrupted"),
        (say.cancel, say.resolve("retry")),
        ((False, "interrupted"), (True, "cancelled")),
    ),
    "cancel, skip": Race(
        at("interrupted"),
        (say.cancel, say.resolve("skipped")),
        ((True, "cancelled"), (False, "skipped")),
    ),
    "resume, resume": Race(
        at("failed"), (say.resume, say.resume), ((False, "queued"), (False, "queued"))
    ),
    "resume, requeue": Race(
        at("failed"), (say.resume, say.requeue), ((False, "queued"), (False, "queued"))
    ),
    "requeue, discard": Race(
        at("failed"), (say.requeue, say.discard), ((False, "queued"), (True, "queued"))
    ),
    "discard, discard": Race(
        at("failed"), (say.discard, say.discard), ((False, "failed"), (False, "failed"))
    ),
    "undo, resume": Race(changed, (say.undo, say.resume), ((False, "failed"), (False, "queued"))),
    "undo, undo": Race(changed, (say.undo, say.undo), ((False, "failed"), (False, "failed"))),
    "approve, reject": Race(
        at("waiting"), (say.approve, say.reject), ((False, "queued"), (False, "cancelled"))
    ),
    "approve, approve": Race(
        at("waiting"), (say.approve, say.approve), ((False, "queued"), (False, "queued"))
    ),
    "approve, expire": Race(
        unanswered,
        (say.approve, expire),
        ((False, "queued"), (False, "cancelled")),
        alone=(True, False),  # it is too late by then
    ),
    "approve, cancel": Race(
        at("waiting"), (say.approve, say.cancel), ((True, "cancelled"), (False, "cancelled"))
    ),
    "publish, publish": Race(
        unsent, (say.take_unsent, say.take_unsent), ((False, "queued"), (False, "queued"))
    ),
    "release, cancel": Race(
        at("running"), (say.release, say.cancel), ((True, "cancelled"), (True, "cancelled"))
    ),
    "release, reap": Race(
        at("running"), (say.release, say.reap), ((False, "queued"), (False, "queued"))
    ),
    "release, arm": Race(
        at("running"), (say.release, say.arm), ((False, "queued"), (False, "running"))
    ),
    "retry, reap": Race(
        at("running"), (say.retry, say.reap), ((False, "queued"), (False, "queued"))
    ),
    # Arming waits for nobody: a cancel that is not committed yet comes after it.
    "arm, cancel": Race(
        at("running"), (say.arm, say.cancel), ((True, "running"), (True, "running"))
    ),
    "time out in the queue, claim": Race(
        overdue, (say.expire_queued, say.claim), ((False, "failed"), (False, "running"))
    ),
    "time out in the queue, cancel": Race(
        overdue, (say.expire_queued, say.cancel), ((False, "failed"), (False, "cancelled"))
    ),
    "expand, cancel": Race(
        at("due"), (say.expand, say.cancel), ((True, "cancelled"), (False, "cancelled"))
    ),
    "expand, skip": Race(
        at("due"), (say.expand, say.skip), ((False, "queued"), (False, "skipped"))
    ),
    "expand, expand": Race(
        at("due"), (say.expand, say.expand), ((False, "queued"), (False, "queued"))
    ),
}
PLAYED = pytest.mark.parametrize("swapped", [False, True], ids=["in order", "swapped"])


def play(bench: LedgerBench, scene: Scene, first: Word, second: Word, *, commit: bool) -> object:
    """What the second one's word came to, said while the first one's transaction is open."""

    def say_second():
        with bench.session() as session:
            return second(session, scene)

    with bench.engine.connect() as session, session.begin() as transaction:
        assert took(first(session, scene))
        later = InThread(say_second)
        wait_until(lambda: later.is_over() or bench.is_waiting())
        if commit:
            transaction.commit()
        else:
            transaction.rollback()
    return later.result()


def check_books(bench: LedgerBench, scene: Scene) -> None:
    check(bench, scene.execution)
    check_mutexes(bench)
    check_events(bench, scene.execution)


@PLAYED
@pytest.mark.parametrize("name", RACES)
def test_one_of_two_wins_and_the_other_is_told(bench, name, swapped):
    race = RACES[name]
    scene = race.arrange(bench)
    first, second = reversed(race.words) if swapped else race.words
    taken, state = race.ends[swapped]
    answer = play(bench, scene, first, second, commit=True)
    assert (took(answer), scene.state) == (taken, state)
    check_books(bench, scene)


@PLAYED
@pytest.mark.parametrize("name", RACES)
def test_what_is_taken_back_never_was(bench, name, swapped):
    race = RACES[name]
    scene = race.arrange(bench)
    first, second = reversed(race.words) if swapped else race.words
    answer = play(bench, scene, first, second, commit=False)
    passed_over = second in {say.take_unsent, say.resend, say.unsend}  # they wait for no row
    assert took(answer) == (race.alone[swapped] and not passed_over), "as if it had been alone"
    check_books(bench, scene)


def test_the_reaping_of_an_older_start_does_not_touch_a_new_one(bench):
    scene = lost(bench)
    with bench.session() as session:
        assert not took(say.reap(session, scene))
        later = InThread(bench.claim_row, scene.row, scene.attempt)
        wait_until(later.is_over)
    held = later.result()
    assert held.attempt == 2
    with bench.session() as session:
        assert not took(say.reap(session, scene))
    assert (scene.state, bench.rows(scene.execution)[0]["token"]) == ("running", held.token)
    check_books(bench, scene)


def test_every_word_that_waits_for_a_row_waits_for_its_execution_first(bench):
    """The one order of locks: whoever holds the execution finds the row free."""
    words = [say.finish, say.retry, say.interrupt, say.release, say.reap, say.probe("done")]
    scene = arrive(bench, "armed", repeat=Repeat.PROBE)
    for word in words:
        with bench.session() as holder:
            holder.exec_driver_sql("select 1 from executions for update")
            later = InThread(_say_and_take_back, bench, scene, word)
            wait_until(lambda later=later: later.is_over() or bench.is_waiting())
            assert not later.is_over()
            holder.exec_driver_sql("select 1 from steps for update nowait")
        later.result()
    assert bench.finish(scene.step, done()).accepted


def _say_and_take_back(bench, scene, word):
    with bench.engine.connect() as session, session.begin() as transaction:
        word(session, scene)
        transaction.rollback()
