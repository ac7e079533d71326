"""Cancel: what has not started ends at once, what runs is told, `finally` follows."""

import pytest

from app.step import State
from app.store.ledger import call
from app.store.listener import Listener
from tests.lab.ledger_bench import FAILED, InThread, all_at_once, done, make_change, make_step
from tool_catalog.model import Reason, Repeat

STOPPED = done(State.CANCELLED, Reason.STOPPED, stopped="verified")


@pytest.mark.transition(
    "pending, due, waiting, queued -> cancelled", "cancel_execution", happens=True
)
def test_what_has_not_started_ends_at_once(bench):
    execution = bench.open(make_step("a", rows=3), make_step("b"))
    answer, sending = bench.cancel(execution)
    assert (answer["accepted"], answer["state"]) == (True, "cancelled")
    assert sending.run == ()
    assert bench.states(execution) == ["cancelled"] * 4
    assert {row["reason"] for row in bench.rows(execution)} == {"stopped"}
    row = bench.execution(execution)
    assert (row["cancelled_by"], row["cancel_reason"]) == ("ops", "why not")
    assert row["cancelled"] == 4
    assert row["finished_at"] is not None
    kinds = bench.events(execution)
    assert kinds.count("step.cancelled") == 4
    assert kinds[1] == "execution.cancel_requested"
    assert kinds[-1] == "execution.finished"


def test_a_running_step_is_told_and_ends_the_execution(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    with Listener(bench.autocommit, "opsfarm_cancel") as notes:
        answer, _ = bench.cancel(execution)
        assert notes.wait(5) == [str(execution)]
    assert answer["state"] == "running"
    assert bench.states(execution) == ["running", "cancelled"]
    assert bench.ledger.heartbeat("w", [step.token]) == ({step.token}, {step.token})
    finished = bench.finish(step, STOPPED)
    assert finished.state == "cancelled"
    assert bench.states(execution) == ["cancelled", "cancelled"]
    assert bench.rows(execution)[0]["result"]["stopped"] == "verified"


@pytest.mark.parametrize(("result", "state"), [(done(), "cancelled"), (FAILED, "failed")])
def test_a_step_that_was_faster_than_its_cancel_keeps_its_result(bench, result, state):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    bench.cancel(execution)
    assert bench.finish(step, result).state == state
    assert bench.states(execution) == [result.state, "cancelled"]


def test_the_last_step_s_success_is_no_cancel(bench):
    execution = bench.open(make_step("a"))
    step = bench.take(execution, "a")
    bench.cancel(execution)
    assert bench.finish(step).state == "succeeded"


@pytest.mark.transition(
    "pending, due, waiting, queued -> cancelled", "cancel_execution", happens=True
)
def test_a_due_step_is_cancelled_and_cannot_be_expanded(bench):
    execution = bench.open(make_step("late", dynamic=True, template={}))
    bench.cancel(execution)
    assert bench.states(execution) == ["cancelled"]
    step_id = bench.step_id(execution, "late")
    assert bench.expand(step_id, make_step("late", position=1)).run == ()
    assert bench.end_due(step_id).run == ()
    assert bench.states(execution) == ["cancelled"]


def test_finally_follows_a_cancel(bench):
    execution = bench.open(make_step("a"), make_step("b"), last=(make_step("y"), make_step("z")))
    answer, sending = bench.cancel(execution)
    assert answer["state"] == "running"
    assert [link.tool for link in sending.run] == ["y", "z"]
    assert bench.states(execution) == ["cancelled", "cancelled", "queued", "pending"]
    bench.run(execution, "y")
    assert bench.run(execution, "z").state == "cancelled"


def test_finally_waits_for_the_step_that_is_being_stopped(bench):
    execution = bench.open(make_step("a", rows=2), last=(make_step("z"),))
    step = bench.take(execution, "a", 0)
    _, sending = bench.cancel(execution)
    assert sending.run == ()
    assert bench.states(execution) == ["running", "cancelled", "pending"]
    assert [link.tool for link in bench.finish(step, STOPPED).sending.run] == ["z"]


def test_a_second_cancel_of_the_main_part_is_none(bench):
    execution = bench.open(make_step("a"), last=(make_step("z"),))
    step = bench.take(execution, "a")
    assert bench.cancel(execution)[0]["accepted"]
    again, sending = bench.cancel(execution)
    assert (again["accepted"], again["asked"], sending.run) == (False, True, ())
    bench.finish(step, STOPPED)
    assert bench.states(execution) == ["cancelled", "queued"]


def test_a_cancel_during_finally_stops_that_too(bench):
    execution = bench.open(make_step("a"), last=(make_step("y"), make_step("z")))
    bench.cancel(execution)
    step = bench.take(execution, "y")
    answer, _ = bench.cancel(execution)
    assert answer["accepted"]
    assert bench.states(execution) == ["cancelled", "running", "cancelled"]
    assert bench.ledger.heartbeat("w", [step.token])[1] == {step.token}
    assert not bench.ledger.arm_step(step)
    assert bench.finish(step, STOPPED).state == "cancelled"
    assert not bench.cancel(execution)[0]["accepted"]


def test_a_cancel_that_first_comes_in_finally_stops_it(bench):
    execution = bench.open(make_step("a"), last=(make_step("y"), make_step("z")))
    bench.run(execution, "a")
    answer, _ = bench.cancel(execution)
    assert (answer["accepted"], answer["state"]) == (True, "cancelled")
    assert bench.states(execution) == ["succeeded", "cancelled", "cancelled"]
    assert not bench.cancel(execution)[0]["accepted"]


def test_a_running_finally_step_is_not_told_of_the_main_part_s_cancel(bench):
    execution = bench.open(make_step("a"), last=(make_change("z"),))
    bench.cancel(execution)
    step = bench.take(execution, "z")
    assert bench.ledger.heartbeat("w", [step.token]) == ({step.token}, set())
    assert bench.ledger.arm_step(step)


@pytest.mark.parametrize("end", [done(), FAILED])
def test_a_final_execution_is_not_cancelled(bench, end):
    execution = bench.open(make_step())
    bench.run(execution, "read", end)
    before = bench.execution(execution)
    answer, _ = bench.cancel(execution)
    assert (answer["accepted"], answer["state"]) == (False, before["state"])
    assert bench.execution(execution) == before
    assert "execution.cancel_requested" not in bench.events(execution)


def test_cancel_leaves_an_unknown_outcome_to_a_person(bench):
    execution = bench.open(make_change(mutex="asset:7"), make_step("b"), last=(make_step("z"),))
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, done(State.FAILED, Reason.TIMEOUT))
    answer, _ = bench.cancel(execution)
    assert (answer["accepted"], answer["state"]) == (True, "attention")
    assert bench.states(execution) == ["interrupted", "cancelled", "pending"]
    other = bench.open(make_change("other", mutex="asset:7"))
    assert bench.claim(other, "other") is None
    assert [link.tool for link in bench.finish(step).sending.run] == ["z"]


