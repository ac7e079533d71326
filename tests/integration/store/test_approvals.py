"""Approvals: nothing begins before somebody said yes to exactly what was shown."""

from dataclasses import replace

import pytest

from app.errors import Conflict, Forbidden, NotFound
from app.plan import Ask, Need
from app.principal import Role
from app.step import State
from app.store.decisions import Voice
from tests.lab.ledger_bench import FAILED, all_at_once, done, make_change, make_plan, make_step
from tests.lab.shapes import Batches, LateBlock, lay_out, on_hosts

SHOWN = {"steps": [{"line": "systemctl restart nginx", "targets": ["web-1"]}]}
OTHER = Need("other", {"approver": 1})
SELF = Need("self")
ASK = Ask("digest", SHOWN, expires_s=3600, need=OTHER)


@pytest.fixture
def ann(bench):
    """Somebody else than who submits."""
    return bench.add_principal("ann", Role.APPROVER)


def asked(bench, *entries, last=(), **members):
    """An execution that waits: (its id, the approval's)."""
    ask = Ask("digest", SHOWN, **{"expires_s": 3600, "need": OTHER, **members})
    opened = bench.submit(make_plan(*entries, last=last), ask=ask)
    assert opened.state == "waiting"
    assert opened.sending.run == ()
    return opened.execution_id, number_of(bench, opened.execution_id)


def number_of(bench, execution):
    [approval] = bench.approvals.of_execution("default", execution)
    return approval["id"]


def approve(bench, approval, actor, digest="digest", **members):
    voice = Voice(actor, **{"groups": ("approver",), "origin": "192.0.2.7", **members})
    return bench.decisions.approve(approval, digest, voice, send=64)


def reject(bench, approval, actor):
    voice = Voice(actor, reason="not tonight", origin="192.0.2.7")
    return bench.decisions.reject(approval, voice, send=64)


def unchanged(bench, execution, refused, match, error=Conflict):
    """What is refused changes nothing."""
    before = bench.rows(execution), bench.events(execution), bench.execution(execution)
    with pytest.raises(error, match=match):
        refused()
    assert (bench.rows(execution), bench.events(execution), bench.execution(execution)) == before


# Asked before anything starts.


@pytest.mark.transition("pending -> waiting", "open_execution", happens=True)
@pytest.mark.transition("waiting -> pending -> queued", "approve", happens=True)
def test_nothing_begins_before_the_yes(bench, ann):
    execution, approval = asked(bench, make_step("a", rows=2), make_change("b"))
    assert bench.states(execution) == ["waiting", "waiting", "pending"]
    assert bench.claim(execution, "a") is None
    assert bench.outbox.take_unsent("automation", 10, None) == []
    decided = approve(bench, approval, ann)
    assert (decided.decision, decided.state) == ("approved", "running")
    assert bench.states(execution) == ["queued", "queued", "pending"]
    assert [link.tool for link in decided.sending.run] == ["a", "a"]
    for n in (0, 1):
        bench.finish(bench.take(execution, "a", n))
    bench.run(execution, "b")
    assert bench.state(execution) == "succeeded"
    assert bench.execution(execution)["waiting"] == 0


def test_a_chain_goes_out_with_the_yes(bench, ann):
    _, approval = asked(bench, make_step("a"), make_step("b"))
    sending = approve(bench, approval, ann).sending
    assert sending.chain
    assert [link.tool for link in sending.run] == ["a", "b"]


def test_steps_held_back_and_dynamic_ones_begin_as_they_would(bench, ann):
    late = make_step("late", dynamic=True, template={})
    execution, approval = asked(bench, (late, make_step("x", rows=3, max_parallel=1)))
    assert set(bench.states(execution)) == {"waiting"}
    approve(bench, approval, ann)
    assert sorted(bench.states(execution)) == ["due", "pending", "pending", "queued"]
    assert bench.execution(execution)["stage_open"] == 4


