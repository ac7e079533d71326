"""Limits and locks on a whole farm: how many run, and what waiting costs."""

import time

import pytest

from app.cancel import cancel
from app.store.outbox import Outbox
from tests.lab.farm import Farm, hold, lines_of, mark

POLICY = """
limits:
  - {tools: [hold], per: [target], running: 2}
  - {tools: [mark], effect: read, every_s: 0.4}
"""


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    policy = str(tmp_path / "policy.yaml")
    # What wakes the dispatcher is what a step's end tells it, not its tick.
    farm = Farm(
        database_url,
        redis_server,
        tmp_path,
        OPSFARM_POLICY_FILE=policy,
        OPSFARM_DISPATCH_TICK_S="30",
        OPSFARM_RESEND_S="60",
    )
    farm.start("dispatcher")
    farm.start("automation")
    yield farm
    farm.close()


def running(farm):
    rows = farm.parts.records._read("select count(*) as n from steps where state = 'running'")
    return rows[0]["n"]


def sends(farm):
    return farm.parts.records._read("select sum(sends) as n, max(attempt) as a from steps")[0]


def test_two_run_and_the_others_say_why_they_wait(farm, tmp_path):
    plans = [farm.submit(hold("read", tmp_path / f"f{n}", seconds="1.5")) for n in range(5)]
    farm.wait_until(lambda: running(farm) == 2)
    waiting = [farm.result(plan.execution_id) for plan in plans]
    reasons = [row["reason"] for row in waiting if row["state"] == "queued"]
    assert reasons == ["limit: 2 running hold on local"] * 3
    most = 0
    while any(farm.read(plan.execution_id)["state"] == "running" for plan in plans):
        most = max(most, running(farm))
    assert most == 2
    assert {farm.read(plan.execution_id)["state"] for plan in plans} == {"succeeded"}
    assert sends(farm) == {"n": 5, "a": 1}, "who waits costs no message and no claim"


def test_who_waited_too_long_for_an_asset_hears_who_held_it(farm, tmp_path):
    first = farm.submit(hold("again", tmp_path / "holder", seconds="20"))
    farm.wait_for_lines(tmp_path / "holder")
    late = farm.submit(mark(tmp_path / "f", operation="change"))
    farm.parts.records._read(
        "update steps set queued_at = queued_at - interval '2 h'"
        " where state = 'queued' returning id"
    )
    Outbox(farm.parts.autocommit).expire_queued()
    row = farm.result(late.execution_id)
    assert (row["state"], row["reason"]) == ("failed", "queue_timeout")
    held = f"step holder of execution {first.execution_id} held its asset"
    assert row["summary"] == f"{held} for more than 3600 s"
    cancel(first.execution_id, farm.principal, farm.parts)
    farm.wait_for(first.execution_id)


def test_one_begins_at_a_time_and_the_dispatcher_wakes_by_itself(farm, tmp_path):
    began = time.monotonic()
    plans = [farm.submit(mark(tmp_path / "f", line=str(n))) for n in range(4)]
    for plan in plans:
        assert farm.wait_for(plan.execution_id)["state"] == "succeeded"
    assert 1.2 <= time.monotonic() - began < 10
    assert lines_of(tmp_path / "f") == ["0", "1", "2", "3"]
    assert sends(farm) == {"n": 4, "a": 1}


def test_plans_that_want_one_asset_wait_without_spinning(farm, tmp_path):
    first = farm.submit(hold("again", tmp_path / "holder", seconds="2"))
    farm.wait_for_lines(tmp_path / "holder")
    others = [farm.submit(mark(tmp_path / "f", operation="change")) for _ in range(6)]
    holder = farm.result(others[0].execution_id)["blocked_by"]
    assert (holder["execution_id"], holder["step"]) == (str(first.execution_id), "holder")
    for plan in others:
        assert farm.wait_for(plan.execution_id)["state"] == "succeeded"
    assert len(lines_of(tmp_path / "f")) == 6
    told = sends(farm)
    assert told["a"] == 1
    assert told["n"] <= 13, "the holder; each of the others at its submit, and when it was free"
