"""Claim: exactly one message of exactly one attempt starts a row, and only where it may."""

from uuid import uuid4

import pytest

from app.step import State, Step
from app.store.ledger import Sending, call
from tests.lab.ledger_bench import (
    FAILED,
    InThread,
    all_at_once,
    done,
    make_change,
    make_step,
    sql_claim,
)
from tool_catalog.model import Effect, Reason, Repeat

HELD_S = 3600


@pytest.mark.transition("queued -> running", "claim_step", happens=True)
def test_a_due_row_is_given_whole(bench):
    execution = bench.open(make_change("restart", max_retries=2, secrets=("token",)))
    row = bench.rows(execution)[0]
    token = uuid4()
    step = bench.ledger.claim_step(row["id"], 0, token, "automation@here", ["automation"])
    assert step == Step(
        id=row["id"],
        execution_id=execution,
        tenant="default",
        plan_name="plan",
        position=1,
        key="restart",
        tool="restart",
        operation="run",
        effect=Effect.CHANGE,
        repeat=Repeat.NEVER,
        parameters={},
        target=None,
        attempt=1,
        token=token,
        timeout_s=30.0,
        retries_left=2,
        backoff_s=0.0,
        secrets=("token",),
        principal="ops",
    )
    row = bench.rows(execution)[0]
    assert (row["state"], row["attempt"], row["token"]) == ("running", 1, token)
    assert (row["worker"], row["armed"], row["heartbeats"]) == ("automation@here", None, 0)
    assert row["started_at"] is not None
    assert bench.events(execution) == ["execution.accepted", "step.running"]


def test_the_same_message_again_is_refused(bench):
    execution = bench.open(make_step())
    step = bench.take(execution, "read")
    assert bench.claim_row(step.id, 0) is None
    assert bench.claim_row(step.id, 1) is None
    assert bench.rows(execution)[0]["token"] == step.token
    bench.finish(step)
    for attempt in (0, 1, 2):
        assert bench.claim_row(step.id, attempt) is None
    assert bench.states(execution) == ["succeeded"]


@pytest.mark.parametrize("attempt", [-1, 1, 2, 2**31 - 1])
def test_another_attempt_is_refused(bench, attempt):
    execution = bench.open(make_step())
    assert bench.claim_row(bench.step_id(execution, "read"), attempt) is None
    assert bench.states(execution) == ["queued"]


@pytest.mark.parametrize("step_id", [0, -1, 10**9, 2**63 - 1])
def test_an_id_that_is_no_row_is_refused(bench, step_id):
    bench.open(make_step())
    assert bench.claim_row(step_id, 0) is None


@pytest.mark.parametrize("queues", [[], ["comms"], ["automation.x", "comms"], ["AUTOMATION"]])
def test_a_worker_of_other_queues_is_refused(bench, queues):
    execution = bench.open(make_step())
    assert bench.claim(execution, "read", queues=queues) is None
    assert bench.states(execution) == ["queued"]
    assert bench.claim(execution, "read", queues=[*queues, "automation"]) is not None


def test_a_row_of_a_later_stage_is_not_due(bench):
    execution = bench.open(make_step("first"), make_step("second"))
    assert bench.claim(execution, "second") is None
    bench.run(execution, "first")
    assert bench.claim(execution, "second") is not None


def test_a_dynamic_row_cannot_be_claimed_before_it_was_rendered(bench):
    execution = bench.open(make_step("late", dynamic=True, template={}))
    assert bench.states(execution) == ["due"]
    assert bench.claim(execution, "late") is None


def test_a_row_that_has_to_wait_is_refused_until_then(bench):
    execution = bench.open(make_step(max_retries=1, backoff_s=HELD_S))
    assert bench.ledger.retry_step(bench.take(execution, "read"), FAILED)
    assert bench.claim(execution, "read") is None
    bench.ask("update steps set not_before = clock_timestamp()")
    step = bench.claim(execution, "read")
    assert step.attempt == 2


@pytest.mark.transition("queued -> failed", "claim_step", happens=True)
@pytest.mark.parametrize("change", ["revoked_at = now()", "role = 'viewer'", "role = 'approver'"])
def test_a_principal_that_lost_its_right_starts_nothing(bench, change):
    execution = bench.open(make_change(), last=(make_step("tidy"),))
    bench.ask(f"update principals set {change}")
    answer = bench.claim(execution, "change")
    assert answer == Sending()  # what follows was left to the dispatcher
    row = bench.rows(execution, "change")[0]
    assert (row["state"], row["reason"]) == ("failed", "refused_by_policy")
    assert row["result"]["summary"] == "ops may no longer run plans"
    assert bench.states(execution) == ["failed", "queued"]


def test_of_many_messages_at_once_one_wins(bench):
    execution = bench.open(make_change())
    step_id = bench.step_id(execution, "change")
    won = all_at_once([lambda: bench.claim_row(step_id, 0)] * 12)
    assert sum(step is not None for step in won) == 1
    assert bench.rows(execution)[0]["attempt"] == 1
    assert bench.events(execution).count("step.running") == 1


def test_a_claim_behind_an_open_claim_waits_and_loses(bench):
    execution = bench.open(make_step())
    step_id = bench.step_id(execution, "read")
    with bench.session() as first:
        assert sql_claim(first, step_id, 0) is not None
        second = InThread(bench.claim_row, step_id, 0)
        bench.wait_for_lock()
    assert second.result() is None


