"""Due steps: the dispatcher renders them, and their rows take their place."""

import pytest
from sqlalchemy.exc import InternalError

from app.step import State
from app.store.listener import Listener
from tests.lab.ledger_bench import FAILED, all_at_once, done, make_step
from tests.lab.shapes import on_hosts
from tool_catalog.model import Reason


def rendered(*hosts, key="late", position=1, **members):
    """What rendering a dynamic step gives."""
    return on_hosts(make_step(key, position=position), hosts, **members)


@pytest.mark.transition("pending -> queued, due", "advance", happens=True)
def test_due_steps_are_told_to_the_dispatcher(bench):
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        execution = bench.open(make_step("a"), make_step("late", dynamic=True, template={"x": 1}))
        assert bench.outbox.due_steps() == []
        bench.run(execution, "a")
        assert notes.wait(5) == ["due"]
    [due] = bench.outbox.due_steps()
    assert due.step_id == bench.step_id(execution, "late")
    assert (due.section, due.template, due.execution_state) == ("main", {"x": 1}, "running")


@pytest.mark.parametrize(("result", "state"), [(done(), "succeeded"), (FAILED, "failed")])
def test_a_due_step_of_finally_sees_how_the_main_part_ended(bench, result, state):
    last = make_step("late", dynamic=True, template={})
    execution = bench.open(make_step("a"), last=(last,))
    bench.run(execution, "a", result)
    [due] = bench.outbox.due_steps()
    assert (due.section, due.execution_state) == ("finally", state)


@pytest.mark.transition("due -> queued, pending", "expand_step", happens=True)
@pytest.mark.parametrize("names", [("one",), ("one", "two", "three")])
def test_a_dynamic_step_becomes_its_rows(bench, names):
    late = make_step("late", dynamic=True, template={})
    execution = bench.open(late, make_step("b"))
    sending = bench.expand(bench.step_id(execution, "late"), rendered(*names))
    rows = bench.rows(execution, "late")
    assert [row["target"]["name"] for row in rows] == list(names)
    assert [row["target_index"] for row in rows] == list(range(len(names)))
    assert {row["state"] for row in rows} == {"queued"}
    assert [link.step_id for link in sending.run][: len(rows)] == [row["id"] for row in rows]
    for n in range(len(names)):
        assert bench.states(execution)[-1] == "pending"
        bench.finish(bench.take(execution, "late", n))
    assert bench.states(execution)[-1] == "queued"
    bench.run(execution, "b")
    assert bench.state(execution) == "succeeded"


def test_a_dynamic_step_cannot_become_nothing(bench):
    """No targets is an end of its own (`settle_due`): a stage without rows would never end."""
    execution = bench.open(make_step("late", dynamic=True, template={}))
    before = bench.rows(execution)
    with pytest.raises(InternalError, match="at least one row"):
        bench.expand(before[0]["id"])
    assert bench.rows(execution) == before


@pytest.mark.transition("due -> skipped, failed", "settle_due", happens=True)
@pytest.mark.parametrize(
    ("state", "reason", "states"),
    [
        (State.SKIPPED, None, ["skipped", "queued"]),
        (State.FAILED, Reason.NO_TARGETS, ["failed", "skipped"]),
    ],
)
def test_a_dynamic_step_ends_without_running(bench, state, reason, states):
    execution = bench.open(make_step("late", dynamic=True, template={}), make_step("b"))
    sending = bench.end_due(bench.step_id(execution, "late"), state, reason, "so it is")
    assert bench.states(execution) == states
    assert [link.tool for link in sending.run] == (["b"] if state == "skipped" else [])
    row = bench.rows(execution)[0]
    assert (row["reason"], row["result"]["summary"]) == (reason, "so it is")


def test_a_step_is_expanded_once(bench):
    execution = bench.open(make_step("late", dynamic=True, template={}))
    step_id = bench.step_id(execution, "late")
    answers = all_at_once([lambda: bench.expand(step_id, rendered("a", "b")).run] * 5)
    assert sorted(len(run) for run in answers) == [0, 0, 0, 0, 2]
    assert len(bench.rows(execution)) == 2
    assert bench.execution(execution)["stage_open"] == 2


def test_an_expansion_keeps_within_the_window(bench):
    execution = bench.open(make_step("late", dynamic=True, template={}))
    hosts = rendered(*[f"h{n}" for n in range(10)])
    sending = bench.expand(bench.step_id(execution, "late"), hosts, send=3)
    assert len(sending.run) == 3
    assert len(bench.outbox.take_unsent("automation", 64, None)) == 7
