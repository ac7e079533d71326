"""Workers that die at their start again and again: their queues are emptied and filled anew."""

import pytest

from tests.lab.farm import Farm, lines_of, mark
from workers.lifecycle import DEADLY

REFUSED = "refused a message that opsfarm did not write"


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    yield farm
    farm.close()


def deaths(farm):
    rows = farm.parts.records._read("select deaths from workers where pool = 'automation'")
    return [row["deaths"] for row in rows]


def start(farm):
    """Start a worker, and wait until it said so itself: the one before it may look alive."""
    query = "select started_at from workers where pool = 'automation'"
    before = farm.parts.records._read(query)
    worker = farm.start("automation", wait=False)
    farm.wait_until(lambda: farm.parts.records._read(query) != before)
    return worker


def die(farm, count):
    for _ in range(count):
        start(farm).kill()


def test_the_queue_of_workers_that_keep_dying_is_emptied_and_filled_from_the_ledger(farm, tmp_path):
    die(farm, DEADLY)
    assert deaths(farm) == [DEADLY - 1]
    accepted = farm.submit(mark(tmp_path / "f", operation="change"))
    farm.push(farm.envelope("[]", "poison"))
    assert farm.depth() == 2
    worker = start(farm)
    farm.wait_until(lambda: deaths(farm) == [0])
    log = worker.log.read_text()
    assert f"died {DEADLY} times at its start: 2 message(s) of" in log
    assert REFUSED not in log
    assert farm.result(accepted.execution_id)["state"] == "queued"
    farm.start("dispatcher")
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert lines_of(tmp_path / "f") == ["ran"]


def test_a_worker_that_died_once_finds_its_queue_as_it_was(farm, tmp_path):
    die(farm, 1)
    accepted = farm.submit(mark(tmp_path / "f"))
    farm.push(farm.envelope("[]", "poison"))
    worker = start(farm)
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    farm.wait_until(lambda: REFUSED in worker.log.read_text())


def test_a_goodbye_ends_the_count(farm, tmp_path):
    die(farm, DEADLY - 1)
    worker = start(farm)
    accepted = farm.submit(mark(tmp_path / "f"))
    farm.wait_for(accepted.execution_id)
    assert worker.stop() == 0
    start(farm)
    assert deaths(farm) == [0]


def test_who_lived_for_long_did_not_die_of_its_queue(farm):
    die(farm, DEADLY)
    with farm.parts.engine.begin() as connection:
        connection.exec_driver_sql("update workers set started_at = started_at - interval '2 min'")
    start(farm)
    assert deaths(farm) == [0]


def test_a_queue_of_rabbitmq_is_emptied_too(database_url, rabbitmq_server, tmp_path):
    farm = Farm(database_url, rabbitmq_server, tmp_path)
    try:
        die(farm, DEADLY)
        accepted = farm.submit(mark(tmp_path / "f", operation="change"))
        worker = start(farm)
        farm.wait_until(lambda: "1 message(s) of" in worker.log.read_text())
        farm.start("dispatcher")
        assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    finally:
        farm.close()
