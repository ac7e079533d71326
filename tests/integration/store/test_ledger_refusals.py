"""For every row of ARCHITECTURE.md's state table: it does not happen when it should not.

The row's state would allow it; what else it takes is missing. Refused means that nothing changed:
not the row, not its execution, no event. That no other state allows it: test_ledger_moves.py.
"""

from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy.exc import InternalError

from tests.lab import ledger_words as say
from tests.lab.ledger_bench import FAILED, make_change, make_plan, make_step
from tests.lab.ledger_words import UNKNOWN, arrive, took
from tests.lab.shapes import Batches
from tool_catalog.model import Repeat

QUEUE = "automation"


@contextmanager
def untouched(bench, execution, *keys):
    """What happens inside leaves the rows of these steps as they are, whole."""
    before = [bench.rows(execution, key) for key in keys]
    yield
    assert [bench.rows(execution, key) for key in keys] == before


@pytest.mark.transition("new -> pending", "open_execution", happens=False)
@pytest.mark.parametrize("digest", ["d", "other"])
def test_a_key_that_is_taken_opens_nothing(bench, digest):
    bench.submit(make_plan(make_step()), key="k")
    with bench.unchanged():
        assert not bench.submit(make_plan(make_step(), digest=digest), key="k").created


@pytest.mark.transition("new -> skipped", "open_execution", happens=False)
def test_what_there_is_to_do_is_not_skipped_beside_what_is_not(bench):
    idle = make_step("idle", rows=0, dynamic=True, template={}, skipped="no targets fit")
    execution = bench.open((idle, make_step("a")), make_step("b"))
    states = {row["key"]: row["state"] for row in bench.rows(execution)}
    assert states == {"idle": "skipped", "a": "queued", "b": "pending"}
    assert bench.events(execution).count("step.skipped") == 1


@pytest.mark.transition("pending -> queued, due", "advance", happens=False)
@pytest.mark.parametrize("behind", [{}, {"dynamic": True, "template": {}}])
def test_nothing_begins_while_the_stage_before_is_open(bench, behind):
    execution = bench.open(make_step("a", rows=2), make_step("b", **behind))
    with untouched(bench, execution, "b"):
        assert bench.finish(bench.take(execution, "a", 0)).sending.run == ()
        assert bench.ledger.retry_step(bench.take(execution, "a", 1), UNKNOWN, unknown=True)


@pytest.mark.transition("pending -> queued", "settle", happens=False)
def test_a_row_held_back_stays_so_while_those_before_it_are_under_way(bench):
    execution = bench.open(make_change("x", rows=3, max_parallel=1, repeat=Repeat.NEVER))
    held = [row["id"] for row in bench.rows(execution)[1:]]
    before = bench.rows(execution)[1:]
    assert bench.ledger.release_step(bench.take(execution, "x"))
    step = bench.take(execution, "x")
    bench.ledger.arm_step(step)
    assert bench.ledger.interrupt_step(step, UNKNOWN)
    assert bench.rows(execution)[1:] == before
    assert not any(bench.claim_row(each, 0) for each in held)


@pytest.mark.transition("pending -> skipped", "advance", happens=False)
def test_a_failure_that_is_passed_over_skips_nothing(bench):
    execution = bench.open(make_step("a", on_failure="continue"), make_step("b"), make_step("c"))
    with untouched(bench, execution, "c"):
        bench.run(execution, "a", FAILED)
    assert bench.rows(execution, "b")[0]["state"] == "queued"
    assert "step.skipped" not in bench.events(execution)


@pytest.mark.transition("pending, due, waiting, queued -> skipped", "settle", happens=False)
def test_a_failure_that_is_borne_skips_nothing(bench):
    step = make_step("x", rows=4, max_failures=1, max_parallel=2)
    execution = bench.open(step, make_step("b"))
    before = bench.rows(execution)
    bench.finish(bench.take(execution, "x", 0), FAILED)
    assert [row["state"] for row in bench.rows(execution, "x")] == [
        "failed",
        "queued",
        "queued",
        "pending",
    ]
    assert bench.rows(execution)[3:] == before[3:]