def test_a_claim_behind_one_that_is_taken_back_wins(bench):
    execution = bench.open(make_step())
    step_id = bench.step_id(execution, "read")
    with bench.engine.connect() as first, first.begin() as transaction:
        assert sql_claim(first, step_id, 0) is not None
        second = InThread(bench.claim_row, step_id, 0)
        bench.wait_for_lock()
        transaction.rollback()
    assert second.result() is not None


def test_a_mutex_is_held_across_plans(bench):
    first = bench.open(make_change("restart", mutex="asset:7"))
    second = bench.open(make_change("reload", mutex="asset:7"))
    holder = bench.take(first, "restart")
    assert bench.claim(second, "reload") is None
    row = bench.rows(second)[0]
    assert (row["state"], row["attempt"], row["sent_at"]) == ("queued", 0, None)
    assert row["blocked_by"] == holder.id
    bench.finish(holder)
    taken = bench.take(second, "reload")
    assert bench.rows(second)[0]["blocked_by"] is None
    bench.finish(taken)


def test_a_mutex_of_another_tenant_is_another_mutex(bench):
    first = bench.open(make_change("restart", mutex="asset:7"))
    second = bench.open(make_change("reload", mutex="asset:7"))
    bench.ask("update steps set tenant = 'other' where execution_id = :id", id=second)
    bench.take(first, "restart")
    assert bench.claim(second, "reload") is not None


def test_rows_without_a_mutex_run_side_by_side(bench):
    execution = bench.open(make_step(rows=3))
    assert all(bench.claim(execution, "read", n) for n in range(3))


def test_an_unknown_outcome_keeps_its_mutex_until_it_is_known(bench):
    first = bench.open(make_change("flash", mutex="asset:7"))
    second = bench.open(make_change("reload", mutex="asset:7"))
    step = bench.take(first, "flash")
    assert bench.ledger.arm_step(step)
    assert bench.ledger.interrupt_step(step, done(State.FAILED, Reason.TIMEOUT))
    assert bench.claim(second, "reload") is None
    assert bench.rows(second)[0]["blocked_by"] == step.id
    assert bench.finish(step).accepted  # the worker's late word
    assert bench.claim(second, "reload") is not None


@pytest.mark.parametrize("word", ["retry_step", "release_step", "reap"])
def test_a_row_that_goes_back_frees_its_mutex(bench, word):
    first = bench.open(make_change("restart", mutex="asset:7", max_retries=1))
    second = bench.open(make_change("reload", mutex="asset:7"))
    step = bench.take(first, "restart")
    if word == "reap":
        assert bench.reap(step) == "queued"
    elif word == "retry_step":
        assert bench.ledger.retry_step(step, FAILED)
    else:
        assert bench.ledger.release_step(step)
    assert bench.claim(second, "reload") is not None


def test_claims_of_one_mutex_at_once_have_one_winner(bench):
    executions = [bench.open(make_change(mutex="asset:7")) for _ in range(10)]
    ids = [bench.step_id(execution, "change") for execution in executions]
    won = all_at_once([lambda number=number: bench.claim_row(number, 0) for number in ids])
    assert sum(step is not None for step in won) == 1
    states = sorted(bench.states(execution)[0] for execution in executions)
    assert states == ["queued"] * 9 + ["running"]
    unsent = [row for e in executions for row in bench.rows(e) if row["sent_at"] is None]
    assert len(unsent) == 9, "whoever lost is found by the dispatcher"


def test_the_unique_index_backs_the_claim_s_own_check(bench):
    first = bench.open(make_change("restart", mutex="asset:7"))
    second = bench.open(make_change("reload", mutex="asset:7"))
    with bench.session() as session:
        assert sql_claim(session, bench.step_id(first, "restart"), 0) is not None
        # The check cannot see the open claim; the index makes this one wait for it.
        late = InThread(bench.claim, second, "reload")
        bench.wait_for_lock()
    assert late.result() is None
    row = bench.rows(second)[0]
    assert (row["state"], row["sent_at"]) == ("queued", None)
    assert row["blocked_by"] == bench.step_id(first, "restart")


def test_the_index_alone_refuses_a_second_holder(bench):
    executions = [bench.open(make_change(mutex="asset:7")) for _ in range(2)]
    bench.take(executions[0], "change")
    with pytest.raises(Exception, match="uq_steps_mutex_held"):
        bench.ask("update steps set state = 'running' where execution_id = :id", id=executions[1])


def test_a_claim_that_a_cancel_overtakes_is_refused(bench):
    execution = bench.open(make_step())
    step_id = bench.step_id(execution, "read")
    with bench.session() as session:
        answer = call(session, "cancel_execution", execution, "ops", "", 64)
        assert answer["accepted"]
        claim = InThread(bench.claim_row, step_id, 0)
        bench.wait_for_lock()
    assert claim.result() is None
    assert bench.states(execution) == ["cancelled"]


def test_a_cancel_that_a_claim_overtakes_leaves_it_to_the_worker(bench):
    execution = bench.open(make_change())
    with bench.session() as session:
        claimed = sql_claim(session, bench.step_id(execution, "change"), 0)
        cancel = InThread(bench.cancel, execution)
        bench.wait_for_lock()
    answer, _ = cancel.result()
    assert answer["accepted"]
    assert bench.states(execution) == ["running"]
    assert claimed["attempt"] == 1
    assert bench.state(execution) == "running"
