"""Open: an execution with all its rows, once for each key."""

import pytest

from tests.lab.ledger_bench import all_at_once, make_plan, make_step


@pytest.mark.transition("new -> pending", "open_execution", happens=True)
def test_the_first_stage_is_queued_and_the_rest_waits(bench):
    opened = bench.submit(
        make_plan(make_step("a"), make_step("b", rows=2), last=(make_step("tidy"),))
    )
    assert (opened.created, opened.state) == (True, "running")
    assert bench.states(opened.execution_id) == ["queued", "pending", "pending", "pending"]
    execution = bench.execution(opened.execution_id)
    assert (execution["stage"], execution["stages"], execution["finally_stage"]) == (0, 3, 2)
    assert execution["stage_open"] == 1
    assert bench.events(opened.execution_id) == ["execution.accepted"]


def test_what_is_to_be_published_is_marked_as_sent(bench):
    opened = bench.submit(make_plan(make_step(rows=5)), send=3)
    rows = bench.rows(opened.execution_id)
    assert [link.step_id for link in opened.sending.run] == [row["id"] for row in rows[:3]]
    assert [row["sent_at"] is not None for row in rows] == [True] * 3 + [False] * 2
    assert [row["sends"] for row in rows] == [1, 1, 1, 0, 0]
    assert not opened.sending.chain


def test_nothing_is_published_where_there_is_no_room(bench):
    opened = bench.submit(make_plan(make_step("a"), make_step("b")), send=0)
    assert opened.sending.run == ()
    assert [row["sent_at"] for row in bench.rows(opened.execution_id)] == [None, None]


@pytest.mark.parametrize(("steps", "links"), [(1, 1), (4, 4), (10, 10), (11, 10), (25, 10)])
def test_a_chain_has_at_most_ten_links(bench, steps, links):
    opened = bench.submit(make_plan(*[make_step(f"s{n}") for n in range(steps)]))
    assert len(opened.sending.run) == links
    assert opened.sending.chain
    assert [link.position for link in opened.sending.run] == list(range(1, links + 1))
    sent = [row["sent_at"] is not None for row in bench.rows(opened.execution_id)]
    assert sent == [True] + [False] * (steps - 1), "a later link is sent when it is promoted"


@pytest.mark.parametrize("breaker", [{"rows": 2}, {"dynamic": True, "template": {}}])
def test_a_chain_ends_before_a_step_that_cannot_ride_in_it(bench, breaker):
    steps = [make_step("a"), make_step("b"), make_step("c", **breaker), make_step("d")]
    opened = bench.submit(make_plan(*steps))
    assert [link.tool for link in opened.sending.run] == ["a", "b"]


def test_a_chain_names_the_queue_of_each_link(bench):
    steps = [make_step(domain, domain=domain) for domain in ("network", "comms", "asset")]
    opened = bench.submit(make_plan(*steps))
    assert [link.queue for link in opened.sending.run] == ["network", "comms", "asset"]


def test_a_plan_that_begins_dynamic_waits_for_its_rendering(bench):
    opened = bench.submit(make_plan(make_step("late", dynamic=True, template={"tool": "late"})))
    assert opened.sending.run == ()
    assert bench.states(opened.execution_id) == ["due"]


def test_the_same_key_and_plan_give_the_first_execution(bench):
    plan = make_plan(make_step())
    first = bench.submit(plan, key="k")
    again = bench.submit(plan, key="k")
    assert (again.created, again.same_plan) == (False, True)
    assert again.execution_id == first.execution_id
    assert again.sending.run == (), "what was published is not published again"
    bench.run(first.execution_id, "read")
    assert bench.submit(plan, key="k").state == "succeeded"
    assert len(bench.ask("select 1 from executions")) == 1


def test_the_same_key_with_another_plan_is_told(bench):
    first = bench.submit(make_plan(make_step(), digest="one"), key="k")
    other = bench.submit(make_plan(make_step(), make_step("more"), digest="two"), key="k")
    assert (other.created, other.same_plan) == (False, False)
    assert other.execution_id == first.execution_id
    assert len(bench.ask("select 1 from steps")) == 1


def test_a_key_belongs_to_its_principal(bench):
    plan = make_plan(make_step())
    first = bench.submit(plan, key="k")
    second = bench.submit(plan, key="k", principal=bench.add_principal("other"))
    assert second.created
    assert second.execution_id != first.execution_id


def test_without_a_key_every_submit_is_an_execution(bench):
    plan = make_plan(make_step())
    assert len({bench.submit(plan).execution_id for _ in range(3)}) == 3


def test_opens_of_one_key_at_once_make_one_execution(bench):
    plan = make_plan(make_step(rows=3))
    opened = all_at_once([lambda: bench.submit(plan, key="k")] * 10)
    assert sum(each.created for each in opened) == 1
    assert len({each.execution_id for each in opened}) == 1
    assert sum(len(each.sending.run) for each in opened) == 3
    assert len(bench.ask("select 1 from steps")) == 3
    assert len(bench.ask("select 1 from executions")) == 1
