"""Limits in the ledger: how many run at once, how often one begins, in turn, not spinning."""

from dataclasses import replace

import pytest

from app.plan import Cap
from app.step import State
from app.store.listener import Listener
from tests.lab.ledger_bench import (
    FAILED,
    all_at_once,
    make_change,
    make_plan,
    make_step,
    wait_until,
)

QUEUE = "automation"
TWO = Cap("tools=systemctl", "systemctl", running=2)


def capped(step, *caps):
    return replace(step, rows=tuple(replace(row, caps=caps) for row in step.rows))


def taken(bench, limit=64, resend_s=None):
    return [each.run[0].step_id for each in bench.outbox.take_unsent(QUEUE, limit, resend_s)]


def words(bench, execution):
    found = bench.ask(
        "select tell_limit(s, held_caps(true)) as words from steps s"
        " where execution_id = :id and sent_at is null and state = 'queued' order by id",
        id=execution,
    )
    return [row["words"] for row in found]


def start(bench, step_id):
    row = bench.ask("select attempt from steps where id = :id", id=step_id)[0]
    return bench.claim_row(step_id, row["attempt"])


def test_what_no_limit_concerns_is_published_at_once(bench):
    opened = bench.submit(make_plan(make_step("a"), make_step("b")))
    assert [len(opened.sending.run), opened.sending.chain] == [2, True]
    row = bench.rows(opened.execution_id)[0]
    assert (row["caps"], row["cap_group"]) == (None, None)


def test_a_capped_row_is_left_to_the_dispatcher_which_is_told(bench):
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        opened = bench.submit(make_plan(capped(make_step(), TWO)))
        assert notes.wait(5)
    assert opened.sending.run == ()
    assert taken(bench) == [bench.step_id(opened.execution_id, "read")]


def test_no_chain_runs_through_a_capped_step(bench):
    opened = bench.submit(make_plan(make_step("a"), capped(make_step("b"), TWO), make_step("c")))
    assert [link.tool for link in opened.sending.run] == ["a"]
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        assert bench.run(opened.execution_id, "a").sending.run == ()
        assert notes.wait(5)
    assert len(taken(bench)) == 1
    assert [link.tool for link in bench.run(opened.execution_id, "b").sending.run] == ["c"]


def test_no_more_than_so_many_run_and_the_next_follows_one_that_ended(bench):
    execution = bench.open(capped(make_step(rows=5), TWO))
    ids = [row["id"] for row in bench.rows(execution)]
    assert taken(bench) == ids[:2]
    assert taken(bench) == [], "those in the broker count"
    first, second = (start(bench, each) for each in ids[:2])
    assert taken(bench) == []
    assert words(bench, execution) == ["limit: 2 running systemctl"] * 3
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        bench.finish(first)
        assert "limit" in notes.wait(5)
    assert taken(bench) == [ids[2]]
    bench.finish(second, FAILED)
    assert taken(bench) == [ids[3]]


def test_limits_hold_across_plans_and_leave_others_alone(bench):
    busy = bench.open(capped(make_step(rows=2), TWO))
    other = bench.open(capped(make_step(), TWO))
    apart = bench.open(capped(make_step(), replace(TWO, key="other")), make_step("next"))
    plain = bench.open(make_step(), send=0)
    assert set(taken(bench)) == {
        *(row["id"] for row in bench.rows(busy)),
        bench.step_id(apart, "read"),
        bench.step_id(plain, "read"),
    }
    assert words(bench, other) == ["limit: 2 running systemctl"]


def test_each_of_several_limits_must_have_room(bench):
    on = [Cap(f"target=web-{n}", f"steps on web-{n}", running=1) for n in range(2)]
    first = bench.open(capped(make_step(rows=2), TWO, on[0]))
    second = bench.open(capped(make_step(rows=2), TWO, on[1]))
    third = bench.open(capped(make_step(), TWO))
    ids = [bench.step_id(first, "read"), bench.step_id(second, "read")]
    assert taken(bench) == ids
    bench.finish(start(bench, ids[0]))
    again = bench.step_id(first, "read", 1)
    assert taken(bench) == [again], "the oldest"
    bench.finish(start(bench, again))
    assert taken(bench) == [bench.step_id(third, "read")], "web-1 is still in use"


def test_a_row_is_held_back_by_the_claim_too(bench):
    execution = bench.open(capped(make_step(rows=3), TWO))
    ids = [row["id"] for row in bench.rows(execution)]
    assert [bool(start(bench, each)) for each in ids] == [True, True, False]
    row = bench.rows(execution)[2]
    assert (row["state"], row["attempt"], row["sent_at"]) == ("queued", 0, None)


def test_claims_at_once_never_pass_the_limit(bench):
    execution = bench.open(capped(make_step(rows=8), TWO, Cap("b", "b", running=7)))
    rows = bench.rows(execution)
    got = all_at_once([lambda i=row["id"]: bench.claim_row(i, 0) for row in rows])
    assert sum(step is not None for step in got) == 2
    assert bench.states(execution).count("running") == 2


