"""The dispatcher on a real ledger and broker; nobody serves the queues but where a test says so."""

import json
import time
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.admin.servers import find_free_port, start_redis
from app.step import State, StepResult
from tests.lab.farm import Farm, lines_of
from tests.lab.ledger_bench import all_at_once
from tool_catalog.model import Reason
from workers.dispatcher import Dispatcher


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path, OPSFARM_RESEND_S="0.3", OPSFARM_REAP_S="0.3")
    yield farm
    farm.close()


@pytest.fixture
def dispatcher(farm):
    return Dispatcher(farm.parts)


def look(script="true", **members):
    return {"tool": "script", "parameters": {"script": script}, "targets": "local", **members}


def ask(farm, query, **values):
    with farm.parts.autocommit.connect() as connection:
        found = connection.execute(text(query), values)
        return list(found.mappings()) if found.returns_rows else []


def sends(farm):
    return [row["sends"] for row in ask(farm, "select sends from steps order by id")]


def published(farm):
    """What the messages in Redis show of their steps, oldest first."""
    bodies = farm.broker.lrange(farm.queue(), 0, -1)[::-1]
    return [json.loads(each)["headers"]["argsrepr"] for each in bodies]


def unsend(farm):
    """As if the broker had been down when they were submitted."""
    farm.broker.delete(farm.queue())
    ask(farm, "update steps set sent_at = null, sends = 0")


def claim(farm, execution_id, step=0, row=0):
    found = farm.result(execution_id, step, row)
    return farm.parts.ledger.claim_step(
        found["step_id"], found["attempt"], uuid4(), "automation@x", [farm.queue()]
    )


def test_what_was_not_sent_is_published_once(farm, dispatcher):
    for _ in range(3):
        farm.submit(look())
    unsend(farm)
    dispatcher.run_once()
    assert farm.depth() == 3
    for _ in range(3):
        dispatcher.run_once()
    assert farm.depth() == 3
    assert sends(farm) == [1, 1, 1]


def test_nothing_is_published_twice_while_nothing_is_lost(farm, dispatcher):
    for _ in range(5):
        farm.submit(look())
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:  # three times as long as a message may be on its way
        dispatcher.run_once()
        time.sleep(0.05)
    assert farm.depth() == 5
    assert sends(farm) == [1] * 5


def test_what_the_broker_lost_is_published_again_after_its_time(farm, dispatcher):
    for _ in range(3):
        farm.submit(look())
    farm.broker.delete(farm.queue())
    dispatcher.run_once()
    assert farm.depth() == 0, "it could still be on its way to a worker"
    farm.wait_until(lambda: dispatcher.run_once() or farm.depth() == 3, 3)
    dispatcher.run_once()
    assert farm.depth() == 3
    assert sends(farm) == [2, 2, 2]


def test_a_broker_that_came_back_empty_is_filled_again(farm, dispatcher):
    first = farm.submit(look(id="a"), look(id="b"))
    farm.broker.delete(farm.queue())
    farm.wait_until(lambda: dispatcher.run_once() or farm.depth() == 1, 3)
    step = claim(farm, first.execution_id)
    assert step is not None
    done = StepResult(State.SUCCEEDED, "done")
    farm.parts.publisher.publish(
        farm.parts.ledger.finish_step(step, done, link=None, send=64).sending
    )
    assert farm.depth() == 2, "what followed was published although the chain was lost"


def test_the_window_keeps_a_fan_out_of_500_small(farm, dispatcher):
    with farm.parts.engine.begin() as connection:
        connection.execute(
            text(
                "insert into assets (tenant, hostname, connection)"
                " select 'default', 'h' || n, '{\"type\": \"local\"}'"
                " from generate_series(1, 500) n"
            )
        )
    accepted = farm.submit({**look(), "targets": {"type": "server"}})
    window = farm.settings.window
    assert farm.depth() <= window
    for _ in range(3):
        dispatcher.run_once()
    assert farm.depth() <= window
    ids = [row["id"] for row in ask(farm, "select id from steps order by id")]
    assert len(ids) == 500
    for number in range(20):  # each end makes room for one more, not for a window
        farm.broker.rpop(farm.queue())
        step = claim(farm, accepted.execution_id, 0, number)
        done = StepResult(State.SUCCEEDED, "done")
        finished = farm.parts.ledger.finish_step(step, done, link=None, send=window)
        farm.parts.publisher.publish(finished.sending)
        assert farm.depth() <= window
    assert max(sends(farm)) == 1


