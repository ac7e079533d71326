"""Finish: only the holder's word counts, it counts once, and what follows is decided there."""

from dataclasses import replace
from uuid import uuid4

import pytest

from app.outcome import derive_state
from app.step import State
from app.store.ledger import call
from tests.lab.ledger_bench import FAILED, InThread, all_at_once, done, make_change, make_step
from tool_catalog.model import Reason

UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)


def forged(step):
    """The same step in the hands of somebody who does not hold it."""
    return replace(step, token=uuid4())


@pytest.mark.transition("running -> succeeded, failed, cancelled", "finish_step", happens=True)
def test_a_result_is_kept_whole(bench):
    execution = bench.open(make_step())
    result = done(output={"a": [1, None]}, exit_code=0, changed=False, stdout_tail="x\n")
    finished = bench.finish(bench.take(execution, "read"), result)
    assert (finished.accepted, finished.state) == (True, "succeeded")
    row = bench.rows(execution)[0]
    assert row["result"]["output"] == {"a": [1, None]}
    assert (row["result"]["exit_code"], row["result"]["changed"]) == (0, False)
    assert row["finished_at"] is not None
    assert bench.execution(execution)["finished_at"] is not None
    assert bench.events(execution)[-2:] == ["step.succeeded", "execution.finished"]


def test_text_that_jsonb_refuses_does_not_lose_a_result(bench):
    execution = bench.open(make_change())
    step = bench.take(execution, "change")
    bench.ledger.arm_step(step)
    nasty = done(
        output={"a\0b": ["\ud800", float("nan"), {"x": float("inf")}], "kept": "\\u0000"},
        stdout_tail="a\0b\udfff",
    )
    assert bench.finish(step, nasty).accepted
    result = bench.rows(execution)[0]["result"]
    assert result["output"]["kept"] == "\\u0000"
    assert result["stdout_tail"].startswith("a")