def test_one_begins_every_so_many_seconds(bench):
    every = Cap("rate", "webhook-sender send", every_s=60)
    execution = bench.open(capped(make_step(rows=3), every))
    ids = [row["id"] for row in bench.rows(execution)]
    assert bench.outbox.next_start_s() is None
    assert taken(bench) == ids[:1]
    bench.finish(start(bench, ids[0]))
    assert taken(bench) == []
    assert start(bench, ids[1]) is None, "nor by a message that somebody made up"
    assert words(bench, execution) == ["limit: one webhook-sender send every 60 s"] * 2
    assert 55 < bench.outbox.next_start_s() <= 60
    bench.ask("update cap_starts set started_at = started_at - interval '60 s'")
    assert taken(bench) == [ids[1]]


def test_principals_take_turns_under_a_limit(bench):
    one = Cap("one", "steps", running=1)
    modest = bench.add_principal("modest")
    greedy = bench.open(capped(make_step(rows=4), one))
    second = bench.submit(make_plan(capped(make_step(rows=2), one)), principal=modest)
    order = []
    for _ in range(6):
        (step_id,) = taken(bench)
        order.append(step_id)
        bench.finish(start(bench, step_id))
    first = [row["id"] for row in bench.rows(greedy)]
    theirs = [row["id"] for row in bench.rows(second.execution_id)]
    assert order == [first[0], theirs[0], first[1], theirs[1], first[2], first[3]]


@pytest.mark.parametrize("word", ["retry", "release", "interrupt", "reap", "cancel"])
def test_whatever_takes_a_row_from_its_worker_gives_its_place_free(bench, word):
    one = Cap("one", "steps", running=1)
    step = capped(make_change(max_retries=1, rows=2), one)
    execution = bench.open(step)
    ids = [row["id"] for row in bench.rows(execution)]
    assert taken(bench) == ids[:1]
    held = start(bench, ids[0])
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        if word == "retry":
            assert bench.ledger.retry_step(held, FAILED)
        elif word == "release":
            assert bench.ledger.release_step(held)
        elif word == "interrupt":
            bench.ledger.arm_step(held)
            assert bench.ledger.interrupt_step(held, FAILED)
        elif word == "reap":
            assert bench.reap(held) == "queued"
        else:
            bench.finish(held, replace(FAILED, state=State.CANCELLED))
        assert notes.wait(5)
    later = "update steps set not_before = now() + interval '1 h' where id = :id"
    bench.ask(later, id=ids[0])
    assert taken(bench) == ids[1:]


def test_a_lost_message_keeps_its_place_and_is_sent_again(bench):
    execution = bench.open(capped(make_step(rows=2), Cap("one", "steps", running=1)))
    first = bench.step_id(execution, "read")
    assert taken(bench) == [first]
    bench.ask("update steps set sent_at = sent_at - interval '11 s' where id = :id", id=first)
    assert taken(bench, resend_s=10.0) == [first]


def test_a_full_limit_does_not_stand_in_the_way_of_others(bench):
    bench.open(capped(make_step(rows=200), Cap("one", "steps", running=1)))
    plain = bench.open(make_step(rows=3), send=0)
    assert len(taken(bench, 4)) == 4
    assert {row["sends"] for row in bench.rows(plain)} == {1}


def test_the_same_limit_of_another_tenant_is_another(bench):
    one = Cap("one", "steps", running=1)
    plan = make_plan(capped(make_step(), one))
    them = replace(bench.add_principal("them"), tenant="other")
    made = [bench.submit(plan), bench.submit(plan, principal=them), bench.submit(plan)]
    ids = [bench.step_id(each.execution_id, "read") for each in made]
    assert sorted(taken(bench)) == ids[:2]
    assert [bool(start(bench, each)) for each in ids] == [True, True, False]


def test_rows_held_back_by_their_step_obey_limits_when_released(bench):
    execution = bench.open(capped(make_step(rows=4, max_parallel=2), Cap("c", "x", running=1)))
    seen = []
    for _ in range(4):
        (step_id,) = taken(bench)
        seen.append(step_id)
        bench.finish(start(bench, step_id))
    assert seen == [row["id"] for row in bench.rows(execution)]
    assert bench.state(execution) == "succeeded"


def test_a_blocked_row_costs_no_publishes_while_it_waits(bench):
    one = Cap("one", "steps", running=1)
    execution = bench.open(capped(make_step(rows=50), one))
    (first,) = taken(bench)
    held = start(bench, first)
    for _ in range(20):
        assert taken(bench) == []
    assert sum(row["sends"] for row in bench.rows(execution)) == 1
    bench.finish(held)
    assert len(taken(bench)) == 1
    wait_until(lambda: sum(row["sends"] for row in bench.rows(execution)) == 2)


def test_rows_that_want_one_mutex_are_published_one_at_a_time(bench):
    executions = [bench.open(make_change(mutex="asset:7"), send=0) for _ in range(20)]
    for number in range(20):
        (step_id,) = taken(bench)
        assert taken(bench) == [], "the others would only be refused"
        bench.finish(start(bench, step_id))
        assert bench.state(executions[number]) == "succeeded"
    sends = bench.ask("select sum(sends) as n, max(attempt) as tries from steps")[0]
    assert (sends["n"], sends["tries"]) == (20, 1)
