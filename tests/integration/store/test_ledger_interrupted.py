"""An unknown outcome keeps its asset; who waits is told; what comes late is kept and shown."""

import pytest

from tests.lab.ledger_bench import FAILED, done, make_change
from tests.lab.ledger_words import QUEUE, UNKNOWN, arrive

ASSET = {"mutex": "asset:1"}


def shown(bench, execution):
    """A row as people see it."""
    return bench.records.read_execution("default", execution)["steps"][0]["results"][0]


def waiting_for(bench, scene):
    """Another plan's step on the same asset, which was refused once."""
    other = bench.open(make_change("x", **ASSET))
    assert bench.claim(other, "x") is None
    return other


def test_others_wait_and_are_told_for_whom(bench):
    scene = arrive(bench, "interrupted", **ASSET)
    other = waiting_for(bench, scene)
    assert bench.outbox.take_unsent(QUEUE, 64, 0.0) == [], "it does not spin"
    holder = shown(bench, other)["blocked_by"]
    assert (holder["execution_id"], holder["step"]) == (str(scene.execution), "a")
    [lock] = bench.records.list_locks("default")
    assert (lock["lock"], lock["waiting"]) == ("asset:1", 1)
    assert bench.states(other) == ["queued"]


@pytest.mark.parametrize("result", [done(), FAILED])
def test_a_known_outcome_holds_nobody_up(bench, result):
    scene = arrive(bench, "interrupted", **ASSET)
    other = waiting_for(bench, scene)
    assert bench.finish(scene.step, result).accepted
    assert bench.records.list_locks("default") == []
    assert shown(bench, other)["blocked_by"] is None
    assert len(bench.outbox.take_unsent(QUEUE, 64, None)) == 1
    assert bench.claim(other, "x") is not None


@pytest.mark.parametrize("word", ["cancel", "heartbeat", "drain"])
def test_what_is_no_outcome_frees_nothing(bench, word):
    scene = arrive(bench, "interrupted", **ASSET)
    other = waiting_for(bench, scene)
    if word == "cancel":
        bench.cancel(scene.execution)
    elif word == "heartbeat":
        bench.ledger.heartbeat("w", [scene.step.token])
    else:
        assert not bench.ledger.release_step(scene.step)
    assert scene.state == "interrupted"
    assert bench.claim(other, "x") is None


def test_a_result_that_comes_after_the_decision_is_shown_with_the_next_question(bench):
    scene = arrive(bench, "interrupted")
    assert bench.ask("select requeue_step('default', :row, 'ann', 'why', 0)", row=scene.row)
    assert not bench.finish(scene.step, done(exit_code=0)).accepted
    assert bench.events(scene.execution)[-1] == "result.late"
    again = bench.take(scene.execution, "a")
    bench.ledger.arm_step(again)
    assert "evidence" not in shown(bench, scene.execution), "while it runs nobody is asked"
    bench.ledger.interrupt_step(again, UNKNOWN)
    [late] = shown(bench, scene.execution)["evidence"]["late"]
    assert (late["state"], late["summary"], late["attempt"]) == ("succeeded", "done", 1)


def test_a_result_in_time_is_not_called_late(bench):
    scene = arrive(bench, "armed")
    assert bench.finish(scene.step).accepted
    assert bench.rows(scene.execution)[0]["reason"] is None
    assert not bench.finish(scene.step, FAILED).accepted
    assert "result.late" not in bench.events(scene.execution)