@pytest.mark.transition("pending, due, waiting, queued -> skipped", "settle", happens=False)
def test_what_has_begun_is_not_skipped_with_its_block(bench):
    block = Batches((make_step("x", max_retries=1),), (("h1", "h2", "h3"),))
    execution = bench.open(block)
    running, again = bench.take(execution, "x", 1), bench.take(execution, "x", 2)
    assert bench.ledger.retry_step(again, FAILED)
    before = bench.rows(execution)[1:]
    bench.finish(bench.take(execution, "x", 0), FAILED, send=0)
    assert bench.rows(execution)[1:] == before
    assert bench.finish(running).accepted


@pytest.mark.transition("due -> queued, pending", "expand_step", happens=False)
def test_a_due_step_does_not_become_nothing(bench):
    scene = arrive(bench, "due")
    with bench.unchanged(), pytest.raises(InternalError, match="at least one row"):
        bench.expand(scene.row)


@pytest.mark.transition("due -> skipped, failed", "settle_due", happens=False)
def test_a_due_step_that_was_rendered_is_not_ended_by_another_dispatcher(bench):
    scene = arrive(bench, "due")
    bench.expand(scene.row, make_change("a", position=1))
    with bench.unchanged():
        assert bench.end_due(scene.row).run == ()


@pytest.mark.transition("queued -> queued, published", "send_next", happens=False)
@pytest.mark.parametrize("why", ["sent", "later", "held", "limit"])
def test_what_is_sent_or_must_wait_is_not_published(bench, why):
    members = {"mutex": "asset:1"} if why == "held" else {}
    scene = arrive(bench, "queued", max_retries=1, **members)
    if why != "sent":
        bench.ledger.unsend_steps([scene.row])
    if why == "later":
        bench.ask("update steps set not_before = clock_timestamp() + interval '1 h'")
    elif why == "held":
        bench.take(bench.open(make_change("x", mutex="asset:1")), "x")
    elif why == "limit":
        cap = '[{"key": "k", "what": "x", "running": 1}]'
        bench.ask("update steps set caps = cast(:cap as jsonb), cap_group = 'g'", cap=cap)
        bench.ask("insert into cap_starts values ('default', 'k', 1, clock_timestamp())")
        bench.ask(
            "update steps set caps = caps || cast(:cap as jsonb)",
            cap='[{"key": "k", "what": "x", "every_s": 3600}]',
        )
    with bench.unchanged():
        assert bench.outbox.take_unsent(QUEUE, 64, 3600.0) == []


@pytest.mark.transition("queued -> running", "claim_step", happens=False)
@pytest.mark.parametrize("why", ["attempt", "queue", "later", "cancelled"])
def test_what_is_not_this_message_s_to_start_is_not_claimed(bench, why):
    execution = bench.open(make_change("a", max_retries=1), last=(make_step("z"),))
    row = bench.step_id(execution, "a")
    if why == "later":
        bench.ask("update steps set not_before = clock_timestamp() + interval '1 h'")
    elif why == "cancelled":
        bench.ask("update executions set cancel_below = 1")
    queues = ["comms"] if why == "queue" else [QUEUE]
    with bench.unchanged():
        assert bench.claim_row(row, 1 if why == "attempt" else 0, queues=queues) is None


@pytest.mark.transition("queued -> failed", "claim_step", happens=False)
def test_a_forged_message_does_not_fail_what_a_revoked_principal_asked_for(bench):
    execution = bench.open(make_change("a"))
    bench.ask("update principals set revoked_at = now()")
    row = bench.step_id(execution, "a")
    with bench.unchanged():
        assert bench.claim_row(row, 1) is None
        assert bench.claim_row(row, 0, queues=["comms"]) is None


