"""Stages side by side, blocks that pass batch by batch, blocks that are rendered when due."""

from dataclasses import replace

import pytest

from app.step import State
from tests.lab.ledger_bench import FAILED, make_plan, make_step
from tests.lab.shapes import Batches, LateBlock, lay_out, on_hosts
from tool_catalog.model import Reason

HOSTS = ("a", "b", "c", "d")
PAIRS = (("a", "b"), ("c", "d"))


def by_key(bench, execution):
    """{"drain a": "succeeded", ...}: what became of each row."""
    return {
        f"{row['key']} {row['target']['name'] if row['target'] else '-'}": row["state"]
        for row in bench.rows(execution)
    }


def open_rows(bench, execution):
    """What may begin now."""
    return [name for name, state in by_key(bench, execution).items() if state == "queued"]


def play(bench, execution, name, result=None):
    """Claim and finish the row of this step and host."""
    key, host = name.split()
    [row] = [r for r in bench.rows(execution, key) if r["target"] and r["target"]["name"] == host]
    return bench.finish(bench.claim_row(row["id"], row["attempt"]), result)


def play_all(bench, execution):
    """Let everything that may begin succeed, until nothing may."""
    while names := open_rows(bench, execution):
        for name in names:
            play(bench, execution, name)


def play_all_of(bench, execution, names):
    for name in names:
        play(bench, execution, name)


def restart(**members):
    """A rolling restart: two steps, two hosts at a time."""
    return Batches((make_step("drain"), make_step("restart")), PAIRS, **members)


def test_steps_of_one_stage_begin_together_and_the_next_waits_for_all(bench):
    execution = bench.open((make_step("a"), make_step("b", rows=2)), make_step("c"))
    assert bench.states(execution) == ["queued", "queued", "queued", "pending"]
    bench.run(execution, "a")
    bench.finish(bench.take(execution, "b", 0))
    assert bench.states(execution)[-1] == "pending"
    bench.finish(bench.take(execution, "b", 1))
    assert bench.states(execution)[-1] == "queued"


def test_no_chain_runs_through_a_stage_of_several_steps(bench):
    opened = bench.submit(make_plan(make_step("x"), (make_step("a"), make_step("b"))))
    assert [link.tool for link in opened.sending.run] == ["x"]
    sending = bench.run(opened.execution_id, "x").sending
    assert [link.tool for link in sending.run] == ["a", "b"]
    assert not sending.chain


def test_a_failure_in_a_stage_of_several_steps_stops_the_plan_behind_the_stage(bench):
    execution = bench.open((make_step("a"), make_step("b")), make_step("c"))
    bench.run(execution, "a", FAILED)
    assert bench.states(execution) == ["failed", "queued", "pending"]
    bench.run(execution, "b")
    assert bench.states(execution) == ["failed", "succeeded", "skipped"]


def test_each_batch_passes_all_steps_before_the_next_begins(bench):
    execution = bench.open(restart(), make_step("report"))
    seen = []
    while names := open_rows(bench, execution):
        seen.append(names)
        for name in names:
            if name == "report -":
                bench.run(execution, "report")
            else:
                play(bench, execution, name)
    assert seen == [
        ["drain a", "drain b"],
        ["restart a", "restart b"],
        ["drain c", "drain d"],
        ["restart c", "restart d"],
        ["report -"],
    ]
    assert bench.state(execution) == "succeeded"


def test_the_record_shows_a_step_once_with_the_rows_of_all_batches(bench):
    execution = bench.open(restart())
    play_all(bench, execution)
    steps = bench.records.read_execution("default", execution)["steps"]
    assert [(step["position"], step["id"]) for step in steps] == [(1, "drain"), (2, "restart")]
    assert [row["target"] for row in steps[0]["results"]] == list(HOSTS)


@pytest.mark.transition("pending, due, waiting, queued -> skipped", "settle", happens=True)
def test_one_failed_target_too_many_skips_the_rest_of_the_block(bench):
    execution = bench.open(restart(), make_step("report"), last=(make_step("tidy"),))
    play(bench, execution, "drain a", FAILED)
    assert by_key(bench, execution) == {
        "drain a": "failed",
        "drain b": "skipped",
        "restart a": "skipped",
        "restart b": "skipped",
        "drain c": "skipped",
        "drain d": "skipped",
        "restart c": "skipped",
        "restart d": "skipped",
        "report -": "skipped",
        "tidy -": "queued",
    }
    row = bench.rows(execution, "restart")[0]
    assert row["result"]["summary"] == "not begun: 1 failed, at most 0 may"


