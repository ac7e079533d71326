"""Reading the ledger: nothing is missed, nothing is told twice, nothing of another tenant."""

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text

from app.errors import Conflict, NotFound
from app.plan import Cap, CheckedRow
from app.step import State, Target
from app.store.records import Cursor
from tests.lab.ledger_bench import FAILED, TENANT, done, make_change, make_plan, make_step
from tool_catalog.model import Reason

TELL = text("select tell('default', :execution, null, :kind, 'x', '{}')")


def kinds(views):
    return [view.body["kind"] for view in views]


def read_all(records, execution=None, limit=1000):
    """Every event, page by page, as a watcher who reconnects each time would see them."""
    cursor, found = Cursor(), []
    while True:
        views, cursor = records.read_events(cursor, execution, limit)
        if not views:
            return found
        found += kinds(views)
        cursor = Cursor.parse(str(views[-1].cursor))


def test_events_come_in_order_and_once(bench):
    execution = bench.open(make_step("a"), make_step("b"))
    bench.run(execution, "a")
    bench.run(execution, "b")
    expected = [
        "execution.accepted",
        "step.running",
        "step.succeeded",
        "step.running",
        "step.succeeded",
        "execution.finished",
    ]
    for limit in (1, 2, 1000):
        assert read_all(bench.records, execution, limit) == expected


def test_a_late_commit_of_a_lower_id_is_not_missed(bench):
    execution = bench.open(make_step("a"))
    _, cursor = bench.records.read_events(Cursor(), execution)
    with bench.session() as slow:
        slow.execute(TELL, {"execution": execution, "kind": "slow"})
        with bench.session() as quick:
            quick.execute(TELL, {"execution": execution, "kind": "quick"})
        views, cursor = bench.records.read_events(cursor, execution)
        assert kinds(views) == [], "what is behind an open transaction waits for it"
    views, cursor = bench.records.read_events(cursor, execution)
    assert kinds(views) == ["slow", "quick"]
    assert bench.records.read_events(cursor, execution)[0] == []


def test_an_old_transaction_that_writes_late_is_not_missed(bench):
    """Its events have higher ids than those that were read, but a lower transaction."""
    execution = bench.open(make_step("a"))
    with bench.session() as old:
        old.exec_driver_sql("select pg_current_xact_id()")
        with bench.session() as young:
            young.execute(TELL, {"execution": execution, "kind": "young"})
        views, cursor = bench.records.read_events(Cursor(), execution)
        assert kinds(views) == ["execution.accepted"]
        old.execute(TELL, {"execution": execution, "kind": "old"})
    views, cursor = bench.records.read_events(cursor, execution)
    assert kinds(views) == ["old", "young"]
    assert bench.records.read_events(cursor, execution)[0] == []


def test_what_was_taken_back_is_never_told(bench):
    execution = bench.open(make_step("a"))
    with bench.engine.connect() as connection:
        connection.execute(TELL, {"execution": execution, "kind": "undone"})
        connection.rollback()
    assert "undone" not in read_all(bench.records, execution)


def test_live_output_comes_with_the_events(bench):
    execution = bench.open(make_step("a"))
    step = bench.take(execution, "a")
    for line in ("one", "two"):
        bench.ask(
            "insert into output_chunks (tenant, execution_id, step_id, attempt, lines)"
            " values ('default', :execution, :step, 1, jsonb_build_array("
            " jsonb_build_array('stdout', cast(:line as text))))",
            execution=execution,
            step=step.id,
            line=line,
        )
    bench.finish(step)
    for limit in (1, 2, 1000):
        told = read_all(bench.records, execution, limit)
        assert told.count("step.output") == 2
        assert [kind for kind in told if kind != "step.output"] == [
            "execution.accepted",
            "step.running",
            "step.succeeded",
            "execution.finished",
        ]
    views, _ = bench.records.read_events(Cursor(), execution)
    output = [view.body for view in views if view.body["kind"] == "step.output"]
    assert [each["data"]["lines"] for each in output] == [[["stdout", "one"]], [["stdout", "two"]]]


def test_a_watcher_of_one_execution_sees_no_other(bench):
    first, second = bench.open(make_step("a")), bench.open(make_step("b"))
    views, _ = bench.records.read_events(Cursor(), first)
    assert {view.execution_id for view in views} == {first}
    views, _ = bench.records.read_events(Cursor())
    assert {view.execution_id for view in views} == {first, second}
    assert {view.tenant for view in views} == {TENANT}


def test_a_live_watcher_starts_behind_everything(bench):
    bench.open(make_step("a"))
    cursor = bench.records.newest_cursor()
    assert bench.records.read_events(cursor)[0] == []
    execution = bench.open(make_step("b"))
    views, _ = bench.records.read_events(cursor)
    assert [(view.execution_id, view.body["kind"]) for view in views] == [
        (execution, "execution.accepted")
    ]


@pytest.mark.parametrize("cursor", [Cursor(), Cursor((1, 2), (3, 4)), Cursor((2**62, 2**62))])
def test_a_cursor_survives_its_text(cursor):
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("given", ["", "1", "1.2.3", "1.2.3.4.5", "a.b.c.d", "-1.0.0.0", "1..2.3"])
def test_a_text_that_is_no_cursor_is_refused(given):
    with pytest.raises(ValueError, match=r"literal|\d"):
        Cursor.parse(given)