@pytest.mark.transition("queued -> failed", "expire_queued", happens=False)
def test_a_row_whose_time_is_not_over_waits_on(bench):
    bench.open(make_step(queue_timeout_s=3600.0))
    with bench.unchanged():
        assert bench.outbox.expire_queued() == 0


@pytest.mark.transition("running, armed", "arm_step", happens=False)
@pytest.mark.parametrize("why", ["cancelled", "token"])
def test_a_step_that_must_stop_or_is_not_ours_does_not_arm(bench, why):
    scene = arrive(bench, "running")
    step = scene.step
    if why == "cancelled":
        bench.cancel(scene.execution)
    else:
        step = replace(step, token=uuid4())
    with bench.unchanged():
        assert not bench.ledger.arm_step(step)


@pytest.mark.transition("running -> succeeded, failed, cancelled", "finish_step", happens=False)
def test_a_result_is_not_taken_twice(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    step = bench.take(execution, "a")
    bench.finish(step)
    with bench.unchanged():
        assert not bench.finish(step, FAILED).accepted


@pytest.mark.transition("running -> queued", "retry_step", happens=False)
@pytest.mark.parametrize("why", ["no retries", "cancelled", "armed"])
def test_what_may_not_be_tried_again_is_not(bench, why):
    state = "armed" if why == "armed" else "running"
    scene = arrive(bench, state, max_retries=0 if why == "no retries" else 5)
    if why == "cancelled":
        bench.cancel(scene.execution)
    with bench.unchanged():
        assert not bench.ledger.retry_step(scene.step, FAILED)


@pytest.mark.transition("running -> queued", "release_step", happens=False)
def test_a_drain_does_not_give_back_what_armed(bench):
    scene = arrive(bench, "armed", repeat=Repeat.IDEMPOTENT)
    with bench.unchanged():
        assert not bench.ledger.release_step(scene.step)


@pytest.mark.transition("running -> interrupted", "interrupt_step", happens=False)
def test_the_outcome_of_what_did_not_arm_is_not_unknown(bench):
    scene = arrive(bench, "running")
    with bench.unchanged():
        assert not bench.ledger.interrupt_step(scene.step, UNKNOWN)


@pytest.mark.transition("running -> queued", "reap_step", happens=False)
@pytest.mark.transition("running -> interrupted, failed, cancelled", "reap_step", happens=False)
@pytest.mark.parametrize("state", ["running", "armed"])
def test_a_lease_that_moved_is_not_reaped(bench, state):
    scene = arrive(bench, state)
    lease = bench.lease(scene.step)
    bench.ledger.heartbeat("w", [scene.step.token])
    with bench.unchanged():
        assert bench.outbox.reap_step(lease, 1, 0.0)[0] is None
        assert bench.outbox.reap_step(replace(lease, token=uuid4()), 1, 0.0)[0] is None


@pytest.mark.transition("interrupted -> succeeded, failed, cancelled", "finish_step", happens=False)
def test_a_late_result_does_not_undo_a_person_s_word(bench):
    scene = arrive(bench, "interrupted")
    with bench.session() as session:
        assert took(say.resolve("failed")(session, scene))
    rows, events = bench.rows(scene.execution), bench.events(scene.execution)
    assert not bench.finish(scene.step).accepted
    assert bench.rows(scene.execution) == rows
    assert bench.events(scene.execution) == [*events, "result.late"], "it is kept, and no more"


@pytest.mark.transition(
    "pending, due, waiting, queued -> cancelled", "cancel_execution", happens=False
)
def test_what_a_cancel_does_not_cover_goes_on(bench):
    execution = bench.open(make_step("a"), last=(make_step("y"), make_step("z")))
    step = bench.take(execution, "a")
    with untouched(bench, execution, "y", "z"):
        assert bench.cancel(execution)[0]["accepted"]
    with bench.unchanged():
        assert not bench.cancel(execution)[0]["accepted"]
    bench.finish(step)
    bench.run(execution, "y")
    bench.run(execution, "z")
    with bench.unchanged():
        assert not bench.cancel(execution)[0]["accepted"]
