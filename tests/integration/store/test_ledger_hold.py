"""Retry, interrupt, release, arm, heartbeat: what the holder of a running step may say."""

from dataclasses import replace
from uuid import uuid4

import pytest

from app.step import State
from app.store.ledger import call
from app.store.listener import Listener
from tests.lab.ledger_bench import FAILED, InThread, done, make_change, make_step
from tool_catalog.model import Reason, Repeat

REPEATABLE = [Repeat.READ, Repeat.TRANSACTIONAL, Repeat.IDEMPOTENT, Repeat.KEYED]
NOT_REPEATABLE = [Repeat.NEVER, Repeat.PROBE]
UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)


@pytest.mark.transition("running -> queued", "retry_step", happens=True)
def test_a_retry_goes_back_for_later(bench):
    execution = bench.open(make_step(max_retries=2, backoff_s=5))
    assert bench.ledger.retry_step(bench.take(execution, "read"), FAILED)
    row = bench.rows(execution)[0]
    assert (row["state"], row["attempt"], row["token"]) == ("queued", 1, None)
    assert (row["sent_at"], row["reason"]) == (None, "exit_code")
    assert 4 < (row["not_before"] - row["queued_at"]).total_seconds() < 6
    assert bench.events(execution)[-1] == "step.queued"


def test_the_wait_before_a_retry_doubles(bench):
    execution = bench.open(make_step(max_retries=3, backoff_s=5))
    waits = []
    for _ in range(3):
        bench.ask("update steps set not_before = null")
        assert bench.ledger.retry_step(bench.take(execution, "read"), FAILED)
        row = bench.rows(execution)[0]
        waits.append(round((row["not_before"] - row["queued_at"]).total_seconds()))
    assert waits == [5, 10, 20]


def test_retries_are_used_up(bench):
    execution = bench.open(make_step(max_retries=1))
    assert bench.ledger.retry_step(bench.take(execution, "read"), FAILED)
    step = bench.take(execution, "read")
    assert step.retries_left == 0
    assert not bench.ledger.retry_step(step, FAILED)
    assert bench.finish(step, FAILED).accepted


@pytest.mark.parametrize("repeat", NOT_REPEATABLE)
def test_an_armed_step_is_not_tried_again(bench, repeat):
    execution = bench.open(make_change(repeat=repeat, max_retries=5))
    step = bench.take(execution, "change")
    assert bench.ledger.arm_step(step)
    assert not bench.ledger.retry_step(step, FAILED)
    assert bench.states(execution) == ["running"]


@pytest.mark.parametrize("repeat", REPEATABLE)
def test_an_armed_step_that_may_repeat_is_tried_again(bench, repeat):
    execution = bench.open(make_change(repeat=repeat, max_retries=5))
    step = bench.take(execution, "change")
    assert bench.ledger.arm_step(step)
    assert bench.ledger.retry_step(step, FAILED)


def test_a_step_that_did_not_arm_is_tried_again_whatever_it_is(bench):
    execution = bench.open(make_change(max_retries=1))
    assert bench.ledger.retry_step(bench.take(execution, "change"), FAILED)
    again = bench.take(execution, "change")
    assert bench.rows(execution)[0]["armed"] is None
    assert again.attempt == 2


def test_a_cancelled_step_is_not_tried_again(bench):
    execution = bench.open(make_step(max_retries=5))
    step = bench.take(execution, "read")
    bench.cancel(execution)
    assert not bench.ledger.retry_step(step, FAILED), "nobody could ever claim it"
    assert bench.finish(step, FAILED).accepted


def test_a_retry_that_meets_a_cancel_leaves_nothing_behind(bench):
    execution = bench.open(make_step(max_retries=5))
    step = bench.take(execution, "read")
    with bench.session() as session:
        assert call(session, "cancel_execution", execution, "ops", "", 0)["accepted"]
        retry = InThread(bench.ledger.retry_step, step, FAILED)
        bench.wait_for_lock()
    assert not retry.result()
    with bench.session() as session:
        assert not call(session, "retry_step", step.id, step.token, "exit_code", "{}")
    assert bench.states(execution) == ["running"]


def test_a_cancel_that_meets_a_retry_ends_the_row(bench):
    execution = bench.open(make_step(max_retries=5))
    step = bench.take(execution, "read")
    with bench.session() as session:
        assert call(session, "retry_step", step.id, step.token, "exit_code", "{}")
        cancel = InThread(bench.cancel, execution)
        bench.wait_for_lock()
    assert cancel.result()[0]["accepted"]
    assert bench.states(execution) == ["cancelled"]
    assert bench.state(execution) == "cancelled"


