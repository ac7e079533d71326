"""Decisions: what people say of rows, each when it may be said and when it may not."""

from uuid import uuid4

import pytest
from sqlalchemy import text

from app.errors import Conflict, NotFound
from app.step import State
from app.store.decisions import Resolution
from app.store.listener import Listener
from tests.lab.ledger_bench import FAILED, InThread, all_at_once, done, make_change, make_step
from tests.lab.shapes import Batches
from tool_catalog.model import Reason

UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)


def interrupted(bench, *behind, **members):
    """An execution whose first step nobody knows the end of: (its id, the step as it was held)."""
    execution = bench.open(make_change("a", mutex="asset:1", **members), *behind)
    step = bench.take(execution, "a")
    assert bench.ledger.arm_step(step)
    assert bench.ledger.interrupt_step(step, UNKNOWN)
    assert bench.state(execution) == "attention"
    return execution, step


def resolve(bench, execution, resolution, key="a", **members):
    given = {"actor": "ann", "reason": "looked at the host", "send": 64, **members}
    return bench.decisions.resolve_step(
        execution, bench.step_id(execution, key), Resolution(resolution), **given
    )


def event(bench, execution, kind):
    [found] = bench.ask(
        "select * from events where execution_id = :id and kind = :kind", id=execution, kind=kind
    )
    return found


@pytest.mark.transition(
    "interrupted -> succeeded, failed, skipped, queued", "resolve_step", happens=True
)
@pytest.mark.parametrize(
    ("resolution", "state", "behind", "ended"),
    [
        ("succeeded", "succeeded", "queued", "running"),
        ("failed", "failed", "skipped", "failed"),
        ("skipped", "skipped", "queued", "running"),
        ("retry", "queued", "pending", "running"),
    ],
)
def test_a_person_says_how_an_interrupted_step_ended(bench, resolution, state, behind, ended):
    execution, _ = interrupted(bench, make_step("b"))
    decided = resolve(bench, execution, resolution)
    assert bench.states(execution) == [state, behind]
    assert decided.state == bench.state(execution) == ended
    following = {"queued": ["b"], "pending": ["a", "b"], "skipped": []}[behind]
    assert [link.tool for link in decided.sending.run] == following
    assert bench.execution(execution)["interrupted"] == 0


@pytest.mark.parametrize("resolution", ["succeeded", "failed", "skipped"])
def test_the_event_tells_who_why_and_on_what_evidence(bench, resolution):
    execution, step = interrupted(bench)
    bench.ask(
        "insert into output_chunks (tenant, execution_id, step_id, attempt, lines)"
        " values ('default', :execution, :step, 1, '[[\"stdout\", \"half way\"]]')",
        execution=execution,
        step=step.id,
    )
    resolve(bench, execution, resolution)
    told = event(bench, execution, f"step.{resolution}")
    assert told["actor"] == "ann"
    resolved = told["data"]["resolved"]
    assert (resolved["as"], resolved["why"]) == (resolution, "looked at the host")
    assert resolved["evidence"]["armed_at"]
    assert resolved["evidence"]["worker"] == "automation@test"
    assert resolved["evidence"]["reason"] == "timeout"
    assert told["data"]["lines"] == [["stdout", "half way"]]
    row = bench.rows(execution)[0]
    assert (row["reason"], row["result"]["summary"]) == (
        "resolved",
        f"ann says {resolution}: looked at the host",
    )


@pytest.mark.parametrize("resolution", list(Resolution))
def test_resolving_frees_the_mutex_and_tells_the_dispatcher(bench, resolution):
    execution, _ = interrupted(bench)
    other = bench.open(make_change("x", mutex="asset:1"))
    assert bench.claim(other, "x") is None
    assert bench.outbox.take_unsent("automation", 5, None) == []
    with Listener(bench.autocommit, "opsfarm_dispatch") as notes:
        resolve(bench, execution, resolution)
        assert "mutex" in notes.wait(5)
    assert bench.claim(other, "x") is not None