def test_a_first_step_with_nothing_to_do_does_not_let_the_others_begin(bench, ann):
    idle = make_step("idle", rows=0, dynamic=True, template={}, skipped="nobody")
    execution, approval = asked(bench, idle, make_change("b"))
    assert bench.states(execution) == ["skipped", "waiting"]
    approve(bench, approval, ann)
    assert bench.states(execution) == ["skipped", "queued"]


def test_what_is_shown_is_what_was_asked(bench):
    execution, approval = asked(bench, make_step("a"), need=Need("other", {"ops": 2}))
    shown = bench.approvals.read("default", approval)
    assert shown["shown"] == SHOWN
    assert shown["digest"] == "digest"
    assert shown["needed"] == {"who": "other", "groups": {"ops": 2}}
    assert (shown["execution_id"], shown["principal"]) == (str(execution), "ops")
    assert (shown["decision"], shown["given"]) == (None, [])
    assert bench.records.read_execution("default", execution)["approvals"] == [shown]


def test_each_tenant_sees_its_own(bench, ann):
    execution, approval = asked(bench, make_step("a"))
    assert bench.approvals.list("other", decided=True) == []
    with pytest.raises(NotFound):
        bench.approvals.read("other", approval)
    bench.ask("update approvals set tenant = 'other'")
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "no approval", NotFound)
    unchanged(bench, execution, lambda: reject(bench, approval, ann), "no approval", NotFound)


def test_the_events_tell_who_said_what(bench, ann):
    execution, approval = asked(bench, make_step("a"))
    approve(bench, approval, ann, reason="agreed in the meeting")
    told = bench.ask(
        "select kind, actor, data from events where kind like 'approval.%' order by id"
    )
    assert [(each["kind"], each["actor"]) for each in told] == [
        ("approval.asked", "ops"),
        ("approval.approved", "ann"),
    ]
    assert told[0]["data"]["from"] == "test"
    assert told[1]["data"] == {
        "approval_id": approval,
        "reason": "agreed in the meeting",
        "from": "192.0.2.7",
    }
    shown = bench.approvals.of_execution("default", execution)[0]
    assert (shown["decision"], shown["decided_by"]) == ("approved", "ann")
    assert [(each["name"], each["reason"]) for each in shown["given"]] == [
        ("ann", "agreed in the meeting")
    ]
    assert bench.approvals.list("default") == []
    assert [each["id"] for each in bench.approvals.list("default", decided=True)] == [approval]


# Whose yes counts.


def test_a_changed_digest_is_refused(bench, ann):
    execution, approval = asked(bench, make_step("a"))
    unchanged(
        bench, execution, lambda: approve(bench, approval, ann, "another"), "what was shown is not"
    )


def test_one_s_own_plan_is_refused_where_somebody_else_must(bench):
    execution, approval = asked(bench, make_step("a"))
    unchanged(
        bench, execution, lambda: approve(bench, approval, bench.principal), "own plan", Forbidden
    )


def test_one_s_own_plan_is_approved_with_a_reason_where_that_is_enough(bench):
    execution, approval = asked(bench, make_step("a"), need=SELF)
    unchanged(
        bench,
        execution,
        lambda: approve(bench, approval, bench.principal, reason=" "),
        "needs a reason",
    )
    approve(bench, approval, bench.principal, reason="planned work")
    assert bench.states(execution) == ["queued"]


def test_two_must_say_yes(bench, ann):
    execution, approval = asked(bench, make_step("a"), need=Need("other", {"approver": 2}))
    first = approve(bench, approval, ann)
    assert (first.decision, first.state, first.sending.run) == (None, "waiting", ())
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "approved it already")
    second = approve(bench, approval, bench.add_principal("bob"))
    assert second.decision == "approved"
    assert bench.states(execution) == ["queued"]
    assert "approval.given" in bench.events(execution)


