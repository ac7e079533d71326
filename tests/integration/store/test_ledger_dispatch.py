"""The outbox: what is due is handed out once, what was lost again, in a fair order."""

import pytest

from app.step import State
from app.store.ledger import call
from tests.lab.ledger_bench import (
    FAILED,
    InThread,
    all_at_once,
    done,
    make_change,
    make_plan,
    make_step,
)
from tool_catalog.model import Reason

QUEUE = "automation"


def taken(bench, limit=64, resend_s=None, queue=QUEUE):
    """Ids of the rows that the outbox gives."""
    return [each.run[0].step_id for each in bench.outbox.take_unsent(queue, limit, resend_s)]


@pytest.mark.transition("queued -> queued, published", "send_next", happens=True)
def test_unsent_rows_are_handed_out_once(bench):
    execution = bench.open(make_step(rows=4), send=1)
    ids = [row["id"] for row in bench.rows(execution)]
    assert taken(bench) == ids[1:]
    assert taken(bench) == []
    assert [row["sends"] for row in bench.rows(execution)] == [1] * 4


def test_a_limit_holds(bench):
    execution = bench.open(make_step(rows=5), send=0)
    ids = [row["id"] for row in bench.rows(execution)]
    assert (taken(bench, 2), taken(bench, 2), taken(bench, 2)) == (ids[:2], ids[2:4], ids[4:])
    assert taken(bench, 0) == []


def test_only_rows_of_the_queue(bench):
    bench.open(make_step(domain="comms"), send=0)
    assert taken(bench) == []
    assert len(taken(bench, queue="comms")) == 1
    assert bench.outbox.queues() == ["comms"]


@pytest.mark.transition("queued -> queued, published", "send_next", happens=True)
def test_a_message_that_was_lost_is_handed_out_again(bench):
    execution = bench.open(make_step(rows=2))
    assert taken(bench, resend_s=10.0) == []
    bench.ask("update steps set sent_at = sent_at - interval '11 s' where target_index = 1")
    assert taken(bench, resend_s=None) == [], "nothing was lost"
    assert taken(bench, resend_s=10.0) == [bench.step_id(execution, "read", 1)]
    assert [row["sends"] for row in bench.rows(execution)] == [1, 2]


def test_lost_messages_of_one_mutex_do_not_wait_for_each_other(bench):
    """All were published before an outage; each would wait for the others for ever."""
    rows = [bench.open(make_change(key, mutex="asset:7")) for key in ("a", "b", "c")]
    bench.ask("update steps set sent_at = sent_at - interval '11 s'")
    assert taken(bench, resend_s=10.0) == [bench.step_id(rows[0], "a")]
    assert taken(bench, resend_s=10.0) == [], "that one is on its way"
    bench.finish(bench.take(rows[0], "a"))
    assert taken(bench, resend_s=10.0) == [bench.step_id(rows[1], "b")]
    bench.finish(bench.take(rows[1], "b"))
    unsent = bench.open(make_change("d", mutex="asset:7"), send=0)
    assert taken(bench, resend_s=10.0) == [bench.step_id(rows[2], "c")]
    bench.finish(bench.take(rows[2], "c"))
    assert taken(bench, resend_s=10.0) == [bench.step_id(unsent, "d")]


@pytest.mark.parametrize("state", ["pending", "due", "waiting", "running", "interrupted"])
def test_only_queued_rows_are_handed_out(bench, state):
    bench.open(make_step(), send=0)
    bench.ask("update steps set state = :state", state=state)
    assert taken(bench, resend_s=0.0) == []


def test_rows_wait_for_their_time(bench):
    execution = bench.open(make_step(max_retries=1, backoff_s=3600))
    bench.ledger.retry_step(bench.take(execution, "read"), FAILED)
    assert taken(bench, resend_s=0.0) == []
    bench.ask("update steps set not_before = clock_timestamp()")
    assert len(taken(bench)) == 1


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_rows_wait_for_their_mutex(bench, state):
    first = bench.open(make_change(mutex="asset:7"))
    second = bench.open(make_change("b", mutex="asset:7"), send=0)
    step = bench.take(first, "change")
    if state == "interrupted":
        bench.ledger.arm_step(step)
        bench.ledger.interrupt_step(step, done(State.FAILED, Reason.TIMEOUT))
    assert taken(bench) == []
    bench.finish(step)
    assert taken(bench) == [bench.step_id(second, "b")]


def test_rows_that_were_blocked_are_left_to_who_knows_the_mutex(bench):
    holder = bench.take(bench.open(make_change(mutex="asset:7")), "change")
    execution = bench.open(make_change("b", rows=3, mutex="asset:7"))
    assert all(bench.claim(execution, "b", n) is None for n in range(3))
    bench.finish(holder)
    finished = bench.finish(bench.take(execution, "b", 0))
    assert finished.sending.run == ()
    assert taken(bench) == [bench.step_id(execution, "b", 1)], "one at a time"