@pytest.mark.parametrize("resolution", list(Resolution))
@pytest.mark.parametrize("state", ["pending", "queued", "running", "succeeded"])
def test_nothing_but_an_interrupted_step_is_resolved(bench, resolution, state):
    execution = bench.open(make_change("x"), make_change("a"))
    if state != "pending":
        bench.run(execution, "x")
    if state in {"running", "succeeded"}:
        step = bench.take(execution, "a")
    if state == "succeeded":
        bench.finish(step)
    before = bench.rows(execution), bench.events(execution)
    with pytest.raises(Conflict, match=f"is {state}; only an interrupted step"):
        resolve(bench, execution, resolution)
    assert (bench.rows(execution), bench.events(execution)) == before


def test_a_step_of_another_execution_is_not_found(bench):
    execution, step = interrupted(bench)
    other = bench.open(make_step("a"))
    for wrong, number in ((other, step.id), (uuid4(), step.id), (execution, 10**9)):
        with pytest.raises(NotFound):
            bench.decisions.resolve_step(
                wrong, number, Resolution.FAILED, actor="ann", reason="", send=1
            )
    assert bench.state(execution) == "attention"


def test_two_people_who_resolve_at_once_have_one_winner(bench):
    execution, _ = interrupted(bench)

    def try_it(resolution):
        try:
            return resolve(bench, execution, resolution).state
        except Conflict:
            return None

    answers = all_at_once([lambda r=r: try_it(r) for r in ("succeeded", "failed", "retry")])
    assert sum(answer is not None for answer in answers) == 1
    assert bench.execution(execution)["interrupted"] == 0


def test_a_late_result_and_a_person_have_one_winner(bench):
    execution, step = interrupted(bench)
    with bench.session() as session:
        answer = session.execute(
            text("select resolve_step(:e, :s, 'failed', 'ann', 'gone', 0)"),
            {"e": execution, "s": step.id},
        ).scalar()
        assert answer["accepted"]
        late = InThread(bench.finish, step)
        bench.wait_for_lock()
    assert not late.result().accepted
    assert bench.states(execution) == ["failed"]


def test_what_comes_too_late_is_kept_and_shown(bench):
    execution, step = interrupted(bench)
    resolve(bench, execution, "retry")
    assert not bench.finish(step, done(exit_code=0)).accepted
    told = event(bench, execution, "result.late")
    assert (told["step_id"], told["data"]["state"], told["data"]["summary"]) == (
        step.id,
        "succeeded",
        "done",
    )
    again = bench.take(execution, "a")
    bench.ledger.arm_step(again)
    bench.ledger.interrupt_step(again, UNKNOWN)
    shown = bench.records.read_execution("default", execution)["steps"][0]["results"][0]
    assert [late["state"] for late in shown["evidence"]["late"]] == ["succeeded"]
    assert shown["evidence"]["armed_at"]


def test_a_worker_that_says_it_twice_was_not_late(bench):
    execution = bench.open(make_step("a"))
    step = bench.take(execution, "a")
    bench.finish(step)
    assert not bench.finish(step).accepted
    assert "result.late" not in bench.events(execution)