def test_only_a_group_s_members_may(bench, ann):
    execution, approval = asked(bench, make_step("a"), need=Need("other", {"dba": 1}))
    for groups in ((), ("web",)):
        unchanged(
            bench,
            execution,
            lambda groups=groups: approve(bench, approval, ann, groups=groups),
            "not among those that it needs",
            Forbidden,
        )
    assert approve(bench, approval, ann, groups=("web", "dba")).decision == "approved"


def test_each_group_that_is_needed_must_say_yes(bench, ann):
    execution, approval = asked(bench, make_step("a"), need=Need("other", {"dba": 1, "net": 1}))
    assert approve(bench, approval, ann, groups=("dba",)).decision is None
    unchanged(
        bench,
        execution,
        lambda: approve(bench, approval, bench.add_principal("bob"), groups=("dba",)),
        "not among those",
        Forbidden,
    )
    eve = bench.add_principal("eve")
    assert approve(bench, approval, eve, groups=("net", "web")).decision == "approved"


def test_one_yes_may_stand_for_several_groups(bench, ann):
    _, approval = asked(bench, make_step("a"), need=Need("other", {"dba": 1, "approver": 1}))
    assert approve(bench, approval, ann, groups=("approver", "dba")).decision == "approved"


def test_a_dynamic_step_begins_at_once_where_its_reason_came_with_the_plan(bench):
    late = make_step("late", dynamic=True, template={})
    plan = replace(make_plan(make_step("a"), late, make_step("b")), reason="planned work")
    execution = bench.submit(plan).execution_id
    bench.run(execution, "a")
    rendered = on_hosts(make_change("late", position=2), ("h1", "h2"))
    sending = bench.expand(bench.step_id(execution, "late"), rendered, ask=replace(ASK, need=SELF))
    assert [link.tool for link in sending.run] == ["late", "late"]
    assert bench.states(execution) == ["succeeded", "queued", "queued", "pending"]
    [approval] = bench.approvals.of_execution("default", execution)
    assert (approval["decision"], approval["decided_by"], approval["reason"]) == (
        "approved",
        "ops",
        "planned work",
    )


def test_a_reason_is_not_enough_where_somebody_else_must(bench):
    plan = replace(make_plan(make_change("a")), reason="planned work")
    opened = bench.submit(plan, ask=ASK)
    assert (opened.state, bench.states(opened.execution_id)) == ("waiting", ["waiting"])


def test_it_is_decided_once(bench, ann):
    execution, approval = asked(bench, make_step("a"))
    approve(bench, approval, ann)
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "decided already: approved")
    unchanged(bench, execution, lambda: reject(bench, approval, ann), "decided already: approved")


def test_a_yes_and_a_no_at_once_have_one_winner(bench, ann):
    execution, approval = asked(bench, make_step("a"))

    def try_it(say):
        try:
            return say(bench, approval, ann).state
        except Conflict:
            return None

    answers = all_at_once([lambda s=s: try_it(s) for s in (approve, reject, approve, reject)])
    assert sum(answer is not None for answer in answers) == 1
    assert bench.execution(execution)["waiting"] == 0


# No.


@pytest.mark.transition("waiting -> cancelled", "end_approval", happens=True)
def test_a_no_before_anything_began_cancels_all_of_it(bench, ann):
    execution, approval = asked(bench, make_step("a"), make_step("b"), last=(make_step("z"),))
    decided = reject(bench, approval, ann)
    assert (decided.decision, decided.state) == ("rejected", "cancelled")
    assert bench.states(execution) == ["cancelled"] * 3, "there is nothing to clean up"
    row = bench.rows(execution)[0]
    assert (row["reason"], row["result"]["summary"]) == (
        "not_approved",
        "not approved: not tonight",
    )
    assert bench.execution(execution)["cancelled_by"] == "ann"
    assert bench.execution(execution)["finished_at"]


