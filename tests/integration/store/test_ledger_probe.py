"""The declared probe after a lost worker: when it is asked, what its answer does, and when not."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from app.errors import Conflict, NotFound
from app.step import Found, Probe, State, Step
from app.store.decisions import Resolution
from app.store.listener import Listener
from tests.lab.ledger_bench import (
    FAILED,
    QUEUES,
    InThread,
    all_at_once,
    done,
    make_change,
    make_step,
)
from tool_catalog.model import Reason, Repeat

SEEN = {"active": "yes"}
#: Longer than a step's time and what is left to what it began.
PAST = "armed - interval '10 minutes'"


def lost(bench, *behind, **members):
    """An armed step whose worker was reaped: (execution, the step as that worker had it)."""
    members = {"repeat": Repeat.PROBE, "mutex": "asset:1", **members}
    execution = bench.open(make_change("a", **members), *(behind or (make_step("b"),)))
    step = bench.take(execution, "a")
    assert bench.ledger.arm_step(step, {"pid": 1})
    assert bench.reap(step) == "interrupted"
    return execution, step


def overdue(bench, *behind, **members):
    """The same when nothing of the effect can be on its way any more."""
    execution, step = lost(bench, *behind, **members)
    bench.ask(f"update steps set armed = {PAST} where id = :id", id=step.id)
    return execution, step


def take(bench, resend_s=60.0):
    return [link for each in bench.outbox.take_probes("automation", 10, resend_s)
            for link in each.run]  # fmt: skip


def ask(bench, execution):
    """What the dispatcher and a worker do until the look begins: the step to be probed."""
    bench.ask("update steps set probe_at = clock_timestamp() where probe_at is not null")
    assert [link.step_id for link in take(bench)] == [bench.step_id(execution, "a")]
    step = bench.claim(execution, "a")
    assert step.probe is not None
    return step


def answer(bench, step, found, pause_s=0.0):
    result = done(State.SUCCEEDED if found is Found.DONE else State.FAILED, output=SEEN, after=SEEN)
    return bench.ledger.probe_step(step, found, result, pause_s=pause_s, send=64)


def event(bench, execution, kind):
    return bench.ask(
        "select * from events where execution_id = :id and kind = :kind order by id desc",
        id=execution,
        kind=kind,
    )[0]


def row_of(bench, execution):
    return bench.rows(execution, "a")[0]


def seconds_until(row, moment):
    return (row[moment] - row["now"]).total_seconds()


def now_and(bench, execution):
    return bench.ask(
        "select *, clock_timestamp() as now from steps where id = :id",
        id=bench.step_id(execution, "a"),
    )[0]


# When it is asked.


@pytest.mark.transition("interrupted -> interrupted, asked", "take_probes", happens=True)
def test_a_reaped_step_is_asked_about_at_once(bench):
    with Listener(bench.engine, "opsfarm_dispatch") as notes:
        execution, step = lost(bench)
        assert notes.wait(5)
    assert bench.outbox.probe_queues() == ["automation"]
    [link] = take(bench)
    assert (link.step_id, link.attempt) == (step.id, 1), "the message that was run had attempt 0"
    row = now_and(bench, execution)
    assert (row["state"], row["probes_left"]) == ("interrupted", 2)
    assert seconds_until(row, "probe_at") == pytest.approx(60, abs=5)
    assert take(bench) == []
    assert bench.outbox.probe_queues() == []
    assert bench.outbox.next_start_s() == pytest.approx(60, abs=5)


def test_a_message_that_is_lost_is_sent_again_but_not_for_ever(bench):
    lost(bench)
    assert [len(take(bench, resend_s=0.0)) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert bench.outbox.probe_queues() == []
    assert bench.outbox.next_start_s() is None


def test_dispatchers_at_once_ask_once(bench):
    lost(bench)
    taken = all_at_once([lambda: take(bench)] * 4)
    assert sorted(map(len, taken)) == [0, 0, 0, 1]


@pytest.mark.parametrize("repeat", [Repeat.NEVER, Repeat.IDEMPOTENT, Repeat.KEYED])
def test_what_has_no_probe_is_not_asked_about(bench, repeat):
    execution = bench.open(make_change("a", repeat=repeat))
    step = bench.take(execution, "a")
    bench.ledger.arm_step(step)
    bench.reap(step)
    assert take(bench) == []
    assert row_of(bench, execution)["probe_at"] is None


def test_what_is_not_armed_is_not_asked_about(bench):
    execution = bench.open(make_change("a", repeat=Repeat.PROBE))
    assert bench.reap(bench.take(execution, "a")) == "queued"
    assert take(bench) == []


def test_a_worker_that_just_looked_in_vain_is_asked_again_after_a_pause(bench):
    execution = bench.open(make_change("a", repeat=Repeat.PROBE))
    step = bench.take(execution, "a")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, done(State.FAILED, Reason.TIMEOUT))
    assert take(bench) == []
    assert bench.outbox.next_start_s() == pytest.approx(10, abs=3)


def test_a_worker_that_stopped_it_is_asked_about_at_once(bench):
    execution = bench.open(make_change("a", repeat=Repeat.PROBE))
    step = bench.take(execution, "a")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, done(State.CANCELLED, Reason.STOPPED))
    assert len(take(bench)) == 1


# Who looks, and what they are given.


def test_whoever_looks_has_the_step_as_it_was(bench):
    execution, step = lost(bench)
    before = bench.rows(execution), bench.events(execution)
    asked = ask(bench, execution)
    assert (asked.id, asked.token, asked.attempt) == (step.id, step.token, 1)
    assert asked.probe.before == {"pid": 1}
    assert datetime.fromisoformat(asked.probe.asked_at).tzinfo is not None
    same = ("state", "token", "attempt", "worker", "armed", "heartbeats", "started_at", "result")
    after = bench.rows(execution)
    assert [[row[name] for name in same] for row in after] == [
        [row[name] for name in same] for row in before[0]
    ]
    assert bench.events(execution) == before[1]
    assert bench.state(execution) == "attention"


def test_looking_twice_is_harmless(bench):
    execution, _ = lost(bench)
    first, second = ask(bench, execution), bench.claim(execution, "a")
    assert first.token == second.token
    assert answer(bench, first, Found.DONE).accepted
    refused = answer(bench, second, Found.DONE)
    assert (refused.accepted, refused.state) == (False, "succeeded")
    assert bench.states(execution) == ["succeeded", "queued"]


def test_nobody_is_asked_while_somebody_looks(bench):
    execution, _ = lost(bench)
    ask(bench, execution)
    assert seconds_until(now_and(bench, execution), "probe_at") == pytest.approx(120, abs=5)


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempt_s_message_looks_at_nothing(bench, attempt):
    _, step = lost(bench)
    take(bench)
    assert bench.claim_row(step.id, attempt) is None


@pytest.mark.parametrize(
    ("change", "queues"),
    [
        ("update steps set probe_at = null", QUEUES),
        ("update steps set repeat = 'never'", QUEUES),
        ("update principals set revoked_at = now()", QUEUES),
        ("update principals set role = 'viewer'", QUEUES),
        ("update steps set state = 'succeeded'", QUEUES),
        ("select 1", ("network",)),
    ],
)
def test_nobody_may_look_who_must_not(bench, change, queues):
    _, step = lost(bench)
    bench.ask(change)
    assert bench.claim_row(step.id, 1, queues=queues) is None


def test_a_look_holds_no_limit_and_waits_for_no_mutex(bench):
    execution, _ = lost(bench)
    other = bench.open(make_change("x", mutex="asset:1"))
    ask(bench, execution)
    assert bench.claim(other, "x") is None
    assert bench.states(execution)[0] == "interrupted"


# What its answer does.


@pytest.mark.transition(
    "interrupted -> succeeded, queued, failed, cancelled", "probe_step", happens=True
)
def test_an_effect_that_is_there_ends_the_step(bench):
    execution, _ = lost(bench)
    finished = answer(bench, ask(bench, execution), Found.DONE)
    assert finished.accepted
    assert [link.tool for link in finished.sending.run] == ["b"]
    row = row_of(bench, execution)
    assert (row["state"], row["reason"], row["result"]["after"]) == ("succeeded", "resolved", SEEN)
    assert bench.execution(execution)["interrupted"] == 0
    told = event(bench, execution, "step.succeeded")
    assert (told["actor"], told["data"]["probe"]) == (
        "probe",
        {"found": "done", "evidence": SEEN, "why": "done"},
    )


@pytest.mark.transition(
    "interrupted -> succeeded, queued, failed, cancelled", "probe_step", happens=True
)
def test_an_effect_that_is_not_there_counts_once_nothing_can_be_on_its_way(bench):
    execution, _ = lost(bench, timeout_s=30.0)
    assert answer(bench, ask(bench, execution), Found.NOT_DONE).accepted
    row = row_of(bench, execution)
    assert row["state"] == "interrupted"
    assert row["probe_at"] - row["armed"] == timedelta(seconds=50)
    assert row["probes_left"] >= 1
    assert event(bench, execution, "probe.answered")["data"]["probe"]["found"] == "not done"
    other = bench.open(make_change("x", mutex="asset:1"))
    assert bench.claim(other, "x") is None, "its asset stays locked"
    bench.ask(f"update steps set armed = {PAST} where id = :id", id=row["id"])
    assert answer(bench, ask(bench, execution), Found.NOT_DONE).accepted
    assert bench.states(execution) == ["queued", "pending"]
    again = bench.take(execution, "a")
    assert (again.attempt, again.probe) == (2, None)


def test_what_counts_is_when_the_look_began(bench):
    execution, _ = lost(bench)
    asked = ask(bench, execution)
    bench.ask("update steps set armed = clock_timestamp() - interval '49.9 seconds'")
    bench.ask("select pg_sleep(0.2)")
    assert answer(bench, asked, Found.NOT_DONE).accepted
    assert bench.states(execution) == ["interrupted", "pending"]
    assert len(take(bench)) == 1, "it is asked again at once"


def test_the_last_ask_before_that_moment_is_given_back(bench):
    execution, _ = lost(bench)
    bench.ask("update steps set probes_left = 1")
    answer(bench, ask(bench, execution), Found.NOT_DONE)
    assert row_of(bench, execution)["probes_left"] == 1


@pytest.mark.transition(
    "interrupted -> succeeded, queued, failed, cancelled", "probe_step", happens=True
)
def test_starts_that_are_used_up_make_it_fail(bench):
    execution, step = overdue(bench)
    for attempt in (1, 2):
        assert step.attempt == attempt
        answer(bench, ask(bench, execution), Found.NOT_DONE)
        step = bench.take(execution, "a")
        bench.ledger.arm_step(step)
        bench.reap(step)
        bench.ask(f"update steps set armed = {PAST} where id = :id", id=step.id)
    assert answer(bench, ask(bench, execution), Found.NOT_DONE).accepted
    assert bench.states(execution) == ["failed", "skipped"]
    assert row_of(bench, execution)["reason"] == "not_verified"


def test_without_an_answer_it_is_asked_again_and_then_a_person(bench):
    execution, _ = overdue(bench)
    for left in (2, 1):
        assert answer(bench, ask(bench, execution), Found.UNKNOWN, pause_s=40).accepted
        row = now_and(bench, execution)
        assert (row["state"], row["probes_left"]) == ("interrupted", left)
        assert seconds_until(row, "probe_at") == pytest.approx(40, abs=5)
    answer(bench, ask(bench, execution), Found.UNKNOWN)
    assert row_of(bench, execution)["probe_at"] is None
    assert bench.claim(execution, "a") is None
    assert bench.state(execution) == "attention"
    assert bench.events(execution).count("probe.answered") == 3
    assert event(bench, execution, "probe.answered")["data"]["probe"]["found"] == "no answer"


@pytest.mark.transition(
    "interrupted -> succeeded, queued, failed, cancelled", "probe_step", happens=True
)
def test_a_cancelled_step_does_not_run_again(bench):
    execution, _ = overdue(bench)
    bench.cancel(execution)
    assert bench.states(execution) == ["interrupted", "cancelled"]
    answer(bench, ask(bench, execution), Found.NOT_DONE)
    assert bench.states(execution) == ["cancelled", "cancelled"]
    assert bench.state(execution) == "cancelled"


def test_a_cancelled_step_that_is_done_is_done(bench):
    execution, _ = lost(bench)
    bench.cancel(execution)
    answer(bench, ask(bench, execution), Found.DONE)
    assert bench.states(execution) == ["succeeded", "cancelled"]


# Who comes first.


def test_a_late_result_settles_it_before_the_probe(bench):
    execution, step = lost(bench)
    asked = ask(bench, execution)
    assert bench.finish(step, FAILED).accepted
    assert not answer(bench, asked, Found.DONE).accepted
    row = row_of(bench, execution)
    assert (row["state"], row["reason"]) == ("failed", "late_result")


@pytest.mark.parametrize("found", [Found.DONE, Found.NOT_DONE])
def test_a_late_result_behind_the_probe_is_kept(bench, found):
    execution, step = overdue(bench)
    answer(bench, ask(bench, execution), found)
    state = bench.states(execution)[0]
    assert not bench.finish(step, FAILED).accepted
    assert bench.states(execution)[0] == state
    assert event(bench, execution, "result.late")["data"]["state"] == "failed"


def test_a_late_result_behind_a_person_is_kept(bench):
    execution, step = lost(bench)
    resolve(bench, execution, Resolution.SUCCEEDED)
    assert not bench.finish(step, FAILED).accepted
    assert "result.late" in bench.events(execution)


@pytest.mark.parametrize("resolution", list(Resolution))
def test_a_person_wins_and_the_probe_is_over(bench, resolution):
    execution, _ = overdue(bench)
    asked = ask(bench, execution)
    resolve(bench, execution, resolution)
    states = bench.states(execution)
    for found in Found:
        assert not answer(bench, asked, found).accepted
    assert bench.states(execution) == states
    bench.ask("update steps set probe_at = clock_timestamp() where probe_at is not null")
    assert take(bench) == []


def test_a_probe_behind_a_person_is_refused(bench):
    execution, _ = lost(bench)
    asked = ask(bench, execution)
    with bench.session() as session:
        session.exec_driver_sql(
            "select resolve_step(%s::uuid, %s, 'failed', 'ann', 'gone', 0)",
            (str(execution), asked.id),
        )
        late = InThread(answer, bench, asked, Found.DONE)
        bench.wait_for_lock()
    assert not late.result().accepted
    assert bench.states(execution) == ["failed", "skipped"]


def test_a_person_behind_a_probe_is_refused(bench):
    execution, _ = lost(bench)
    answer(bench, ask(bench, execution), Found.DONE)
    with pytest.raises(Conflict, match="is succeeded"):
        resolve(bench, execution, Resolution.FAILED)


@pytest.mark.parametrize("found", list(Found))
def test_a_probe_settles_nothing_else(bench, found):
    running = bench.open(make_change("a", repeat=Repeat.PROBE))
    held = bench.take(running, "a")
    bench.ledger.arm_step(held)
    never, never_step = lost(bench, repeat=Repeat.NEVER)
    for step in (held, never_step):
        assert not answer(bench, asked_now(bench, step), found).accepted
    assert (bench.states(running)[0], bench.states(never)[0]) == ("running", "interrupted")


@pytest.mark.parametrize("found", list(Found))
def test_a_probe_with_another_token_settles_nothing(bench, found):
    execution, step = overdue(bench)
    forged = asked_now(bench, step, token=uuid4())
    assert not answer(bench, forged, found).accepted
    assert bench.states(execution)[0] == "interrupted"


# A person asks.


@pytest.mark.transition("interrupted -> interrupted, asked", "take_probes", happens=True)
def test_a_person_has_it_asked_again(bench):
    execution, _ = overdue(bench)
    bench.ask("update steps set probe_at = null, probes_left = 0")
    with Listener(bench.engine, "opsfarm_dispatch") as notes:
        ask_again(bench, execution)
        assert notes.wait(5)
    told = event(bench, execution, "probe.asked")
    assert (told["actor"], told["data"]["why"]) == ("ann", "the host is back")
    [link] = take(bench)
    assert link.step_id == bench.step_id(execution, "a")
    answer(bench, bench.claim(execution, "a"), Found.DONE)
    assert bench.states(execution)[0] == "succeeded"


def test_what_cannot_be_asked_is_refused_and_changes_nothing(bench):
    never, _ = lost(bench, repeat=Repeat.NEVER)
    with pytest.raises(Conflict, match="its operation has no probe"):
        ask_again(bench, never)
    execution, _ = lost(bench, mutex="asset:2")
    take(bench)
    before = bench.rows(execution), bench.events(execution)
    with pytest.raises(Conflict, match="it is asked now"):
        ask_again(bench, execution)
    assert (bench.rows(execution), bench.events(execution)) == before
    answer(bench, bench.claim(execution, "a"), Found.DONE)
    with pytest.raises(Conflict, match="it is succeeded"):
        ask_again(bench, execution)
    with pytest.raises(NotFound):
        bench.decisions.ask_probe(execution, 10**9, actor="ann", reason="")


# What people see.


def shown(bench, execution):
    row = bench.records.read_execution("default", execution)["steps"][0]["results"][0]
    return row["evidence"]["probe"]


def test_what_a_probe_found_is_shown(bench):
    execution, _ = lost(bench)
    assert shown(bench, execution)["found"] == "not asked"
    assert shown(bench, execution)["due"]
    asked = ask(bench, execution)
    assert shown(bench, execution)["asked_at"]
    answer(bench, asked, Found.NOT_DONE)
    probe = shown(bench, execution)
    assert (probe["found"], probe["evidence"], probe["asked_at"]) == ("not done", SEEN, None)
    assert probe["next_at"] == probe["counts_at"]


def test_what_an_earlier_start_s_probe_found_is_not_shown(bench):
    execution, _ = overdue(bench)
    answer(bench, ask(bench, execution), Found.NOT_DONE)
    step = bench.take(execution, "a")
    bench.ledger.arm_step(step)
    bench.reap(step)
    assert shown(bench, execution)["found"] == "not asked"


def test_a_step_without_a_probe_shows_none(bench):
    execution, _ = lost(bench, repeat=Repeat.NEVER)
    assert shown(bench, execution) is None


# Secrets.


def test_the_login_is_open_to_whoever_looks_and_to_nobody_later(bench):
    execution, step = lost(bench)
    assert bench.ask("select is_held(s) as held from steps s where id = :id", id=step.id) == [
        {"held": True}
    ]
    resolve(bench, execution, Resolution.FAILED)
    assert bench.ask("select is_held(s) as held from steps s where id = :id", id=step.id) == [
        {"held": False}
    ]


def resolve(bench, execution, resolution):
    return bench.decisions.resolve_step(
        execution,
        bench.step_id(execution, "a"),
        resolution,
        actor="ann",
        reason="looked",
        send=64,
    )


def ask_again(bench, execution):
    bench.decisions.ask_probe(
        execution, bench.step_id(execution, "a"), actor="ann", reason="the host is back"
    )


def asked_now(bench, step, **members) -> Step:
    """As if this step had been given out to be looked after now."""
    [moment] = bench.ask("select (clock_timestamp() + interval '1 hour')::text as now")
    return replace(step, probe=Probe(moment["now"], None), **members)