def test_the_oldest_come_first_and_principals_take_turns(bench):
    greedy = bench.submit(make_plan(make_step(rows=6)), send=0).execution_id
    modest = bench.submit(
        make_plan(make_step(rows=2)), send=0, principal=bench.add_principal("modest")
    ).execution_id
    first = set(taken(bench, 4))
    assert first == {row["id"] for row in bench.rows(greedy)[:2]} | {
        row["id"] for row in bench.rows(modest)
    }


def test_two_dispatchers_share_the_rows(bench):
    execution = bench.open(make_step(rows=60), send=0)
    parts = all_at_once([lambda: taken(bench, 15)] * 6)
    given = [step_id for part in parts for step_id in part]
    given += taken(bench)  # rows that somebody held just then
    assert sorted(given) == [row["id"] for row in bench.rows(execution)]
    assert {row["sends"] for row in bench.rows(execution)} == {1}


def test_a_row_in_another_dispatcher_s_hand_is_skipped(bench):
    execution = bench.open(make_step(rows=2), send=0)
    ids = [row["id"] for row in bench.rows(execution)]
    with bench.session() as session:
        assert len(call(session, "take_unsent", QUEUE, 1, None)) == 1
        assert taken(bench, 2) == ids[1:]


def test_a_row_claimed_meanwhile_is_not_handed_out(bench):
    execution = bench.open(make_step(), send=0)
    with bench.session() as session:
        session.exec_driver_sql("select 1 from steps for update")
        assert taken(bench) == []
    bench.take(execution, "read")
    assert taken(bench, resend_s=0.0) == []


def test_what_was_not_delivered_is_handed_out_again(bench):
    execution = bench.open(make_step(rows=3))
    steps = [row["id"] for row in bench.rows(execution)]
    bench.take(execution, "read", 0)
    assert bench.ledger.unsend_steps(steps) == 2
    assert taken(bench) == steps[1:]


def test_how_many_were_sent_and_not_claimed(bench):
    execution = bench.open(make_step(rows=5), send=3)
    assert bench.outbox.count_sent(QUEUE) == 3
    bench.take(execution, "read", 0)
    assert bench.outbox.count_sent(QUEUE) == 2


@pytest.mark.transition("queued -> failed", "expire_queued", happens=True)
def test_rows_that_waited_too_long_fail(bench):
    execution = bench.open(make_step(queue_timeout_s=10.0), last=(make_step("z"),))
    other = bench.open(make_step(queue_timeout_s=10.0))
    assert bench.outbox.expire_queued() == 0
    bench.ask(
        "update steps set queued_at = queued_at - interval '11 s' where execution_id = :id",
        id=execution,
    )
    assert bench.outbox.expire_queued() == 1
    row = bench.rows(execution)[0]
    assert (row["state"], row["reason"]) == ("failed", "queue_timeout")
    assert row["result"]["summary"] == "no worker of queue automation took it within 10 s"
    assert bench.states(execution) == ["failed", "queued"]
    assert bench.states(other) == ["queued"]
    assert bench.outbox.expire_queued() == 0


def test_a_running_row_does_not_time_out_in_the_queue(bench):
    execution = bench.open(make_step(queue_timeout_s=10.0))
    bench.take(execution, "read")
    bench.ask("update steps set queued_at = queued_at - interval '1 h'")
    assert bench.outbox.expire_queued() == 0
    assert bench.states(execution) == ["running"]


def test_a_claim_and_a_time_out_have_one_winner(bench):
    execution = bench.open(make_step(queue_timeout_s=10.0))
    bench.ask("update steps set queued_at = queued_at - interval '11 s'")
    step_id = bench.step_id(execution, "read")
    with bench.session() as session:
        assert call(session, "expire_queued", 10) == 1
        claim = InThread(bench.claim_row, step_id, 0)
        bench.wait_for_lock()
    assert claim.result() is None
    assert bench.states(execution) == ["failed"]


def test_old_records_go_and_young_ones_stay(bench):
    old, young = bench.open(make_step()), bench.open(make_step())
    running = bench.open(make_step())
    for execution in (old, young):
        bench.run(execution, "read")
    bench.ask("update executions set finished_at = now() - interval '91 d' where id = :id", id=old)
    assert bench.outbox.remove_old(90) == 1
    left = {row["id"] for row in bench.ask("select id from executions")}
    assert left == {young, running}
    assert bench.rows(old) == []


def test_live_slots_count_who_is_alive(bench):
    bench.ask(
        "insert into workers (name, host, pool, queues, slots, offers, seen_at, stopped_at) values"
        " ('a', 'h', 'automation', '{automation}', 8, '{}', now(), null),"
        " ('b', 'h', 'automation', '{automation}', 4, '{}', now() - interval '1 h', null),"
        " ('c', 'h', 'automation', '{automation}', 2, '{}', now(), now()),"
        " ('d', 'h', 'comms', '{comms}', 1, '{}', now(), null)"
    )
    assert bench.outbox.live_slots(QUEUE, 30.0) == 8


def test_events_are_never_rewritten(bench):
    bench.open(make_step())
    with pytest.raises(Exception, match="append-only"):
        bench.ask("update events set actor = 'nobody'")
