"""How many rows of a step are under way, and how many failures are borne."""

import pytest

from app.step import State
from tests.lab.ledger_bench import FAILED, done, make_change, make_plan, make_step
from tests.lab.shapes import Batches
from tool_catalog.model import Reason

UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)


def states_of(bench, execution, key):
    return [row["state"] for row in bench.rows(execution, key)]


@pytest.mark.transition("pending -> queued", "settle", happens=True)
def test_rows_beyond_the_limit_wait_until_one_ends(bench):
    opened = bench.submit(make_plan(make_step("x", rows=5, max_parallel=2)))
    execution = opened.execution_id
    assert len(opened.sending.run) == 2
    assert bench.states(execution) == ["queued", "queued", "pending", "pending", "pending"]
    assert bench.execution(execution)["stage_open"] == 5
    first, second = bench.take(execution, "x", 0), bench.take(execution, "x", 1)
    sending = bench.finish(second).sending
    assert [link.step_id for link in sending.run] == [bench.rows(execution)[2]["id"]]
    assert bench.states(execution)[2:] == ["queued", "pending", "pending"]
    bench.finish(first)
    assert bench.states(execution)[3:] == ["queued", "pending"]
    for n in (2, 3, 4):
        bench.finish(bench.take(execution, "x", n))
    assert bench.state(execution) == "succeeded"


@pytest.mark.parametrize("most", [5, 6])
def test_a_limit_that_holds_nothing_back_is_none(bench, most):
    execution = bench.open(make_step("x", rows=5, max_parallel=most))
    assert set(bench.states(execution)) == {"queued"}


def test_a_step_of_one_row_rides_in_a_chain_whatever_its_limit(bench):
    steps = [make_step(name, max_parallel=1) for name in "abc"]
    assert len(bench.submit(make_plan(*steps)).sending.run) == 3


def test_each_step_of_a_stage_has_its_own_limit(bench):
    execution = bench.open(
        (make_step("x", rows=3, max_parallel=1), make_step("y", rows=3, max_parallel=2))
    )
    assert states_of(bench, execution, "x") == ["queued", "pending", "pending"]
    assert states_of(bench, execution, "y") == ["queued", "queued", "pending"]
    bench.finish(bench.take(execution, "y", 0))
    assert states_of(bench, execution, "x") == ["queued", "pending", "pending"]
    assert states_of(bench, execution, "y") == ["succeeded", "queued", "queued"]


def test_a_row_that_is_tried_again_keeps_its_place(bench):
    execution = bench.open(make_step("x", rows=3, max_parallel=1, max_retries=1))
    assert bench.ledger.retry_step(bench.take(execution, "x"), FAILED)
    assert bench.states(execution) == ["queued", "pending", "pending"]


def test_an_interrupted_row_keeps_its_place(bench):
    execution = bench.open(make_change("x", rows=3, max_parallel=1))
    step = bench.take(execution, "x")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, UNKNOWN)
    assert bench.states(execution) == ["interrupted", "pending", "pending"]


def test_a_cancel_covers_what_is_held_back(bench):
    execution = bench.open(make_step("x", rows=4, max_parallel=1))
    step = bench.take(execution, "x")
    bench.cancel(execution)
    assert bench.states(execution) == ["running"] + ["cancelled"] * 3
    bench.finish(step, done(State.CANCELLED, Reason.STOPPED))
    assert bench.state(execution) == "cancelled"


def test_a_queue_time_out_lets_the_next_begin(bench):
    execution = bench.open(make_step("x", rows=2, max_parallel=1, queue_timeout_s=10.0))
    bench.ask("update steps set queued_at = queued_at - interval '11 s' where state = 'queued'")
    assert bench.outbox.expire_queued() == 1
    assert bench.states(execution) == ["failed", "queued"]


def test_rendered_rows_are_held_back_too(bench):
    execution = bench.open(make_step("late", dynamic=True, template={}, max_parallel=1))
    rendered = make_step("late", rows=3, position=1, max_parallel=1)
    sending = bench.expand(bench.step_id(execution, "late"), rendered)
    assert bench.states(execution) == ["queued", "pending", "pending"]
    assert len(sending.run) == 1