def test_what_has_begun_goes_on_when_the_block_is_given_up(bench):
    execution = bench.open(restart())
    held = bench.take(execution, "drain", 1)
    play(bench, execution, "drain a", FAILED)
    assert by_key(bench, execution)["drain b"] == "running"
    assert bench.finish(held).accepted
    assert by_key(bench, execution)["restart b"] == "skipped"
    assert bench.state(execution) == "failed"


def test_a_row_that_a_drain_gives_back_has_not_begun(bench):
    execution = bench.open(restart())
    first, second = bench.take(execution, "drain", 0), bench.take(execution, "drain", 1)
    bench.finish(first, FAILED)
    assert bench.ledger.release_step(second)
    assert by_key(bench, execution)["drain b"] == "skipped"
    assert bench.state(execution) == "failed"


def test_a_row_that_waits_to_be_tried_again_has_begun(bench):
    drain = make_step("drain", max_retries=1)
    execution = bench.open(Batches((drain,), PAIRS))
    step = bench.take(execution, "drain", 1)
    assert bench.ledger.retry_step(step, FAILED)
    play(bench, execution, "drain a", FAILED)
    assert by_key(bench, execution)["drain b"] == "queued"
    play(bench, execution, "drain b")
    assert bench.state(execution) == "failed"


@pytest.mark.transition("pending -> skipped", "advance", happens=True)
def test_a_failed_target_is_left_out_of_the_steps_behind(bench):
    execution = bench.open(restart(max_failures=1))
    play(bench, execution, "drain a", FAILED)
    play(bench, execution, "drain b")
    assert open_rows(bench, execution) == ["restart b"]
    row = bench.rows(execution, "restart")[0]
    assert (row["state"], row["reason"]) == ("skipped", "stopped")
    assert row["result"]["summary"] == "left out: step drain failed on it"
    play_all(bench, execution)
    assert by_key(bench, execution)["restart d"] == "succeeded"
    assert bench.state(execution) == "failed"


def test_a_batch_of_which_all_failed_is_passed_over(bench):
    execution = bench.open(restart(max_failures=2))
    play(bench, execution, "drain a", FAILED)
    sending = play(bench, execution, "drain b", FAILED).sending
    assert open_rows(bench, execution) == ["drain c", "drain d"]
    assert len(sending.run) == 2


def test_failures_of_all_batches_count_together(bench):
    execution = bench.open(restart(max_failures=1))
    play(bench, execution, "drain a", FAILED)
    play(bench, execution, "drain b")
    play(bench, execution, "restart b", FAILED)
    assert open_rows(bench, execution) == []
    assert by_key(bench, execution)["drain c"] == "skipped"


def test_a_target_that_fails_twice_counts_once(bench):
    both = (make_step("x"), make_step("y"))
    execution = bench.open(Batches((both, make_step("z")), PAIRS, max_failures=1))
    for name in ("x a", "y a"):
        play(bench, execution, name, FAILED)
    for name in ("x b", "y b"):
        play(bench, execution, name)
    assert open_rows(bench, execution) == ["z b"]


def test_a_step_inside_that_lets_go_on_counts_no_failure(bench):
    lenient = make_step("drain", on_failure="continue")
    execution = bench.open(Batches((lenient, make_step("restart")), PAIRS))
    play(bench, execution, "drain a", FAILED)
    play(bench, execution, "drain b")
    assert open_rows(bench, execution) == ["restart a", "restart b"]
    play_all(bench, execution)
    assert bench.state(execution) == "failed"


def test_a_block_given_up_lets_the_plan_go_on_when_it_says_so(bench):
    execution = bench.open(restart(on_failure="continue"), make_step("report"))
    play(bench, execution, "drain a", FAILED)
    assert open_rows(bench, execution) == ["report -"]
    bench.run(execution, "report")
    assert bench.state(execution) == "failed"


def test_two_blocks_count_apart(bench):
    first = Batches((make_step("x"),), PAIRS, max_failures=1)
    second = Batches((make_step("y"),), PAIRS, number=2, max_failures=1)
    execution = bench.open(first, second)
    play(bench, execution, "x a", FAILED)
    play_all_of(bench, execution, ["x b", "x c", "x d"])
    assert open_rows(bench, execution) == ["y a", "y b"], "the second block knows no failure"
    play(bench, execution, "y b", FAILED)
    play_all(bench, execution)
    assert by_key(bench, execution)["y d"] == "succeeded"


def test_a_block_in_finally_stops_nothing_behind_it(bench):
    block = Batches((make_step("x"),), (("a",), ("b",)))
    execution = bench.open(make_step("main"), last=(block, make_step("tidy")))
    bench.run(execution, "main")
    play(bench, execution, "x a", FAILED)
    assert open_rows(bench, execution) == ["tidy -"]