def test_the_window_keeps_500_plans_small(farm, dispatcher):
    accepted = [farm.submit(look()) for _ in range(150)]
    for _ in range(3):
        dispatcher.run_once()
    assert farm.depth() <= farm.settings.window
    assert max(sends(farm)) == 1
    assert {each.state for each in accepted} == {"running"}


def test_a_window_grows_with_the_slots_that_live(farm, dispatcher):
    ask(
        farm,
        "insert into workers (name, host, pool, queues, slots, offers) values"
        " ('w', 'h', 'automation', array[:queue], 30, '{}')",
        queue=farm.queue(),
    )
    for _ in range(150):
        farm.submit(look())
    unsend(farm)
    dispatcher.run_once()
    assert farm.depth() == 120


def test_two_dispatchers_publish_each_row_once(farm, dispatcher):
    for _ in range(40):
        farm.submit(look())
    unsend(farm)
    others = [Dispatcher(farm.parts) for _ in range(3)]
    all_at_once([each.run_once for each in (dispatcher, *others)])
    dispatcher.run_once()
    assert farm.depth() == 40
    assert sends(farm) == [1] * 40


def test_a_broker_that_is_away_loses_no_row(database_url, tmp_path):
    folder, port = tmp_path / "redis", find_free_port()
    server = start_redis(folder, port, "test-password")
    farm = Farm(database_url, server.url, tmp_path)
    try:
        server.stop()
        dispatcher = Dispatcher(farm.parts)
        for _ in range(3):
            assert farm.submit(look()).delivery == "delayed"
        dispatcher.run_once()
        assert [row["sent_at"] for row in ask(farm, "select sent_at from steps")] == [None] * 3
        server = start_redis(folder, port, "test-password")
        farm.wait_until(lambda: dispatcher.run_once() or farm.depth() == 3, 5)
    finally:
        if server.process.poll() is not None:
            server = start_redis(folder, port, "test-password")
        farm.close()
        server.stop()


def test_a_broker_that_dies_while_publishing_leaves_every_row_unsent(database_url, tmp_path):
    folder, port = tmp_path / "redis", find_free_port()
    server = start_redis(folder, port, "test-password")
    farm = Farm(database_url, server.url, tmp_path)
    try:
        dispatcher = Dispatcher(farm.parts)
        for _ in range(5):
            farm.submit(look())
        unsend(farm)
        read_depth = dispatcher._parts.publisher.window.depth

        def depth_then_gone(queue):
            depth = read_depth(queue)
            server.stop()
            return depth

        dispatcher._parts.publisher.window.depth = depth_then_gone
        dispatcher.run_once()
        assert [row["sent_at"] for row in ask(farm, "select sent_at from steps")] == [None] * 5
    finally:
        server = start_redis(folder, port, "test-password")
        farm.close()
        server.stop()


def test_a_step_that_no_worker_takes_fails_in_time(farm, dispatcher):
    accepted = farm.submit(look(queue_timeout_s=1), **{"finally": [look(id="tidy")]})
    dispatcher.run_once()
    assert farm.result(accepted.execution_id)["state"] == "queued"
    ask(farm, "update steps set queued_at = queued_at - interval '2 s' where state = 'queued'")
    farm.wait_until(
        lambda: dispatcher.run_once() or farm.result(accepted.execution_id)["state"] == "failed", 5
    )
    assert farm.result(accepted.execution_id)["reason"] == "queue_timeout"
    dispatcher.run_once()
    assert farm.result(accepted.execution_id, 1)["state"] == "queued"
    assert published(farm)[-1].startswith("test 2")


def test_a_dead_lease_is_reaped_once_it_was_watched_for_its_whole_time(farm, dispatcher):
    accepted = farm.submit(look())
    step = claim(farm, accepted.execution_id)
    began = time.monotonic()
    farm.wait_until(
        lambda: dispatcher.run_once() or farm.result(accepted.execution_id)["state"] == "queued", 5
    )
    assert time.monotonic() - began >= farm.settings.reap_s
    assert not farm.parts.ledger.finish_step(
        step, StepResult(State.SUCCEEDED, "late"), link=None, send=0
    ).accepted


def test_a_lease_that_beats_is_left(farm, dispatcher):
    accepted = farm.submit(look())
    step = claim(farm, accepted.execution_id)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        farm.parts.ledger.heartbeat("automation@x", [step.token])
        dispatcher.run_once()
        time.sleep(0.05)
    assert farm.result(accepted.execution_id)["state"] == "running"