def test_rows_held_back_in_a_batch(bench):
    step = make_step("x", max_parallel=1)
    execution = bench.open(Batches((step,), (("a", "b"), ("c", "d"))))
    assert bench.states(execution) == ["queued", "pending", "pending", "pending"]
    for n in range(4):
        bench.finish(bench.take(execution, "x", n))
    assert bench.state(execution) == "succeeded"


def test_failures_within_the_limit_are_borne(bench):
    execution = bench.open(make_step("x", rows=4, max_failures=1), make_step("y"))
    bench.finish(bench.take(execution, "x", 0), FAILED)
    for n in (1, 2, 3):
        bench.finish(bench.take(execution, "x", n))
    assert bench.states(execution)[-1] == "queued", "stop would have skipped it"
    bench.run(execution, "y")
    assert bench.state(execution) == "failed", "borne is not forgiven"


@pytest.mark.transition("pending, due, waiting, queued -> skipped", "settle", happens=True)
@pytest.mark.parametrize(("on_failure", "behind"), [("stop", "skipped"), ("continue", "queued")])
def test_one_failure_more_skips_what_has_not_begun(bench, on_failure, behind):
    step = make_step("x", rows=5, max_failures=1, max_parallel=3, on_failure=on_failure)
    execution = bench.open(step, make_step("y"))
    held = bench.take(execution, "x", 2)
    bench.finish(bench.take(execution, "x", 0), FAILED)
    bench.finish(bench.take(execution, "x", 1), FAILED)
    assert bench.states(execution)[:5] == ["failed", "failed", "running", "skipped", "skipped"]
    assert bench.rows(execution)[3]["result"]["summary"] == "not begun: 2 failed, at most 1 may"
    assert bench.states(execution)[-1] == "pending"
    bench.finish(held, FAILED)
    assert bench.states(execution)[-1] == behind


def test_no_failure_borne_skips_at_the_first(bench):
    execution = bench.open(make_step("x", rows=3, max_failures=0))
    bench.finish(bench.take(execution, "x", 0), FAILED)
    assert bench.states(execution) == ["failed", "skipped", "skipped"]
    assert bench.state(execution) == "failed"


def test_without_a_limit_all_rows_run(bench):
    execution = bench.open(make_step("x", rows=3, max_parallel=1), make_step("y"))
    for n in range(3):
        bench.finish(bench.take(execution, "x", n), FAILED)
    assert bench.states(execution) == ["failed"] * 3 + ["skipped"]


def test_steps_of_a_stage_count_their_failures_apart(bench):
    execution = bench.open(
        (make_step("x", rows=3, max_failures=1), make_step("y", rows=3, max_failures=1))
    )
    for key in "xy":
        bench.finish(bench.take(execution, key, 0), FAILED)
    assert bench.states(execution).count("queued") == 4


def test_the_limits_of_one_execution_are_no_other_s(bench):
    plan = make_plan(make_step("x", rows=3, max_failures=1))
    one, other = bench.submit(plan).execution_id, bench.submit(plan).execution_id
    for execution in (one, other):
        bench.finish(bench.take(execution, "x", 0), FAILED)
    assert bench.states(one) == bench.states(other) == ["failed", "queued", "queued"]


def test_old_executions_take_their_counts_with_them(bench):
    execution = bench.open(Batches((make_step("x"),), (("a", "b"),)))
    bench.finish(bench.take(execution, "x", 0), FAILED)
    bench.ask("update executions set finished_at = now() - interval '91 d'")
    assert bench.ask("select 1 from dropouts")
    bench.outbox.remove_old(90)
    assert bench.ask("select 1 from dropouts") == bench.ask("select 1 from failure_counts") == []


def test_the_next_row_held_back_is_found_by_its_index(bench):
    execution = bench.open(make_step("x", rows=1000, max_parallel=2))
    with bench.session() as session:
        session.exec_driver_sql("analyze steps")
        plan = session.exec_driver_sql(
            f"explain select id from steps where execution_id = '{execution}' and stage = 0"
            " and position = 1 and state = 'pending' and max_parallel is not null"
            " order by target_index limit 1"
        )
        assert "ix_steps_held" in "".join(plan.scalars())