def test_batches_of_one_ride_in_a_chain_that_a_failure_leaves(bench):
    block = Batches((make_step("x"), make_step("y")), (("a",), ("b",)), max_failures=1)
    opened = bench.submit(make_plan(block))
    assert opened.sending.chain
    assert [link.tool for link in opened.sending.run] == ["x", "y", "x", "y"]
    link = opened.sending.run[1].step_id
    step = bench.take(opened.execution_id, "x")
    sending = bench.finish(step, FAILED, link=link).sending
    assert not sending.link, "y on a is left out"
    assert [each.step_id for each in sending.run] == [
        row["id"] for row in bench.rows(opened.execution_id)[2:]
    ]


def test_a_cancel_ends_a_block(bench):
    execution = bench.open(restart())
    play(bench, execution, "drain a")
    bench.cancel(execution)
    assert bench.state(execution) == "cancelled"
    assert set(bench.states(execution)) == {"succeeded", "cancelled"}


# A block whose targets an expression gives.

LATE = Batches((make_step("drain"), make_step("restart")), PAIRS)


def render(block=LATE):
    """What rendering the block gives: its stages counted from 0."""
    return lay_out([block])


def test_a_late_block_becomes_its_batches(bench):
    execution = bench.open(LateBlock(LATE), make_step("report"), last=(make_step("tidy"),))
    assert bench.states(execution) == ["due", "pending", "pending", "pending"]
    before = bench.rows(execution)
    bench.expand(before[0]["id"], *render())
    row = bench.execution(execution)
    assert (row["stages"], row["finally_stage"], row["stage_open"]) == (6, 5, 2)
    assert open_rows(bench, execution) == ["drain a", "drain b"]
    assert [r["stage"] for r in bench.rows(execution)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5]
    ids = {r["key"]: r["id"] for r in reversed(bench.rows(execution))}
    assert [ids["drain"], ids["restart"]] == [r["id"] for r in before[:2]], "whom people watch"
    while names := open_rows(bench, execution):
        if names[0].endswith("-"):
            bench.run(execution, names[0].split()[0])
        else:
            play_all_of(bench, execution, names)
    assert bench.state(execution) == "succeeded"


def test_a_late_block_of_one_batch_takes_fewer_stages_than_it_held(bench):
    together = (make_step("x"), make_step("y"))
    late = LateBlock(Batches((together,), ()))
    execution = bench.open(late, make_step("report"))
    assert bench.execution(execution)["stages"] == 3
    one = Batches((together,), (("a",),))
    bench.expand(bench.rows(execution)[0]["id"], *render(one))
    assert bench.execution(execution)["stages"] == 2
    play_all_of(bench, execution, ["x a", "y a"])
    assert open_rows(bench, execution) == ["report -"]


def test_a_late_block_that_is_skipped_ends_all_its_placeholders(bench):
    execution = bench.open(LateBlock(LATE), make_step("report"))
    sending = bench.end_due(bench.rows(execution)[0]["id"], summary="when: it is false")
    assert bench.states(execution) == ["skipped", "skipped", "queued"]
    assert {row["result"]["summary"] for row in bench.rows(execution)[:2]} == {"when: it is false"}
    assert [link.tool for link in sending.run] == ["report"]
    bench.run(execution, "report")
    assert bench.state(execution) == "succeeded"


@pytest.mark.parametrize(("on_failure", "behind"), [("stop", "skipped"), ("continue", "queued")])
def test_a_late_block_that_fails_does_as_the_block_says(bench, on_failure, behind):
    lenient = make_step("drain", on_failure="continue")
    block = Batches((lenient, make_step("restart")), (), max_failures=5, on_failure=on_failure)
    execution = bench.open(LateBlock(block), make_step("report"))
    due = bench.rows(execution)[0]["id"]
    bench.end_due(due, State.FAILED, Reason.NO_TARGETS, "nobody")
    assert bench.states(execution) == ["failed", "skipped", behind]


def test_a_cancel_before_a_late_block_begins_covers_its_placeholders(bench):
    execution = bench.open(make_step("a"), LateBlock(LATE), last=(make_step("tidy"),))
    bench.cancel(execution)
    assert bench.states(execution) == ["cancelled"] * 3 + ["queued"]


def test_a_late_block_may_hold_late_steps(bench):
    late = make_step("restart", dynamic=True)
    execution = bench.open(LateBlock(Batches((make_step("drain"), late), PAIRS)))
    block = Batches((make_step("drain"), late), PAIRS)
    bench.expand(bench.rows(execution)[0]["id"], *render(block))
    play_all_of(bench, execution, ["drain a", "drain b"])
    [due] = bench.outbox.due_steps()
    assert due.template == {"batch": ["a", "b"]}
    bench.expand(due.step_id, on_hosts(make_step("restart", position=2, block=1), ("a", "b")))
    assert open_rows(bench, execution) == ["restart a", "restart b"]