def test_an_id_is_found_by_its_beginning(bench):
    def open_as(digits):
        row = "insert into executions select (jsonb_populate_record(e, jsonb_build_object('id',"
        row += " cast(:new as text)))).* from executions e where e.id = :id"
        new = UUID(digits.ljust(32, "0"))
        bench.ask(row, new=str(new), id=template)
        return new

    template = bench.open(make_step())
    first, second = open_as("0190aaaabbbb"), open_as("0190aaaacccc")
    find = bench.records.find_execution_id
    assert find(TENANT, str(first)) == first
    assert find(TENANT, "0190aaaa-bb") == first
    assert find(TENANT, " 0190AAAACC ") == second
    with pytest.raises(Conflict, match="several executions begin with '0190aaaa'"):
        find(TENANT, "0190aaaa")
    for wrong in ("0190aaaadd", "0190aaa", "", "x" * 36, "0190aaaa" * 5, "%", "' or true --"):
        with pytest.raises(NotFound):
            find(TENANT, wrong)
    with pytest.raises(NotFound):
        find("other", str(first))


def test_an_execution_of_another_tenant_is_none(bench):
    execution = bench.open(make_step())
    with pytest.raises(NotFound):
        bench.records.read_execution("other", execution)
    assert bench.records.list_executions("other") == []


def test_an_execution_is_shown_with_its_sections_and_results(bench):
    execution = bench.open(make_step("a", rows=2), last=(make_step("z"),))
    bench.finish(bench.take(execution, "a", 0), done(output=[1]))
    bench.finish(bench.take(execution, "a", 1), FAILED)
    shown = bench.records.read_execution(TENANT, execution)
    assert [(step["id"], step["section"]) for step in shown["steps"]] == [
        ("a", "main"),
        ("z", "finally"),
    ]
    assert shown["steps"][0]["failed_targets"] == ["host-1"]
    assert (shown["state"], shown["delivery"]) == ("running", "sent")
    assert shown["started_at"] <= shown["steps"][0]["results"][0].get("finished_at", "9")
    assert shown["finished_at"] is None


def test_unsent_rows_are_a_delayed_delivery(bench):
    execution = bench.submit(make_plan(make_step()), send=0).execution_id
    assert bench.records.read_execution(TENANT, execution)["delivery"] == "delayed"


def test_lists_are_newest_first_and_paged(bench):
    executions = [bench.open(make_step()) for _ in range(5)]
    bench.run(executions[0], "read", done(State.FAILED, Reason.EXIT_CODE))
    newest = bench.records.list_executions(TENANT, limit=2)
    assert [each["execution_id"] for each in newest] == [str(e) for e in executions[:2:-1]]
    failed = bench.records.list_executions(TENANT, state="failed")
    assert [each["execution_id"] for each in failed] == [str(executions[0])]
    created = {str(row["id"]): row["created_at"] for row in bench.ask("select * from executions")}
    before = created[newest[-1]["execution_id"]]
    rest = bench.records.list_executions(TENANT, before=before)
    assert [each["execution_id"] for each in rest] == [str(e) for e in executions[2::-1]]


def locking(key, host):
    row = CheckedRow({}, Target(host), "asset:7")
    return replace(make_change(key), rows=(row,))


def waiting(bench, execution):
    step = bench.records.read_execution(TENANT, execution)["steps"][0]
    return step["results"][0]


def test_a_row_that_waits_for_an_asset_says_who_holds_it(bench):
    first = bench.open(locking("restart", "web-01"))
    first_step = bench.rows(first)[0]["id"]
    holder = bench.take(first, "restart")
    second = bench.open(make_change("reload", mutex="asset:7"), send=0)
    row = waiting(bench, second)
    assert row["blocked_by"] == {
        "execution_id": str(first),
        "step_id": first_step,
        "step": "restart",
        "position": 1,
        "target": "web-01",
        "state": "running",
        "since": bench.rows(first)[0]["started_at"].isoformat(),
    }
    assert row["summary"] == f"blocked by step restart on web-01 of execution {first}"
    assert bench.records.read_execution(TENANT, second)["delivery"] == "sent"
    bench.ledger.arm_step(holder)
    bench.ledger.interrupt_step(holder, FAILED)
    assert waiting(bench, second)["blocked_by"]["state"] == "interrupted"


def test_a_row_that_nobody_blocks_any_more_says_so(bench):
    first = bench.open(make_change("restart", mutex="asset:7"))
    holder = bench.take(first, "restart")
    second = bench.open(make_change("reload", mutex="asset:7"))
    assert bench.claim(second, "reload") is None
    bench.finish(holder)
    assert bench.rows(second)[0]["blocked_by"] == holder.id, "the row itself only knows who it was"
    assert waiting(bench, second)["blocked_by"] is None


def test_a_row_that_a_limit_holds_back_says_which(bench):
    cap = (Cap("k", "systemctl on web-01", running=1),)
    step = make_step("look", rows=2)
    step = replace(step, rows=tuple(replace(row, caps=cap) for row in step.rows))
    execution = bench.open(step)
    bench.take(execution, "look")
    shown = bench.records.read_execution(TENANT, execution)
    row = shown["steps"][0]["results"][1]
    assert row["reason"] == row["summary"] == "limit: 1 running systemctl on web-01"
    assert shown["delivery"] == "sent", "it does not wait for the broker"


def test_locks_tell_who_holds_what_and_who_waits(bench):
    first = bench.open(locking("restart", "web-01"))
    bench.take(first, "restart")
    for _ in range(2):
        bench.open(make_change("reload", mutex="asset:7"))
    bench.open(make_change("other", mutex="asset:8"))
    (lock,) = bench.records.list_locks(TENANT)
    assert (lock["lock"], lock["waiting"], lock["held_by"]["step"]) == ("asset:7", 2, "restart")
    assert bench.records.list_locks("other") == []
    assert bench.records.list_locks(TENANT, ["asset:8"]) == []