def test_cancels_at_once_are_accepted_once(bench):
    execution = bench.open(make_step(rows=5), last=(make_step("z"),))
    bench.take(execution, "read")
    answers = all_at_once([lambda: bench.cancel(execution)[0]["accepted"]] * 8)
    assert answers.count(True) == 1
    assert bench.events(execution).count("execution.cancel_requested") == 1


def test_a_cancel_behind_a_finish_stops_what_that_promoted(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    with bench.session() as session:
        call(session, "finish_step", step.id, step.token, "succeeded", None, "{}", None, 64)
        cancel = InThread(bench.cancel, execution)
        bench.wait_for_lock()
    assert cancel.result()[0]["accepted"]
    assert bench.states(execution) == ["succeeded", "cancelled"]


def test_a_finish_behind_a_cancel_promotes_nothing_of_the_main_part(bench):
    execution = bench.open(make_step("a"), make_step("b"), last=(make_step("z"),))
    step = bench.take(execution, "a")
    with bench.session() as session:
        call(session, "cancel_execution", execution, "ops", "", 64)
        finish = InThread(bench.finish, step)
        bench.wait_for_lock()
    assert [link.tool for link in finish.result().sending.run] == ["z"]
    assert bench.states(execution) == ["succeeded", "cancelled", "queued"]


def test_a_retry_waiting_for_its_time_is_cancelled(bench):
    execution = bench.open(make_step(max_retries=2, backoff_s=3600))
    assert bench.ledger.retry_step(bench.take(execution, "read"), FAILED)
    bench.cancel(execution)
    assert bench.state(execution) == "cancelled"


@pytest.mark.transition("running -> interrupted, failed, cancelled", "reap_step", happens=True)
@pytest.mark.parametrize("repeat", [Repeat.READ, Repeat.IDEMPOTENT])
def test_a_lost_worker_s_cancelled_step_says_that_its_end_was_not_seen(bench, repeat):
    execution = bench.open(make_change(repeat=repeat))
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    bench.cancel(execution)
    assert bench.reap(step) == "cancelled"
    assert bench.rows(execution)[0]["result"]["stopped"] == "unverified"
    assert bench.state(execution) == "cancelled"


def test_an_execution_that_is_none_is_not_cancelled(bench):
    unknown = "00000000-0000-0000-0000-000000000000"
    with bench.session() as session:
        assert call(session, "cancel_execution", unknown, "ops", "", 64) is None
