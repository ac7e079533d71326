"""Reversals in the ledger: when they are asked for, where they stand, what follows them."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import Conflict, NotFound
from app.plan import Ask, CheckedRow, Need
from app.step import State, Target
from app.store.deadletters import DeadLetters
from app.store.decisions import Resolution, Voice
from tests.lab.ledger_bench import (
    FAILED,
    all_at_once,
    done,
    make_change,
    make_reversal,
    make_step,
)
from tests.lab.shapes import Batches

UNDO = {"on_failure": "undo"}


def undoing(bench, execution):
    """The row that asks what there is to reverse; it must be due."""
    [row] = [row for row in bench.rows(execution, "undo") if row["state"] == "due"]
    return row


def reverse(bench, execution):
    """Answer it as the dispatcher does: one row for each that is to be reversed."""
    asking = undoing(bench, execution)
    [due] = [due for due in bench.outbox.due_steps() if due.step_id == asking["id"]]
    rows = sorted(bench.outbox.rows_done(due), key=lambda row: -row["stage"])
    steps = [make_reversal(row, due.position + place, place) for place, row in enumerate(rows)]
    if steps:
        bench.expand(due.step_id, *steps)
    else:
        bench.end_due(due.step_id, summary="nothing to undo")
    return [step.key for step in steps]


@pytest.mark.transition("new -> pending, due", "plan_undo", happens=True)
def test_what_succeeded_is_reversed_backwards_then_finally_runs(bench):
    execution = bench.open(
        make_change("a"),
        make_step("r"),
        make_change("b"),
        make_change("c", **UNDO),
        make_change("d"),
        last=(make_step("z"),),
    )
    for key in "arb":
        bench.run(execution, key)
    bench.run(execution, "c", FAILED)
    assert bench.state(execution) == "running"
    asking = undoing(bench, execution)
    assert (asking["undoes"], asking["position"], asking["stage"]) == (0, 7, 5)
    assert reverse(bench, execution) == ["undo:b", "undo:a"]
    states = {row["key"]: row["state"] for row in bench.rows(execution)}
    assert [states[key] for key in ("d", "z", "undo:b", "undo:a")] == [
        "skipped",
        "pending",
        "queued",
        "pending",
    ]
    assert bench.rows(execution, "undo:b")[0]["id"] == asking["id"], "watchers know it"
    bench.run(execution, "undo:b")
    bench.run(execution, "undo:a")
    bench.run(execution, "z")
    assert bench.state(execution) == "failed"
    reversed_rows = {row["key"]: row["undoes"] for row in bench.rows(execution) if row["undoes"]}
    assert reversed_rows == {
        "undo:b": bench.step_id(execution, "b"),
        "undo:a": bench.step_id(execution, "a"),
    }


def test_retries_come_first(bench):
    execution = bench.open(make_change("a"), make_step("b", max_retries=1, **UNDO))
    bench.run(execution, "a")
    assert bench.ledger.retry_step(bench.take(execution, "b"), FAILED)
    assert bench.rows(execution, "undo") == []
    bench.run(execution, "b", FAILED)
    assert undoing(bench, execution)


def test_what_others_still_do_is_awaited(bench):
    execution = bench.open(make_change("a"), (make_change("b", **UNDO), make_change("c")))
    bench.run(execution, "a")
    other = bench.take(execution, "c")
    bench.run(execution, "b", FAILED)
    assert [row["state"] for row in bench.rows(execution, "undo")] == ["pending"]
    bench.finish(other)
    assert reverse(bench, execution) == ["undo:c", "undo:a"]


def test_failures_that_are_borne_undo_nothing(bench):
    execution = bench.open(make_change("a", rows=3, max_failures=1, **UNDO), make_step("b"))
    for n, result in enumerate((FAILED, None, None)):
        bench.finish(bench.take(execution, "a", n), result)
    assert bench.states(execution)[-1] == "queued"
    assert bench.rows(execution, "undo") == []


def test_of_a_fan_out_the_rows_that_succeeded_are_reversed(bench):
    execution = bench.open(make_change("a", rows=3, **UNDO))
    for n, result in enumerate((None, FAILED, None)):
        bench.finish(bench.take(execution, "a", n), result)
    assert len(reverse(bench, execution)) == 2


@pytest.mark.parametrize(
    ("step", "block", "undone"),
    [
        ("undo", "stop", True),
        ("undo", "continue", True),
        ("stop", "undo", True),
        ("stop", "stop", False),
        ("continue", "undo", False),
    ],
)
def test_in_a_block_its_last_straw_decides(bench, step, block, undone):
    inner = (make_change("x"), make_change("y", on_failure=step))
    shape = Batches(inner, (("h1",), ("h2",)), on_failure=block)
    execution = bench.open(make_change("a"), shape, make_step("b"))
    bench.run(execution, "a")
    bench.run(execution, "x")
    bench.run(execution, "y", FAILED)
    assert bool(bench.rows(execution, "undo")) is undone
    if undone:
        assert reverse(bench, execution) == ["undo:x", "undo:a"]
        bench.run(execution, "undo:x")
        bench.run(execution, "undo:a")
        assert bench.state(execution) == "failed"


def test_a_reversal_that_fails_leaves_its_target_alone(bench):
    hosts = {"rows": (CheckedRow({}, Target("h1")), CheckedRow({}, Target("h2")))}
    first, second = (replace(make_change(key), **hosts) for key in "ab")
    execution = bench.open(first, second, make_step("c", **UNDO), last=(make_step("z"),))
    for key in "ab":
        for n in (0, 1):
            bench.finish(bench.take(execution, key, n))
    bench.run(execution, "c", FAILED)
    asking = undoing(bench, execution)
    due = bench.outbox.due_steps()[0]
    done_rows = bench.outbox.rows_done(due)
    steps = [
        make_reversal(row, due.position + late, int(late), first_index=row["id"])
        for late, row in sorted(
            ((row["key"] == "a", row) for row in done_rows), key=lambda each: each[1]["id"]
        )
    ]
    steps.sort(key=lambda step: step.stage)
    bench.expand(asking["id"], *steps)
    bench.finish(bench.take(execution, "undo:b", 0), FAILED)
    bench.finish(bench.take(execution, "undo:b", 1))
    states = {r["target"]["name"]: r["state"] for r in bench.rows(execution, "undo:a")}
    assert states == {"h1": "skipped", "h2": "queued"}
    bench.finish(bench.take(execution, "undo:a", 1))
    bench.run(execution, "z")
    assert bench.state(execution) == "failed"


def test_cancelling_stops_the_reversal_and_lets_finally_run(bench):
    execution = bench.open(make_change("a"), make_step("b", **UNDO), last=(make_step("z"),))
    bench.run(execution, "a")
    bench.run(execution, "b", FAILED)
    reverse(bench, execution)
    answer, sending = bench.cancel(execution)
    assert answer["accepted"]
    assert [link.tool for link in sending.run] == ["z"]
    assert bench.rows(execution, "undo:a")[0]["state"] == "cancelled"


def test_what_fails_after_a_cancel_undoes_nothing(bench):
    execution = bench.open(make_change("a"), make_step("b", **UNDO), last=(make_step("z"),))
    bench.run(execution, "a")
    step = bench.take(execution, "b")
    bench.cancel(execution)
    bench.finish(step, FAILED)
    assert bench.rows(execution, "undo") == []
    bench.run(execution, "z")
    assert bench.state(execution) == "failed"


def test_a_failure_by_a_persons_word_is_undone_too(bench):
    execution = bench.open(make_change("a"), make_change("b", **UNDO))
    bench.run(execution, "a")
    step = bench.take(execution, "b")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, done(State.FAILED, unknown=True))
    bench.decisions.resolve_step(
        execution, step.id, Resolution.FAILED, actor="ann", reason="gone", send=1
    )
    assert reverse(bench, execution) == ["undo:a"]


def test_a_no_to_a_step_undoes_what_was_done_before_it(bench):
    ask = Ask("d", {}, timedelta(hours=1).total_seconds(), Need("other", {"approver": 1}))
    late = make_change("late", dynamic=True, template={}, **UNDO)
    execution = bench.open(make_change("a"), late)
    bench.run(execution, "a")
    bench.expand(bench.step_id(execution, "late"), make_change("late", position=2, **UNDO), ask=ask)
    [approval] = bench.approvals.of_execution("default", execution)
    bench.decisions.reject(approval["id"], Voice(bench.principal, "no"), send=1)
    assert reverse(bench, execution) == ["undo:a"]


def test_a_dynamic_step_beside_it_moves_the_reversal(bench):
    late = make_step("late", dynamic=True, template={})
    execution = bench.open(make_change("a"), (make_step("b", **UNDO), late), last=(make_step("z"),))
    bench.run(execution, "a")
    late_id = bench.step_id(execution, "late")
    bench.run(execution, "b", FAILED)
    block = [make_step(key, position=3 + n, stage=n, block=1, max_failures=0)
             for n, key in enumerate("xy")]  # fmt: skip
    bench.expand(late_id, *block)
    bench.run(execution, "x")
    assert reverse(bench, execution) == ["undo:a"]
    bench.run(execution, "undo:a")
    bench.run(execution, "z")
    assert bench.state(execution) == "failed"
    assert bench.rows(execution, "y")[0]["state"] == "skipped"


# By hand.


def undo(bench, execution):
    return bench.decisions.undo_execution(execution, Voice(bench.principal, "wrong hosts"))


@pytest.mark.transition("new -> pending, due", "plan_undo", happens=True)
@pytest.mark.parametrize("ending", [None, FAILED])
def test_a_final_execution_is_undone_behind_its_finally(bench, ending):
    execution = bench.open(make_change("a"), make_change("b"), last=(make_step("z"),))
    bench.run(execution, "a")
    bench.run(execution, "b", ending)
    bench.run(execution, "z")
    before = bench.state(execution)
    assert undo(bench, execution) == "running"
    assert bench.execution(execution)["run"] == 2
    keys = reverse(bench, execution)
    assert keys == (["undo:a"] if ending else ["undo:b", "undo:a"])
    for key in keys:
        bench.run(execution, key)
    assert bench.state(execution) == before
    assert bench.events(execution)[-1] == "execution.finished"
    with pytest.raises(Conflict, match="nothing that changed anything is left"):
        undo(bench, execution)


def test_a_cancelled_execution_is_undone(bench):
    execution = bench.open(make_change("a"), make_change("b"))
    bench.run(execution, "a")
    bench.cancel(execution)
    undo(bench, execution)
    assert reverse(bench, execution) == ["undo:a"]
    bench.run(execution, "undo:a")
    assert bench.state(execution) == "cancelled"


def test_what_is_not_final_or_only_looked_is_not_undone(bench):
    running = bench.open(make_change("a"))
    looked = bench.open(make_step("a"))
    bench.run(looked, "a")
    for execution, words in ((running, "it is running"), (looked, "nothing that changed")):
        before = bench.rows(execution), bench.events(execution)
        with pytest.raises(Conflict, match=words):
            undo(bench, execution)
        assert (bench.rows(execution), bench.events(execution)) == before
    with pytest.raises(NotFound):
        undo(bench, uuid4())


def test_two_people_who_undo_at_once_undo_once(bench):
    execution = bench.open(make_change("a"))
    bench.run(execution, "a")

    def try_it():
        try:
            return undo(bench, execution)
        except Conflict:
            return None

    assert all_at_once([try_it] * 4).count("running") == 1
    assert len(bench.rows(execution, "undo")) == 1


def resume(bench, execution):
    return bench.decisions.resume_execution(
        execution, only_failed=False, actor="ann", reason="", send=64
    )


def test_what_was_undone_does_not_go_on(bench):
    execution = bench.open(make_change("a"), make_step("b", **UNDO))
    bench.run(execution, "a")
    bench.run(execution, "b", FAILED)
    reverse(bench, execution)
    bench.run(execution, "undo:a")
    before = bench.rows(execution), bench.events(execution)
    with pytest.raises(Conflict, match="what it did was reversed"):
        resume(bench, execution)
    letters = DeadLetters(bench.autocommit)
    with pytest.raises(Conflict, match="what it did was reversed"):
        letters.requeue(bench.step_id(execution, "b"), Voice(bench.principal, "why"), send=1)
    assert (bench.rows(execution), bench.events(execution)) == before


def test_where_nothing_was_reversed_it_goes_on_and_may_be_undone_later(bench):
    execution = bench.open(make_step("a"), make_step("b", **UNDO), make_change("c"))
    bench.run(execution, "a")
    bench.run(execution, "b", FAILED)
    assert reverse(bench, execution) == []
    assert bench.state(execution) == "failed"
    resume(bench, execution)
    assert bench.rows(execution, "undo") == []
    bench.run(execution, "b", FAILED)
    assert undoing(bench, execution)


# Dead letters in blocks.


@pytest.mark.transition("failed, skipped -> pending, queued", "requeue_step", happens=True)
def test_a_requeued_target_of_a_block_is_counted_no_more(bench):
    block = Batches((make_step("x"), make_step("y")), (("h1", "h2"), ("h3",)), max_failures=0)
    execution = bench.open(block, make_step("b"))
    steps = [bench.take(execution, "x", n) for n in (0, 1)]
    bench.finish(steps[0], FAILED)
    bench.finish(steps[1])
    assert bench.states(execution).count("skipped") == 5
    letters = DeadLetters(bench.autocommit)
    row = bench.step_id(execution, "x")
    decided = letters.requeue(row, Voice(bench.principal, "mended"), send=64)
    assert (decided.execution_id, decided.state) == (execution, "running")
    bench.finish(bench.take(execution, "x", 0))
    assert [r["state"] for r in bench.rows(execution, "y")] == ["queued", "queued", "pending"]


def test_what_else_stops_the_plan_holds_it_up_still(bench):
    execution = bench.open((make_step("a"), make_step("b")), make_step("c"))
    for key in "ab":
        bench.run(execution, key, FAILED)
    letters = DeadLetters(bench.autocommit)
    letters.requeue(bench.step_id(execution, "a"), Voice(bench.principal, "mended"), send=64)
    assert bench.states(execution) == ["queued", "failed", "skipped"]
    bench.run(execution, "a")
    assert bench.state(execution) == "failed"
    assert bench.execution(execution)["failed"] == 1
    letters.requeue(bench.step_id(execution, "b"), Voice(bench.principal, "mended"), send=64)
    bench.run(execution, "b")
    assert bench.states(execution) == ["succeeded", "succeeded", "queued"]


def test_two_people_who_requeue_at_once_requeue_once(bench):
    execution = bench.open(make_step("a"))
    bench.run(execution, "a", FAILED)
    row = bench.step_id(execution, "a")

    def try_it():
        try:
            voice = Voice(bench.principal, "why")
            return len(DeadLetters(bench.autocommit).requeue(row, voice, send=1).sending.run)
        except Conflict:
            return 0

    assert sum(all_at_once([try_it] * 4)) == 1