def test_only_an_interrupted_row_shows_evidence(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    bench.run(execution, "a")
    for step in bench.records.read_execution("default", execution)["steps"]:
        assert "evidence" not in step["results"][0]


def test_a_retry_begins_afresh(bench):
    execution, _ = interrupted(bench)
    resolve(bench, execution, "retry")
    row = bench.rows(execution)[0]
    assert (row["state"], row["armed"], row["token"], row["attempt"]) == ("queued", None, None, 1)
    bench.finish(bench.take(execution, "a"))
    assert bench.state(execution) == "succeeded"


def test_what_was_cancelled_does_not_run_again(bench):
    execution, _ = interrupted(bench, make_step("b"))
    bench.cancel(execution)
    with pytest.raises(Conflict, match="its execution was cancelled"):
        resolve(bench, execution, "retry")
    assert bench.states(execution) == ["interrupted", "cancelled"]
    resolve(bench, execution, "skipped")
    assert bench.states(execution) == ["cancelled", "cancelled"]
    assert bench.state(execution) == "cancelled"


def test_a_failure_by_word_counts_in_its_block(bench):
    block = Batches((make_change("a"),), (("h1",), ("h2",)))
    execution = bench.open(block, make_step("b"))
    step = bench.take(execution, "a")
    bench.ledger.arm_step(step)
    bench.ledger.interrupt_step(step, UNKNOWN)
    resolve(bench, execution, "failed")
    assert bench.states(execution) == ["failed", "skipped", "skipped"]


# Resume.


def resume(bench, execution, *, only_failed=False):
    return bench.decisions.resume_execution(
        execution, only_failed=only_failed, actor="ann", reason="fixed it", send=64
    )


@pytest.mark.transition(
    "failed, cancelled, skipped -> pending, queued", "resume_execution", happens=True
)
def test_a_failed_execution_goes_on_where_it_failed(bench):
    execution = bench.open(make_step("a"), make_step("b"), make_step("c"), last=(make_step("z"),))
    bench.run(execution, "a")
    bench.run(execution, "b", FAILED)
    bench.run(execution, "z")
    assert bench.states(execution) == ["succeeded", "failed", "skipped", "succeeded"]
    decided = resume(bench, execution)
    assert bench.states(execution) == ["succeeded", "queued", "pending", "succeeded"]
    assert decided.state == bench.state(execution) == "running"
    row = bench.execution(execution)
    assert (row["finished_at"], row["failed"], row["stopping"], row["run"]) == (None, 0, False, 2)
    assert [r["run"] for r in bench.rows(execution)] == [1, 2, 2, 1]
    assert [link.tool for link in decided.sending.run] == ["b", "c"]
    told = event(bench, execution, "execution.resumed")
    assert told["actor"] == "ann"
    wanted = {"reason": "fixed it", "from": "", "only_failed": False, "rows": 2, "run": 2}
    assert told["data"] == wanted
    bench.run(execution, "b")
    bench.run(execution, "c")
    assert bench.state(execution) == "succeeded"
    assert bench.records.read_execution("default", execution)["run"] == 2


def test_a_resumed_row_has_nothing_of_its_first_run(bench):
    execution = bench.open(make_step("a", max_retries=1))
    step = bench.take(execution, "a")
    assert bench.ledger.retry_step(step, FAILED)
    bench.run(execution, "a", FAILED)
    resume(bench, execution)
    row = bench.rows(execution)[0]
    blank = ("token", "armed", "worker", "reason", "result", "started_at", "finished_at")
    assert [row[name] for name in blank] == [None] * len(blank)
    assert bench.take(execution, "a").retries_left == 1


@pytest.mark.transition(
    "failed, cancelled, skipped -> pending, queued", "resume_execution", happens=True
)
def test_a_cancelled_execution_goes_on(bench):
    execution = bench.open(make_step("a"), make_step("b"), last=(make_step("z"),))
    bench.run(execution, "a")
    bench.cancel(execution)
    bench.run(execution, "z")
    assert bench.state(execution) == "cancelled"
    resume(bench, execution)
    assert bench.states(execution) == ["succeeded", "queued", "succeeded"]
    row = bench.execution(execution)
    assert (row["cancel_below"], row["cancel_requested_at"], row["cancelled_by"]) == (0, None, None)
    bench.run(execution, "b")
    assert bench.state(execution) == "succeeded"


def test_a_fan_out_goes_on_with_who_failed(bench):
    execution = bench.open(make_step("a", rows=3), make_step("b", rows=3))
    for n, result in enumerate((None, FAILED, None)):
        bench.finish(bench.take(execution, "a", n), result)
    resume(bench, execution)
    assert bench.states(execution) == ["succeeded", "queued", "succeeded"] + ["pending"] * 3
    bench.finish(bench.take(execution, "a", 1))
    assert bench.states(execution)[3:] == ["queued"] * 3


def test_only_the_failed_targets_go_on(bench):
    execution = bench.open(make_step("a", rows=3), make_step("b", rows=3), make_step("c"))
    for n, result in enumerate((None, FAILED, None)):
        bench.finish(bench.take(execution, "a", n), result)
    resume(bench, execution, only_failed=True)
    states = bench.states(execution)
    assert states[3:] == ["skipped", "pending", "skipped", "pending"]
    bench.finish(bench.take(execution, "a", 1))
    bench.finish(bench.take(execution, "b", 1))
    bench.run(execution, "c")
    assert bench.state(execution) == "succeeded"


def test_what_a_person_skipped_stays_skipped(bench):
    execution, _ = interrupted(bench, make_step("b"), on_failure="continue")
    resolve(bench, execution, "skipped")
    bench.run(execution, "b", FAILED)
    resume(bench, execution)
    assert bench.states(execution) == ["skipped", "queued"]


def test_a_block_counts_its_failures_anew(bench):
    block = Batches((make_step("x"), make_step("y")), (("h1", "h2"), ("h3",)), max_failures=1)
    execution = bench.open(block)
    for n in (0, 1):
        bench.finish(bench.take(execution, "x", n), FAILED)
    assert bench.state(execution) == "failed"
    resume(bench, execution)
    assert bench.ask("select 1 from dropouts") == bench.ask("select 1 from failure_counts") == []
    bench.finish(bench.take(execution, "x", 0), FAILED)
    bench.finish(bench.take(execution, "x", 1))
    assert bench.rows(execution, "y")[0]["state"] == "skipped", "h1 was left out"
    assert bench.rows(execution, "y")[1]["state"] == "queued"


def test_a_step_held_back_by_a_condition_is_asked_again(bench):
    late = make_step("late", dynamic=True, template={"when": "x"})
    execution = bench.open(make_step("a", on_failure="continue"), late)
    bench.run(execution, "a", FAILED)
    bench.end_due(bench.step_id(execution, "late"))
    resume(bench, execution)
    bench.run(execution, "a")
    assert bench.states(execution) == ["succeeded", "due"]
    assert bench.outbox.due_steps()[0].template == {"when": "x"}


def test_a_step_of_finally_alone_goes_on(bench):
    execution = bench.open(make_step("a"), last=(make_step("z"),))
    bench.run(execution, "a")
    bench.run(execution, "z", FAILED)
    resume(bench, execution)
    assert bench.states(execution) == ["succeeded", "queued"]


@pytest.mark.parametrize("only_failed", [True, False])
def test_a_success_is_not_resumed(bench, only_failed):
    execution = bench.open(make_step("a"))
    bench.run(execution, "a")
    with pytest.raises(Conflict, match="it is succeeded"):
        resume(bench, execution, only_failed=only_failed)
    assert bench.events(execution)[-1] == "execution.finished"


@pytest.mark.parametrize("state", ["running", "attention"])
def test_what_is_not_final_is_not_resumed(bench, state):
    if state == "attention":
        execution, _ = interrupted(bench)
    else:
        execution = bench.open(make_step("a", rows=2))
        bench.finish(bench.take(execution, "a"), FAILED)
    before = bench.rows(execution)
    with pytest.raises(Conflict, match=f"it is {state}"):
        resume(bench, execution)
    assert bench.rows(execution) == before


def test_a_cancel_without_a_failure_has_no_failed_targets(bench):
    execution = bench.open(make_step("a", rows=2))
    bench.cancel(execution)
    with pytest.raises(Conflict, match="nothing of it failed"):
        resume(bench, execution, only_failed=True)


def test_an_unknown_execution_is_not_resumed(bench):
    with pytest.raises(NotFound):
        resume(bench, uuid4())


def test_two_people_who_resume_at_once_resume_once(bench):
    execution = bench.open(make_step("a"))
    bench.run(execution, "a", FAILED)

    def try_it():
        try:
            return len(resume(bench, execution).sending.run)
        except Conflict:
            return 0

    assert sum(all_at_once([try_it] * 4)) == 1
    assert bench.execution(execution)["run"] == 2


def test_an_old_message_starts_a_resumed_row_once(bench):
    """Attempts begin at 0 again: a message of the first run is as good as one of the second."""
    execution = bench.open(make_step("a"))
    bench.run(execution, "a", FAILED)
    resume(bench, execution)
    step_id = bench.step_id(execution, "a")
    claims = all_at_once([lambda: bench.claim_row(step_id, 0)] * 4)
    assert sum(claim is not None for claim in claims) == 1
