"""The sweeper's word: a dead lease runs again, fails, or asks a person; a live one is left."""

from dataclasses import replace
from uuid import uuid4

import pytest

from app.store.ledger import call
from tests.lab.ledger_bench import InThread, all_at_once, make_change, make_step
from tool_catalog.model import Repeat

MAY_REPEAT = [Repeat.READ, Repeat.TRANSACTIONAL, Repeat.IDEMPOTENT, Repeat.KEYED]


@pytest.mark.transition("running -> queued", "reap_step", happens=True)
def test_a_dead_read_runs_again_later(bench):
    execution = bench.open(make_step())
    bench.reap(bench.take(execution, "read"), backoff_s=5)
    bench.ask("update steps set not_before = null")
    bench.reap(bench.take(execution, "read"), backoff_s=5)
    row = bench.rows(execution)[0]
    assert (row["state"], row["attempt"], row["reason"]) == ("queued", 2, "worker_lost")
    assert (row["token"], row["sent_at"]) == (None, None)
    assert 4 < (row["not_before"] - row["queued_at"]).total_seconds() < 6
    assert bench.claim(execution, "read") is None


def test_the_first_start_again_is_at_once(bench):
    execution = bench.open(make_step())
    assert bench.reap(bench.take(execution, "read"), backoff_s=60) == "queued"
    assert bench.take(execution, "read").attempt == 2


def test_a_lease_that_moved_is_left_alone(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    lease = bench.lease(step)
    bench.ledger.heartbeat("w", [step.token])
    assert bench.outbox.reap_step(lease, 3, 0.0)[0] is None
    assert bench.outbox.reap_step(replace(bench.lease(step), token=uuid4()), 3, 0.0)[0] is None
    assert bench.states(execution) == ["running"]
    assert bench.finish(step).accepted


def test_a_lease_that_another_start_holds_is_left_alone(bench):
    execution = bench.open(make_step())
    old = bench.lease(bench.take(execution, "read"))
    bench.outbox.reap_step(old, 3, 0.0)
    bench.take(execution, "read")
    assert bench.outbox.reap_step(old, 3, 0.0)[0] is None
    assert bench.states(execution) == ["running"]


@pytest.mark.parametrize("repeat", MAY_REPEAT)
def test_an_armed_step_that_may_repeat_runs_again(bench, repeat):
    execution = bench.open(make_change(repeat=repeat))
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    assert bench.reap(step) == "queued"
    assert bench.take(execution, "change").attempt == 2
    assert bench.rows(execution)[0]["armed"] is None


@pytest.mark.transition("running -> interrupted, failed, cancelled", "reap_step", happens=True)
@pytest.mark.parametrize("repeat", [Repeat.NEVER, Repeat.PROBE])
def test_an_armed_step_that_may_not_repeat_asks_a_person(bench, repeat):
    execution = bench.open(make_change(repeat=repeat, mutex="asset:7"), make_step("b"))
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    assert bench.reap(step) == "interrupted"
    row = bench.rows(execution)[0]
    assert (row["state"], row["reason"]) == ("interrupted", "worker_lost")
    assert row["armed"] is not None
    assert "automation@test was lost" in row["result"]["summary"]
    assert bench.state(execution) == "attention"
    other = bench.open(make_change("other", mutex="asset:7"))
    assert bench.claim(other, "other") is None


def test_a_change_that_did_not_arm_runs_again(bench):
    execution = bench.open(make_change())
    assert bench.reap(bench.take(execution, "change")) == "queued"


@pytest.mark.transition("running -> interrupted, failed, cancelled", "reap_step", happens=True)
def test_three_starts_are_all_there_are(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    went = [bench.reap(bench.take(execution, "a")) for _ in range(3)]
    assert went == ["queued", "queued", "failed"]
    row = bench.rows(execution)[0]
    assert (row["state"], row["reason"], row["attempt"]) == ("failed", "worker_lost", 3)
    assert row["result"]["summary"] == "worker automation@test was lost after 3 start(s)"
    assert bench.states(execution) == ["failed", "skipped"]
    assert bench.state(execution) == "failed"


def test_a_step_with_more_retries_has_more_starts(bench):
    execution = bench.open(make_step(max_retries=4))
    went = [bench.reap(bench.take(execution, "read")) for _ in range(5)]
    assert went == ["queued"] * 4 + ["failed"]


def test_what_follows_a_lost_step_is_left_to_the_dispatcher(bench):
    execution = bench.open(make_step("a", on_failure="continue"), make_step("b"))
    bench.reap(bench.take(execution, "a"), starts=1)
    assert bench.states(execution) == ["failed", "queued"]
    assert bench.rows(execution, "b")[0]["sent_at"] is None


def test_reapings_at_once_have_one_winner(bench):
    execution = bench.open(make_step())
    lease = bench.lease(bench.take(execution, "read"))
    answers = all_at_once([lambda: bench.outbox.reap_step(lease, 3, 0.0)[0]] * 6)
    assert sorted(answers, key=str) == [None] * 5 + ["queued"]
    assert bench.events(execution).count("step.queued") == 1


def test_an_arming_behind_a_reaping_is_refused(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    with bench.session() as session:
        answer = call(session, "reap_step", step.id, step.token, 0, 3, 0.0)
        assert answer["to"] == "queued"
        arm = InThread(bench.ledger.arm_step, step)
        bench.wait_for_lock()
    assert arm.result() is False


def test_a_reaping_behind_an_arming_asks_a_person(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    lease = bench.lease(step)
    with bench.session() as session:
        assert call(session, "arm_step", step.id, step.token)
        reap = InThread(bench.outbox.reap_step, lease, 3, 0.0)
        bench.wait_for_lock()
    assert reap.result()[0] == "interrupted"
    assert bench.states(execution) == ["interrupted"]


def test_a_reaping_behind_a_heartbeat_leaves_it(bench):
    execution = bench.open(make_step())
    step = bench.take(execution, "read")
    lease = bench.lease(step)
    with bench.session() as session:
        call(session, "heartbeat", "w", [step.token])
        reap = InThread(bench.outbox.reap_step, lease, 3, 0.0)
        bench.wait_for_lock()
    assert reap.result()[0] is None
    assert bench.states(execution) == ["running"]


def test_leases_are_the_running_rows(bench):
    execution = bench.open(make_step(rows=3))
    steps = [bench.take(execution, "read", n) for n in range(2)]
    assert {lease.token for lease in bench.outbox.leases()} == {step.token for step in steps}
    bench.finish(steps[0])
    assert [lease.token for lease in bench.outbox.leases()] == [steps[1].token]
