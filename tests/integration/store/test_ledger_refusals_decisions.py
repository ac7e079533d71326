"""What people, and probes, say of rows: refused without a trace where it may not be said.

As test_ledger_refusals.py, for the other rows of ARCHITECTURE.md's state table.
"""

from dataclasses import replace

import pytest

from app.errors import Conflict, Forbidden
from app.plan import Need
from app.step import Found, Probe
from app.store.deadletters import DeadLetters
from app.store.decisions import Resolution, Voice
from tests.lab.ledger_bench import FAILED, done, make_change, make_plan, make_step
from tests.lab.ledger_words import ASK, arrive
from tool_catalog.model import Repeat


def approver(bench):
    return Voice(bench.add_principal("ann"), "why", ("approver",))


@pytest.mark.transition(
    "interrupted -> succeeded, failed, skipped, queued", "resolve_step", happens=False
)
def test_what_was_cancelled_is_not_run_again_by_a_person(bench):
    scene = arrive(bench, "interrupted")
    bench.cancel(scene.execution)
    given = {"actor": "ann", "reason": "why", "send": 1}
    with bench.unchanged(), pytest.raises(Conflict, match="was cancelled"):
        bench.decisions.resolve_step(scene.execution, scene.row, Resolution.RETRY, **given)


@pytest.mark.transition(
    "interrupted -> succeeded, queued, failed, cancelled", "probe_step", happens=False
)
@pytest.mark.parametrize(
    ("state", "repeat"), [("interrupted", Repeat.NEVER), ("armed", Repeat.PROBE)]
)
@pytest.mark.parametrize("found", list(Found))
def test_what_has_no_probe_or_is_not_interrupted_is_not_probed(bench, state, repeat, found):
    scene = arrive(bench, state, repeat=repeat)
    step = replace(scene.step, probe=Probe("2999-01-01 00:00Z", None))
    with bench.unchanged():
        answer = bench.ledger.probe_step(step, found, done(), pause_s=0.0, send=1)
        assert not answer.accepted


@pytest.mark.transition("interrupted -> interrupted, asked", "take_probes", happens=False)
@pytest.mark.parametrize(
    ("state", "repeat"), [("interrupted", Repeat.NEVER), ("armed", Repeat.PROBE)]
)
def test_what_has_no_probe_or_is_not_interrupted_is_not_asked_about(bench, state, repeat):
    scene = arrive(bench, state, repeat=repeat)
    with bench.unchanged():
        assert bench.outbox.take_probes("automation", 9, 0.0) == []
        with pytest.raises(Conflict):
            bench.decisions.ask_probe(scene.execution, scene.row, actor="ann", reason="")


@pytest.mark.transition("pending -> waiting", "open_execution", happens=False)
def test_a_plan_that_brought_its_reason_does_not_wait(bench):
    plan = replace(make_plan(make_change("a")), reason="planned work")
    opened = bench.submit(plan, ask=replace(ASK, need=Need("self")))
    assert (opened.state, bench.states(opened.execution_id)) == ("running", ["queued"])
    assert bench.execution(opened.execution_id)["waiting"] == 0


@pytest.mark.transition("waiting -> pending -> queued", "approve", happens=False)
@pytest.mark.parametrize(
    ("why", "error"),
    [("digest", Conflict), ("late", Conflict), ("own", Forbidden), ("group", Forbidden)],
)
def test_a_yes_that_does_not_count_lets_nothing_begin(bench, why, error):
    scene, voice = arrive(bench, "waiting"), approver(bench)
    if why == "late":
        bench.ask("update approvals set expires_at = clock_timestamp()")
    elif why == "own":
        voice = replace(voice, principal=bench.principal)
    elif why == "group":
        voice = replace(voice, groups=("web",))
    shown = "another" if why == "digest" else "digest"
    with bench.unchanged(), pytest.raises(error):
        bench.decisions.approve(scene.approval, shown, voice, send=1)


@pytest.mark.transition("waiting -> cancelled", "end_approval", happens=False)
def test_an_approval_does_not_end_before_its_time_nor_twice(bench):
    scene, voice = arrive(bench, "waiting"), approver(bench)
    with bench.unchanged():
        assert bench.outbox.expire_approvals() == 0
    bench.decisions.approve(scene.approval, "digest", voice, send=1)
    with bench.unchanged(), pytest.raises(Conflict, match="decided already"):
        bench.decisions.reject(scene.approval, voice, send=1)


@pytest.mark.transition(
    "failed, cancelled, skipped -> pending, queued", "resume_execution", happens=False
)
@pytest.mark.parametrize("why", ["runs", "succeeded", "refused", "undone"])
def test_what_may_not_go_on_is_not_resumed(bench, why):
    execution = execution_that(bench, why)
    with bench.unchanged(), pytest.raises(Conflict):
        bench.decisions.resume_execution(
            execution, only_failed=False, actor="ann", reason="why", send=1
        )


def execution_that(bench, why):
    """Of which something failed, was cancelled or was skipped, and that may not go on."""
    if why == "refused":
        scene = arrive(bench, "waiting")
        bench.decisions.reject(scene.approval, approver(bench), send=1)
        return scene.execution
    word = "undo" if why == "undone" else "stop"
    execution = bench.open(make_change("c"), make_step("a", on_failure=word), make_step("b"))
    if why == "runs":
        return bench.open((make_step("a"), make_step("b")))
    bench.run(execution, "c")
    if why == "succeeded":
        for key in "ab":
            bench.run(execution, key)
        return execution
    bench.run(execution, "a", FAILED)
    [due] = bench.outbox.due_steps()
    [row] = bench.outbox.rows_done(due)
    reversal = make_change("undo:c", position=due.position)
    rows = tuple(replace(each, undoes=row["id"]) for each in reversal.rows)
    bench.expand(due.step_id, replace(reversal, rows=rows))
    bench.run(execution, "undo:c")
    return execution


@pytest.mark.transition("failed, skipped -> pending, queued", "requeue_step", happens=False)
@pytest.mark.parametrize("why", ["runs", "undone"])
def test_what_may_not_go_on_is_not_requeued(bench, why):
    if why == "runs":
        execution = bench.open((make_step("a"), make_step("b")))
        bench.run(execution, "a", FAILED)
    else:
        execution = execution_that(bench, why)
    row = bench.step_id(execution, "a")
    with bench.unchanged(), pytest.raises(Conflict):
        DeadLetters(bench.autocommit).requeue(row, Voice(bench.principal, "why"), send=1)


@pytest.mark.transition("new -> pending, due", "plan_undo", happens=False)
def test_a_failure_after_a_cancel_reverses_nothing(bench):
    execution = bench.open(make_change("a"), make_step("b", on_failure="undo"))
    bench.run(execution, "a")
    step = bench.take(execution, "b")
    bench.cancel(execution)
    assert bench.finish(step, FAILED).accepted
    assert bench.rows(execution, "undo") == []


@pytest.mark.transition("new -> pending, due", "plan_undo", happens=False)
def test_where_nothing_is_left_to_reverse_nobody_is_asked(bench):
    scene = arrive(bench, "failed")
    with bench.unchanged(), pytest.raises(Conflict, match="nothing that changed anything"):
        bench.decisions.undo_execution(scene.execution, Voice(bench.principal, "why"))