@pytest.mark.transition("running -> interrupted", "interrupt_step", happens=True)
def test_an_unknown_outcome_asks_for_a_person(bench):
    execution = bench.open(make_change(), make_step("b"))
    step = bench.take(execution, "change")
    assert bench.ledger.arm_step(step)
    assert bench.ledger.interrupt_step(step, UNKNOWN)
    assert bench.states(execution) == ["interrupted", "pending"]
    assert bench.state(execution) == "attention"
    assert bench.execution(execution)["interrupted"] == 1
    assert bench.execution(execution)["finished_at"] is None
    assert bench.events(execution)[-1] == "step.interrupted"
    assert not bench.ledger.interrupt_step(step, UNKNOWN)
    assert not bench.ledger.retry_step(step, UNKNOWN)
    assert not bench.ledger.release_step(step)
    assert not bench.ledger.arm_step(step)


def test_a_step_that_did_not_arm_has_no_unknown_outcome(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    assert not bench.ledger.interrupt_step(step, UNKNOWN)
    assert bench.states(execution) == ["running"]


@pytest.mark.transition("interrupted -> succeeded, failed, cancelled", "finish_step", happens=True)
@pytest.mark.parametrize("result", [done(), FAILED])
def test_a_late_result_of_the_same_worker_resolves_it(bench, result):
    execution = bench.open(make_change(), make_step("b"))
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, UNKNOWN)
    assert not bench.finish(replace(step, token=uuid4()), result).accepted
    finished = bench.finish(step, result)
    row = bench.rows(execution)[0]
    assert (row["state"], row["reason"]) == (result.state, "late_result")
    assert bench.execution(execution)["interrupted"] == 0
    assert finished.state == ("failed" if result is FAILED else "running")


@pytest.mark.transition("running -> queued", "release_step", happens=True)
def test_release_gives_an_unarmed_step_back_at_once(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    assert bench.ledger.release_step(step)
    row = bench.rows(execution)[0]
    assert (row["state"], row["sent_at"], row["not_before"]) == ("queued", None, None)
    assert (row["token"], row["worker"]) == (None, None)
    assert bench.take(execution, "change").attempt == 1  # as if it never began


def test_an_armed_step_is_not_released(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    assert not bench.ledger.release_step(step)
    assert bench.states(execution) == ["running"]


def test_a_cancelled_step_that_is_released_is_cancelled(bench):
    execution = bench.open(make_change(), last=(make_step("tidy"),))
    step = bench.take(execution, "change")
    bench.cancel(execution)
    assert bench.ledger.release_step(step)
    assert bench.states(execution) == ["cancelled", "queued"], "nobody could ever claim it"


@pytest.mark.transition("running, armed", "arm_step", happens=True)
def test_arming_is_noted_once_the_step_is_ours(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    assert bench.rows(execution)[0]["armed"] is None
    assert bench.ledger.arm_step(step)
    assert bench.rows(execution)[0]["armed"] is not None
    assert bench.finish(step).accepted
    assert not bench.ledger.arm_step(step)


def test_a_cancelled_step_does_not_arm(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    bench.cancel(execution)
    assert not bench.ledger.arm_step(step)
    assert bench.rows(execution)[0]["armed"] is None


def test_a_heartbeat_tells_what_is_ours_and_what_must_stop(bench):
    execution = bench.open(make_step("a", rows=2))
    other = bench.open(make_step("b"))
    first, second = (bench.take(execution, "a", n) for n in range(2))
    third, stranger = bench.take(other, "b"), uuid4()
    tokens = [first.token, second.token, third.token, stranger]
    assert bench.ledger.heartbeat("w", tokens) == (set(tokens) - {stranger}, set())
    bench.finish(first)
    bench.cancel(execution)
    mine, stop = bench.ledger.heartbeat("w", tokens)
    assert mine == {second.token, third.token}
    assert stop == {second.token}
    assert [row["heartbeats"] for row in bench.rows(execution)] == [1, 2]
    assert bench.ledger.heartbeat("w", []) == (set(), set())


def test_an_interrupted_step_still_belongs_to_who_runs_it(bench):
    """Its worker may bring the late result: it must not be told to end it."""
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    assert bench.reap(step) == "interrupted"
    assert bench.ledger.heartbeat("w", [step.token]) == ({step.token}, set())
    bench.cancel(execution)
    assert bench.ledger.heartbeat("w", [step.token]) == ({step.token}, set())


def test_a_freed_mutex_is_told_to_the_dispatcher(bench):
    execution = bench.open(make_change(mutex="asset:7"), make_change("b", mutex="asset:7"))
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        step = bench.take(execution, "change")
        bench.ledger.arm_step(step)
        assert notes.wait(0.05) == []
        bench.finish(step)
        assert notes.wait(5) == ["mutex"]
        bench.ledger.release_step(bench.take(execution, "b"))
        assert notes.wait(5)