def test_a_late_step_in_a_block_leaves_out_who_failed(bench):
    late = make_step("restart", dynamic=True)
    execution = bench.open(Batches((make_step("drain"), late), PAIRS, max_failures=1))
    play(bench, execution, "drain a", FAILED)
    play(bench, execution, "drain b")
    rules = {"block": 1, "max_failures": 1, "block_on_failure": "stop"}
    [due] = bench.outbox.due_steps()
    rendered = on_hosts(make_step("restart", position=2, **rules), ("a", "b"))
    bench.expand(due.step_id, rendered)
    assert open_rows(bench, execution) == ["restart b"]
    assert by_key(bench, execution)["restart a"] == "skipped"


def test_a_late_step_all_of_whose_targets_failed_is_passed_over(bench):
    late = make_step("restart", dynamic=True)
    execution = bench.open(Batches((make_step("drain"), late), PAIRS, max_failures=2))
    play_failed = [play(bench, execution, name, FAILED) for name in ("drain a", "drain b")]
    assert all(each.accepted for each in play_failed)
    rules = {"block": 1, "max_failures": 2, "block_on_failure": "stop"}
    [due] = bench.outbox.due_steps()
    rendered = on_hosts(make_step("restart", position=2, **rules), ("a", "b"))
    sending = bench.expand(due.step_id, rendered)
    assert open_rows(bench, execution) == ["drain c", "drain d"]
    assert len(sending.run) == 2


def test_a_late_step_that_fails_for_a_batch_fails_all_of_its_targets(bench):
    late = make_step("drain", dynamic=True)
    execution = bench.open(Batches((late, make_step("restart")), PAIRS, max_failures=2))
    [due] = bench.outbox.due_steps()
    bench.end_due(due.step_id, State.FAILED, Reason.EXPRESSION, "no such member")
    states = bench.states(execution)
    assert states == ["failed", "skipped", "skipped", "due", "pending", "pending"]
    [due] = bench.outbox.due_steps()
    bench.end_due(due.step_id, State.FAILED, Reason.EXPRESSION, "no such member")
    assert set(bench.states(execution)) == {"failed", "skipped"}


def test_a_late_step_beside_others_is_published_though_its_rows_do_not_come_last(bench):
    late = make_step("late", dynamic=True, template={})
    execution = bench.open((late, make_step("x", rows=2)), make_step("behind"))
    bench.finish(bench.take(execution, "x", 0))
    [due] = bench.outbox.due_steps()
    sending = bench.expand(due.step_id, make_step("late", position=1))
    assert [link.tool for link in sending.run] == ["late"]
    bench.finish(bench.take(execution, "x", 1))
    bench.run(execution, "late")
    assert bench.states(execution)[-1] == "queued"


def test_a_late_step_beside_others_that_is_skipped_ends_the_stage(bench):
    late = make_step("late", dynamic=True, template={})
    execution = bench.open((late, make_step("x")), make_step("behind"))
    bench.run(execution, "x")
    assert bench.states(execution)[-1] == "pending"
    bench.end_due(bench.outbox.due_steps()[0].step_id)
    assert bench.states(execution)[-1] == "queued"


@pytest.mark.transition("new -> skipped", "open_execution", happens=True)
def test_a_step_with_nothing_to_do_is_skipped_from_the_start(bench):
    idle = make_step("idle", rows=0, dynamic=True, template={}, skipped="no targets fit")
    execution = bench.open(idle, make_step("b"))
    assert bench.states(execution) == ["skipped", "queued"]
    assert bench.rows(execution)[0]["result"] == {"summary": "no targets fit"}
    assert bench.events(execution) == ["execution.accepted", "step.skipped"]
    bench.run(execution, "b")
    assert bench.state(execution) == "succeeded"


def test_a_plan_with_nothing_to_do_at_all_ends_at_once(bench):
    idle = make_step("idle", rows=0, dynamic=True, template={}, skipped="no targets fit")
    execution = bench.open(idle)
    assert bench.state(execution) == "succeeded"
    assert bench.events(execution)[-1] == "execution.finished"


def test_a_row_keeps_its_item_and_whom_it_runs_as(bench):
    step = make_step("each", rows=2, run_as="root")
    rows = tuple(
        replace(row, item=item) for row, item in zip(step.rows, (80, {"p": 443}), strict=True)
    )
    execution = bench.open(replace(step, rows=rows))
    assert [row["item"] for row in bench.rows(execution)] == [80, {"p": 443}]
    assert bench.take(execution, "each", 1).run_as == "root"
    shown = bench.records.read_execution("default", execution)["steps"][0]
    assert shown["run_as"] == "root"
    assert [row["item"] for row in shown["results"]] == [80, {"p": 443}]