def test_a_finish_is_taken_once(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    first = bench.finish(step)
    again = bench.finish(step, FAILED)
    assert first.accepted
    assert not again.accepted
    assert again.sending.run == ()
    assert bench.states(execution) == ["succeeded", "queued"]


@pytest.mark.parametrize(
    "word", ["finish", "retry_step", "interrupt_step", "release_step", "arm_step"]
)
def test_a_wrong_token_changes_nothing(bench, word):
    execution = bench.open(make_change(max_retries=3))
    step = bench.take(execution, "change")
    before = bench.rows(execution)
    if word == "finish":
        assert not bench.finish(forged(step)).accepted
    elif word in {"retry_step", "interrupt_step"}:
        assert not getattr(bench.ledger, word)(forged(step), FAILED)
    else:
        assert not getattr(bench.ledger, word)(forged(step))
    assert bench.rows(execution) == before


@pytest.mark.parametrize(
    "word", ["finish", "retry_step", "interrupt_step", "release_step", "arm_step"]
)
def test_the_former_holder_has_nothing_to_say(bench, word):
    execution = bench.open(make_change(max_retries=3))
    old = bench.take(execution, "change")
    assert bench.reap(old) == "queued"
    new = bench.take(execution, "change")
    assert bench.ledger.arm_step(new)
    before = bench.rows(execution)
    if word == "finish":
        assert not bench.finish(old).accepted
    elif word in {"retry_step", "interrupt_step"}:
        assert not getattr(bench.ledger, word)(old, UNKNOWN)
    else:
        assert not getattr(bench.ledger, word)(old)
    assert bench.rows(execution) == before
    assert bench.finish(new).accepted


def test_a_row_that_nobody_claimed_cannot_be_finished(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    for key in ("a", "b"):
        stranger = replace(step, id=bench.step_id(execution, key), token=uuid4())
        assert not bench.finish(stranger).accepted
    assert not bench.finish(replace(step, id=10**9)).accepted
    assert bench.states(execution) == ["running", "pending"]


def test_the_chain_s_next_link_is_left_to_celery(bench):
    execution = bench.open(make_step("a"), make_step("b"), make_step("c"))
    following = bench.step_id(execution, "b")
    finished = bench.finish(bench.take(execution, "a"), link=following)
    assert finished.sending.link
    assert finished.sending.run == ()
    assert bench.rows(execution, "b")[0]["sent_at"] is not None


@pytest.mark.parametrize("wrong", ["a", "c", None, 10**9, -1])
def test_a_link_that_is_not_what_follows_is_not_followed(bench, wrong):
    execution = bench.open(make_step("a"), make_step("b"), make_step("c"))
    link = bench.step_id(execution, wrong) if isinstance(wrong, str) else wrong
    finished = bench.finish(bench.take(execution, "a"), link=link)
    assert not finished.sending.link
    assert [each.tool for each in finished.sending.run] == ["b", "c"]


def test_a_link_into_another_execution_is_not_followed(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    other = bench.open(make_step("x"), send=0)
    finished = bench.finish(bench.take(execution, "a"), link=bench.step_id(other, "x"))
    assert not finished.sending.link
    assert bench.rows(other)[0]["sent_at"] is None


def test_after_ten_links_the_next_ten_follow(bench):
    execution = bench.open(*[make_step(f"s{n}") for n in range(12)])
    for n in range(9):
        following = bench.step_id(execution, f"s{n + 1}")
        assert bench.finish(bench.take(execution, f"s{n}"), link=following).sending.link
    finished = bench.finish(bench.take(execution, "s9"))
    assert [each.tool for each in finished.sending.run] == ["s10", "s11"]
    assert finished.sending.chain


def test_a_fan_out_is_not_published_as_a_chain(bench):
    execution = bench.open(make_step("a"), make_step("b", rows=3), make_step("c"))
    finished = bench.finish(bench.take(execution, "a"), link=bench.step_id(execution, "b"))
    assert not finished.sending.link
    assert not finished.sending.chain
    assert [each.tool for each in finished.sending.run] == ["b"] * 3
    assert finished.sending.targets == 3


@pytest.mark.transition("pending -> queued, due", "advance", happens=True)
def test_only_the_last_row_of_a_fan_out_promotes(bench):
    execution = bench.open(make_step("a", rows=3), make_step("b"))
    steps = [bench.take(execution, "a", n) for n in range(3)]
    assert bench.finish(steps[2]).sending.run == ()
    assert bench.finish(steps[0]).sending.run == ()
    assert bench.states(execution)[-1] == "pending"
    assert [each.tool for each in bench.finish(steps[1]).sending.run] == ["b"]


def test_a_finish_in_a_fan_out_makes_room_for_one_row_more(bench):
    execution = bench.open(make_step("a", rows=8), send=2)
    assert [row["sent_at"] is not None for row in bench.rows(execution)].count(True) == 2
    finished = bench.finish(bench.take(execution, "a"), send=2)
    assert len(finished.sending.run) <= 1, "each end makes room for one, not for a whole window"


def test_of_fifty_rows_that_end_at_once_one_promotes(bench):
    execution = bench.open(make_step("a", rows=50), make_step("b"))
    steps = [bench.take(execution, "a", n) for n in range(50)]
    groups = [steps[n::10] for n in range(10)]
    answers = all_at_once([lambda part=part: [bench.finish(s) for s in part] for part in groups])
    finished = [each for part in answers for each in part]
    assert all(each.accepted for each in finished)
    promoted = [link.tool for each in finished for link in each.sending.run]
    assert promoted == ["b"]
    assert bench.execution(execution)["stage_open"] == 1
    bench.run(execution, "b")
    assert bench.state(execution) == "succeeded"


@pytest.mark.transition("pending -> skipped", "advance", happens=True)
def test_a_failure_stops_the_main_part(bench):
    execution = bench.open(make_step("a"), make_step("b"), make_step("c", rows=2))
    finished = bench.run(execution, "a", FAILED)
    assert (finished.state, finished.sending.run) == ("failed", ())
    assert bench.states(execution) == ["failed", "skipped", "skipped", "skipped"]
    assert {row["reason"] for row in bench.rows(execution)[1:]} == {"stopped"}
    assert bench.events(execution).count("step.skipped") == 3


def test_a_failure_may_be_passed_over(bench):
    execution = bench.open(make_step("a", on_failure="continue"), make_step("b"))
    finished = bench.run(execution, "a", FAILED)
    assert [each.tool for each in finished.sending.run] == ["b"]
    bench.run(execution, "b")
    assert bench.state(execution) == "failed", "passed over, not forgotten"


def test_the_other_rows_of_a_stage_run_on_after_a_failure(bench):
    execution = bench.open(make_step("a", rows=3), make_step("b"))
    bench.finish(bench.take(execution, "a", 0), FAILED)
    for n in (1, 2):
        assert bench.finish(bench.take(execution, "a", n)).accepted
    assert bench.states(execution) == ["failed", "succeeded", "succeeded", "skipped"]
    assert bench.state(execution) == "failed"


@pytest.mark.parametrize("result", [done(), FAILED])
def test_finally_runs_after_success_and_after_failure(bench, result):
    execution = bench.open(make_step("a"), make_step("b"), last=(make_step("y"), make_step("z")))
    finished = bench.run(execution, "a", result)
    if result is FAILED:
        assert bench.states(execution) == ["failed", "skipped", "queued", "pending"]
        assert [each.tool for each in finished.sending.run] == ["y", "z"]
    else:
        bench.run(execution, "b")
    bench.run(execution, "y")
    bench.run(execution, "z")
    assert bench.state(execution) == ("failed" if result is FAILED else "succeeded")


def test_a_failure_in_finally_does_not_stop_the_rest_of_it(bench):
    execution = bench.open(make_step("a"), last=(make_step("y"), make_step("z")))
    bench.run(execution, "a")
    bench.run(execution, "y", FAILED)
    bench.run(execution, "z")
    assert bench.states(execution) == ["succeeded", "failed", "succeeded"]
    assert bench.state(execution) == "failed"


def test_two_ends_of_one_step_at_once_count_once(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    answers = all_at_once([lambda: bench.finish(step), lambda: bench.finish(step, FAILED)] * 3)
    assert sum(each.accepted for each in answers) == 1
    row = bench.execution(execution)
    assert row["state"] == derive_state(bench.rows(execution))


@pytest.mark.parametrize("word", ["finish_step", "reap_step"])
def test_a_reaping_and_a_finish_have_one_winner(bench, word):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    lease = bench.lease(step)
    with bench.session() as session:
        if word == "finish_step":
            call(session, word, step.id, step.token, "succeeded", None, "{}", None, 0)
            loser = InThread(bench.outbox.reap_step, lease, 3, 0.0)
        else:
            call(session, word, step.id, step.token, lease.heartbeats, 3, 0.0)
            loser = InThread(bench.finish, step)
        bench.wait_for_lock()
    if word == "finish_step":
        assert loser.result()[0] is None
        assert bench.states(execution) == ["succeeded", "queued"]
    else:
        assert not loser.result().accepted
        assert bench.states(execution) == ["queued", "pending"]