@pytest.mark.transition("waiting -> cancelled", "end_approval", happens=True)
def test_nobody_s_yes_in_time_is_a_no(bench, ann):
    execution, approval = asked(bench, make_step("a"), expires_s=0.0)
    other, _ = asked(bench, make_step("a"))
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "it expired")
    assert bench.outbox.expire_approvals() == 1
    assert bench.state(execution) == "cancelled"
    assert bench.rows(execution)[0]["result"]["summary"] == "not approved: nobody answered in time"
    assert bench.state(other) == "waiting"
    assert bench.outbox.expire_approvals() == 0
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "decided already: expired")


def test_what_was_not_approved_is_not_resumed(bench, ann):
    execution, approval = asked(bench, make_step("a"))
    reject(bench, approval, ann)
    with pytest.raises(Conflict, match="it was not approved"):
        bench.decisions.resume_execution(
            execution, only_failed=False, actor="ann", reason="", send=1
        )
    assert bench.states(execution) == ["cancelled"]


def test_what_was_approved_is_resumed_without_another_yes(bench, ann):
    execution, approval = asked(bench, make_step("a"))
    approve(bench, approval, ann)
    bench.run(execution, "a", FAILED)
    bench.decisions.resume_execution(execution, only_failed=False, actor="ann", reason="", send=1)
    assert bench.states(execution) == ["queued"]


def test_a_cancel_withdraws_the_question(bench, ann):
    execution, approval = asked(bench, make_step("a"), last=(make_step("z"),))
    bench.cancel(execution)
    assert bench.states(execution) == ["cancelled", "cancelled"], "nothing had begun"
    assert bench.state(execution) == "cancelled"
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "already: withdrawn")


# Asked when a dynamic step is due.


def due(bench, *behind, last=(), **members):
    """A dynamic step that asks for two hosts: (its execution, the approval)."""
    late = make_step("late", dynamic=True, template={}, **members)
    execution = bench.open(make_step("a"), late, *behind, last=last)
    bench.run(execution, "a")
    rendered = on_hosts(make_change("late", position=2, **members), ("h1", "h2"))
    sending = bench.expand(bench.step_id(execution, "late"), rendered, ask=ASK)
    assert sending.run == ()
    assert bench.state(execution) == "waiting"
    return execution, number_of(bench, execution)


def test_a_dynamic_step_waits_for_its_own_yes(bench, ann):
    execution, approval = due(bench, make_step("b"))
    assert bench.states(execution) == ["succeeded", "waiting", "waiting", "pending"]
    assert bench.approvals.read("default", approval)["step_id"]
    decided = approve(bench, approval, ann)
    assert bench.states(execution) == ["succeeded", "queued", "queued", "pending"]
    assert [link.tool for link in decided.sending.run] == ["late", "late"]
    for n in (0, 1):
        bench.finish(bench.take(execution, "late", n))
    bench.run(execution, "b")
    assert bench.state(execution) == "succeeded"


@pytest.mark.parametrize(("on_failure", "behind"), [("stop", "skipped"), ("continue", "queued")])
def test_a_no_to_a_dynamic_step_is_as_its_failure(bench, ann, on_failure, behind):
    execution, approval = due(bench, make_step("b"), last=(make_step("z"),), on_failure=on_failure)
    sending = reject(bench, approval, ann).sending
    expected = ["succeeded", "cancelled", "cancelled", behind]
    assert bench.states(execution)[:4] == expected
    assert bench.rows(execution, "late")[0]["reason"] == "not_approved"
    if on_failure == "continue":
        bench.run(execution, "b")
    else:
        assert [link.tool for link in sending.run] == ["z"]
    bench.run(execution, "z")
    assert bench.state(execution) == "cancelled"


def test_a_dynamic_step_that_nobody_approves_in_time(bench):
    execution, approval = due(bench, make_step("b"))
    bench.ask("update approvals set expires_at = now()")
    assert bench.outbox.expire_approvals() == 1
    assert bench.states(execution) == ["succeeded", "cancelled", "cancelled", "skipped"]
    assert bench.approvals.read("default", approval)["decision"] == "expired"