def test_a_dispatcher_that_was_away_judges_nobody(farm, dispatcher):
    accepted = farm.submit(look())
    claim(farm, accepted.execution_id)
    dispatcher.run_once()
    time.sleep(0.4)  # longer than a lease: nobody could beat, for all that it knows
    dispatcher.run_once()
    assert farm.result(accepted.execution_id)["state"] == "running"


def test_a_retry_is_published_when_its_time_has_come(farm, dispatcher):
    accepted = farm.submit(look(retries={"max": 1, "backoff_s": 0.3}))
    step = claim(farm, accepted.execution_id)
    farm.broker.delete(farm.queue())
    assert farm.parts.ledger.retry_step(step, StepResult(State.FAILED, "no", Reason.EXIT_CODE))
    dispatcher.run_once()
    assert farm.depth() == 0
    farm.wait_until(lambda: dispatcher.run_once() or farm.depth() == 1, 3)


def test_dynamic_steps_are_rendered_judged_and_run(farm, tmp_path):
    for name in ("h1", "h2", "h3"):
        with farm.parts.engine.begin() as connection:
            connection.execute(
                text(
                    "insert into assets (tenant, hostname, connection)"
                    " values ('default', :name, '{\"type\": \"local\"}')"
                ),
                {"name": name},
            )
    (tmp_path / "names").write_text(json.dumps({"names": ["h1", "h3"], "none": [], "one": ["h2"]}))
    farm.start("automation")
    farm.start("dispatcher")

    def late(key, name):
        out = tmp_path / key
        return {
            "id": key,
            "tool": "mark",
            "operation": "read",
            "targets": "{{ steps.roll.output." + name + " }}",
            "parameters": {"file": str(out), "line": "{{ steps.roll.state }}"},
            "on_failure": "continue",
        }

    roll = {"tool": "roll", "parameters": {"file": str(tmp_path / "names")}, "targets": "local"}
    never = look(id="never", when="steps.roll.failed")
    accepted = farm.submit(
        roll, late("two", "names"), late("zero", "none"), late("single", "one"), never
    )
    execution = farm.wait_for(accepted.execution_id)
    states = [
        (step["id"], step["state"], len(step["results"]), step["reason"])
        for step in execution["steps"]
    ]
    assert states == [
        ("roll", "succeeded", 1, None),
        ("two", "succeeded", 2, None),
        ("zero", "failed", 1, "no_targets"),
        ("single", "succeeded", 1, None),
        ("never", "skipped", 1, None),
    ]
    assert lines_of(tmp_path / "two") == ["succeeded"] * 2
    assert lines_of(tmp_path / "single") == ["succeeded"]
    targets = [row["target"] for row in execution["steps"][1]["results"]]
    assert targets == ["h1", "h3"]


def test_a_step_that_cannot_be_rendered_holds_up_nobody(farm, dispatcher):
    broken = farm.submit(look(id="a"), look("echo {{ steps.a.summary }}", id="b"))
    fine = farm.submit(look(id="a"), look("echo {{ steps.a.summary }}", id="b"))
    for each in (broken, fine):
        done = StepResult(State.SUCCEEDED, "done")
        farm.parts.ledger.finish_step(claim(farm, each.execution_id), done, link=None, send=0)
    ask(
        farm,
        "update steps set template = '{\"tool\": 7}' where key = 'b' and execution_id = :id",
        id=broken.execution_id,
    )
    dispatcher.run_once()
    assert farm.result(broken.execution_id, 1)["state"] == "failed"
    assert farm.result(fine.execution_id, 1)["state"] == "queued"


def test_a_dispatcher_goes_when_it_is_told_to_and_survives_its_ledger(farm, tmp_path):
    process = farm.start("dispatcher")
    accepted = farm.submit(look())
    unsend(farm)
    farm.wait_until(lambda: farm.depth() == 1)
    with farm.parts.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    farm.parts.close()
    unsend(farm)
    farm.wait_until(lambda: farm.depth() == 1)
    assert farm.read(accepted.execution_id)["state"] == "running"
    assert process.stop() == 0


def test_a_step_that_nobody_can_serve_says_what_it_waits_for(farm, dispatcher):
    execution = farm.submit(look()).execution_id
    dispatcher.run_once()
    assert farm.result(execution)["reason"] == f"no_worker: {farm.queue()}"
    farm.start("automation")
    dispatcher.run_once()
    assert farm.wait_for(execution)["state"] == "succeeded"
    assert farm.result(execution)["reason"] is None