def test_a_cancel_leaves_finally_to_run(bench, ann):
    execution, approval = due(bench, make_step("b"), last=(make_step("z"),))
    bench.cancel(execution)
    assert bench.states(execution) == ["succeeded"] + ["cancelled"] * 3 + ["queued"]
    unchanged(bench, execution, lambda: approve(bench, approval, ann), "already: withdrawn")


def test_others_of_the_stage_go_on_meanwhile(bench, ann):
    late = make_step("late", dynamic=True, template={})
    execution = bench.open((late, make_step("x")), make_step("b"))
    rendered = on_hosts(make_change("late", position=1), ("h1",))
    bench.expand(bench.step_id(execution, "late"), rendered, ask=ASK)
    assert bench.state(execution) == "running"
    bench.run(execution, "x")
    assert bench.state(execution) == "waiting"
    approve(bench, number_of(bench, execution), ann)
    bench.run(execution, "late")
    assert bench.states(execution)[-1] == "queued"


def test_a_late_block_waits_whole(bench, ann):
    block = Batches((make_step("drain"), make_change("restart")), (("h1",), ("h2",)))
    execution = bench.open(LateBlock(block), make_step("b"))
    bench.expand(bench.rows(execution)[0]["id"], *lay_out([block]), ask=ASK)
    assert bench.states(execution) == ["waiting", "pending", "pending", "pending", "pending"]
    approve(bench, number_of(bench, execution), ann)
    assert bench.states(execution)[0] == "queued"


def test_a_no_to_a_late_block_gives_up_all_of_it(bench, ann):
    block = Batches(
        (make_step("drain"), make_change("restart")), (("h1",), ("h2",)), on_failure="continue"
    )
    execution = bench.open(LateBlock(block), make_step("b"))
    bench.expand(bench.rows(execution)[0]["id"], *lay_out([block]), ask=ASK)
    reject(bench, number_of(bench, execution), ann)
    assert bench.states(execution) == ["cancelled", "skipped", "skipped", "skipped", "queued"]


def test_a_block_given_up_meanwhile_leaves_nothing_to_begin(bench, ann):
    rules = {"block": 1, "max_failures": 0, "block_on_failure": "stop"}
    late = make_step("late", dynamic=True)
    execution = bench.open(Batches(((late, make_step("x")),), (("h1", "h2"),)))
    [row] = bench.outbox.due_steps()
    rendered = on_hosts(make_change("late", position=1, **rules), ("h1", "h2"))
    bench.expand(row.step_id, rendered, ask=ASK)
    approval = number_of(bench, execution)
    bench.finish(bench.take(execution, "x", 0), FAILED)
    assert set(bench.states(execution)) == {"failed", "skipped"}
    approve(bench, approval, ann)
    assert set(bench.states(execution)) == {"failed", "skipped"}
    assert bench.state(execution) == "failed"


def test_old_executions_take_their_approvals_with_them(bench, ann):
    _, approval = asked(bench, make_step("a"))
    reject(bench, approval, ann)
    bench.ask("update executions set finished_at = now() - interval '91 d'")
    bench.outbox.remove_old(90)
    assert bench.ask("select 1 from approvals") == []


def test_a_failed_row_beside_one_that_waits_does_not_end_the_stage(bench, ann):
    late = make_step("late", dynamic=True, template={})
    execution = bench.open((late, make_step("x")), make_step("b"))
    bench.expand(
        bench.step_id(execution, "late"),
        on_hosts(make_change("late", position=1), ("h1",)),
        ask=ASK,
    )
    bench.run(execution, "x", FAILED)
    assert bench.states(execution) == ["waiting", "failed", "pending"]
    approve(bench, number_of(bench, execution), ann)
    bench.run(execution, "late", done(State.SUCCEEDED))
    assert bench.states(execution) == ["succeeded", "failed", "skipped"]
