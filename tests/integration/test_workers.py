"""Real worker processes on a real broker and ledger: killed, drained, frozen, lied to."""

import signal
import threading
import time
from contextlib import contextmanager

import pytest

from app.admin.servers import find_free_port, start_redis
from app.cancel import cancel
from app.errors import Unavailable
from app.store.db import make_engine
from tests.lab.farm import Farm, hold, lines_of, mark
from tests.lab.running import is_alive


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    yield farm
    farm.close()


def test_a_plan_runs_to_its_end_as_one_chain(farm, tmp_path):
    farm.start("automation")
    steps = [mark(tmp_path / "f", f"line {n}", id=f"s{n}") for n in range(12)]
    accepted = farm.submit(*steps)
    assert (accepted.delivery, accepted.created) == ("sent", True)
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert lines_of(tmp_path / "f") == [f"line {n}" for n in range(12)]
    sends = farm.parts.records._read("select sends from steps")
    assert {row["sends"] for row in sends} == {1}, "without a dispatcher and without doubles"


def test_a_message_delivered_three_times_runs_once(farm, tmp_path):
    accepted = farm.submit(mark(tmp_path / "f", operation="change"))
    [body] = farm.broker.lrange(farm.queue(), 0, -1)
    farm.push(body)
    farm.push(body)
    assert farm.depth() == 3
    farm.start("automation")
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    farm.wait_until(lambda: farm.depth() == 0)
    follower = farm.submit(mark(tmp_path / "g"))
    farm.wait_for(follower.execution_id)
    assert lines_of(tmp_path / "f") == ["ran"]
    assert farm.result(accepted.execution_id)["attempt"] == 1


def test_a_read_of_a_killed_worker_runs_again(farm, tmp_path):
    farm.start("dispatcher")
    first = farm.start("automation")
    accepted = farm.submit(hold("read", tmp_path / "f", seconds="2"), mark(tmp_path / "g"))
    [pid] = farm.wait_for_lines(tmp_path / "f")
    first.kill()
    farm.wait_until(lambda: not is_alive(pid))
    farm.start("automation")
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert farm.result(accepted.execution_id)["attempt"] == 2
    assert len(lines_of(tmp_path / "f")) == 2
    assert lines_of(tmp_path / "g") == ["ran"]


def test_an_unknown_outcome_is_asked_about_and_keeps_its_mutex(farm, tmp_path):
    farm.start("dispatcher")
    first = farm.start("automation")
    accepted = farm.submit(hold("change", tmp_path / "f"), mark(tmp_path / "g"))
    farm.wait_for_lines(tmp_path / "f")
    first.kill()
    execution = farm.wait_for(accepted.execution_id, "attention")
    assert execution["steps"][0]["reason"] == "worker_lost"
    row = farm.parts.records._read("select * from steps where state = 'interrupted'")[0]
    assert row["armed"] is not None
    farm.start("automation")
    other = farm.submit(mark(tmp_path / "h"))
    farm.wait_for(other.execution_id)
    assert len(lines_of(tmp_path / "f")) == 1, "it did not run again"
    assert lines_of(tmp_path / "g") == []
    if row["mutex"] is not None:
        blocked = farm.submit(mark(tmp_path / "i", operation="change"))
        farm.wait_for(farm.submit(mark(tmp_path / "h")).execution_id)
        assert farm.result(blocked.execution_id)["state"] == "queued"


def test_an_armed_step_that_may_repeat_runs_again(farm, tmp_path):
    farm.start("dispatcher")
    first = farm.start("automation")
    accepted = farm.submit(hold("again", tmp_path / "f", seconds="1.5"))
    farm.wait_for_lines(tmp_path / "f")
    first.kill()
    farm.start("automation")
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert farm.result(accepted.execution_id)["attempt"] == 2


def test_sigterm_gives_a_read_back_and_goes(farm, tmp_path):
    worker = farm.start("automation")
    accepted = farm.submit(hold("read", tmp_path / "f"))
    [pid] = farm.wait_for_lines(tmp_path / "f")
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 10
    assert not is_alive(pid)
    row = farm.result(accepted.execution_id)
    assert (row["state"], row["attempt"], row["reason"]) == ("queued", 0, None)
    assert "automation" not in farm.pools_up()
    assert farm.read(accepted.execution_id)["delivery"] == "delayed", "the dispatcher finds it"


def test_sigterm_lets_an_armed_step_end_by_itself(farm, tmp_path):
    worker = farm.start("automation", OPSFARM_DRAIN_S="10")
    accepted = farm.submit(hold("change", tmp_path / "f", seconds="1"))
    farm.wait_for_lines(tmp_path / "f")
    assert worker.stop() == 0
    assert farm.result(accepted.execution_id)["state"] == "succeeded"


def test_sigterm_leaves_an_armed_step_that_takes_too_long_to_a_person(farm, tmp_path):
    worker = farm.start("automation", OPSFARM_DRAIN_S="0.5")
    accepted = farm.submit(hold("change", tmp_path / "f"))
    [pid] = farm.wait_for_lines(tmp_path / "f")
    assert worker.stop() == 0
    assert not is_alive(pid)
    assert farm.result(accepted.execution_id)["state"] == "interrupted"
    assert farm.read(accepted.execution_id)["state"] == "attention"


@pytest.mark.parametrize("operation", ["read", "change"])
def test_cancel_ends_the_command_and_has_checked_it(farm, tmp_path, operation):
    farm.start("automation")
    accepted = farm.submit(
        hold(operation, tmp_path / "f"), mark(tmp_path / "g"), **{"finally": [mark(tmp_path / "z")]}
    )
    [pid] = farm.wait_for_lines(tmp_path / "f")
    began = time.monotonic()
    cancel(accepted.execution_id, farm.principal, farm.parts, "enough")
    row = farm.wait_for_row(accepted.execution_id, "cancelled")
    assert time.monotonic() - began < 2
    assert (row["reason"], row["stopped"]) == ("stopped", "verified")
    assert not is_alive(pid)
    assert farm.wait_for(accepted.execution_id)["state"] == "cancelled"
    assert lines_of(tmp_path / "g") == []
    assert lines_of(tmp_path / "z") == ["ran"]


def test_a_retry_waits_and_then_runs(farm, tmp_path):
    farm.start("automation")
    farm.start("dispatcher")
    bad = {
        "tool": "roll",
        "parameters": {"file": str(tmp_path / "missing")},
        "targets": "local",
        "retries": {"max": 2, "backoff_s": 0.1},
    }
    accepted = farm.submit(bad)
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "failed"
    assert farm.result(accepted.execution_id)["attempt"] == 3


def test_bytes_that_no_database_takes_do_not_hurt(farm, tmp_path):
    farm.start("automation")
    accepted = farm.submit({"tool": "odd", "targets": "local"}, mark(tmp_path / "f"))
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert farm.result(accepted.execution_id)["stdout_tail"].startswith("a\ufffdb")


def test_live_lines_that_no_database_takes_do_not_stop_those_of_others(farm, tmp_path):
    worker = farm.start("automation")
    odd, plain = (
        {"tool": "script", "parameters": {"script": script}, "targets": "local"}
        for script in (
            r"printf 'a\000b\n\377\n'; sleep 1.5",
            "sleep 1.2; echo plain; sleep 1.1",
        )
    )
    first, second = farm.submit(odd), farm.submit(plain)
    farm.wait_for(first.execution_id)
    farm.wait_for(second.execution_id)
    chunks = farm.parts.records._read("select lines from output_chunks order by id")
    lines = [line for chunk in chunks for line in chunk["lines"]]
    assert ["stdout", "a\ufffdb"] in lines
    assert ["stdout", "plain"] in lines
    assert worker.is_alive


@contextmanager
def database_away(url, admin_url):
    """The database takes no connection, and those that there were are gone."""
    name = url.rsplit("/", 1)[1]
    engine = make_engine(admin_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"alter database {name} allow_connections false")
        admin.exec_driver_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
        )
        try:
            yield
        finally:
            admin.exec_driver_sql(f"alter database {name} allow_connections true")
    engine.dispose()


def test_without_a_ledger_nothing_is_accepted_and_nothing_written(
    farm, database_url, postgres_server, tmp_path
):
    with database_away(database_url, postgres_server), pytest.raises(Unavailable):
        farm.submit(mark(tmp_path / "f"))
    farm.parts.close()
    assert farm.parts.records.list_executions("default") == []
    assert farm.depth() == 0


def test_a_result_waits_for_a_ledger_that_is_away(farm, database_url, postgres_server, tmp_path):
    farm.start("automation", OPSFARM_SELF_KILL_S="20")
    farm.start("dispatcher", OPSFARM_REAP_S="20")
    accepted = farm.submit(hold("change", tmp_path / "f", seconds="0.7"))
    farm.wait_for_lines(tmp_path / "f")
    with database_away(database_url, postgres_server):
        time.sleep(1.5)  # the step ends meanwhile
    farm.parts.close()
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert len(lines_of(tmp_path / "f")) == 1


def test_a_read_cut_off_from_the_ledger_is_ended_and_runs_again(
    farm, database_url, postgres_server, tmp_path
):
    """Nobody asked for a cancel: the outage must not end the step."""
    farm.start("automation")
    farm.start("dispatcher")
    accepted = farm.submit(hold("read", tmp_path / "f", seconds="4"))
    [pid] = farm.wait_for_lines(tmp_path / "f")
    with database_away(database_url, postgres_server):
        farm.wait_until(lambda: not is_alive(pid))
    farm.parts.close()
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert len(lines_of(tmp_path / "f")) == 2


def test_a_frozen_worker_s_armed_step_ends_late_and_resolves_itself(farm, tmp_path):
    worker = farm.start("automation")
    farm.start("dispatcher")
    accepted = farm.submit(hold("change", tmp_path / "f", seconds="5"))
    farm.wait_for_lines(tmp_path / "f")
    worker.send(signal.SIGSTOP)
    farm.wait_for(accepted.execution_id, "attention")
    worker.send(signal.SIGCONT)
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert farm.result(accepted.execution_id)["reason"] == "late_result"
    assert len(lines_of(tmp_path / "f")) == 1


@pytest.fixture
def own_redis(tmp_path):
    """A broker that can be stopped and started again; gives (url, stop, start)."""
    folder, port = tmp_path / "redis", find_free_port()
    servers = [start_redis(folder, port, "test-password")]

    def stop():
        servers[-1].stop()

    def start():
        servers.append(start_redis(folder, port, "test-password"))

    yield servers[0].url, stop, start
    servers[-1].stop()


def test_without_a_broker_a_plan_is_accepted_and_delivered_later(database_url, own_redis, tmp_path):
    url, stop, start = own_redis
    farm = Farm(database_url, url, tmp_path)
    try:
        worker, dispatcher = farm.start("automation"), farm.start("dispatcher")
        stop()
        accepted = farm.submit(mark(tmp_path / "f", operation="change"), mark(tmp_path / "g"))
        assert (accepted.delivery, accepted.state) == ("delayed", "running")
        assert farm.read(accepted.execution_id)["delivery"] == "delayed"
        time.sleep(1)  # the dispatcher tries meanwhile
        start()
        assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
        assert lines_of(tmp_path / "f") == ["ran"]
        assert worker.is_alive
        assert dispatcher.is_alive
    finally:
        farm.close()


def test_a_broker_that_goes_during_a_plan_only_delays_it(database_url, own_redis, tmp_path):
    url, stop, start = own_redis
    farm = Farm(database_url, url, tmp_path)
    try:
        farm.start("automation")
        farm.start("dispatcher")
        accepted = farm.submit(hold("change", tmp_path / "f", seconds="1"), mark(tmp_path / "g"))
        farm.wait_for_lines(tmp_path / "f")
        stop()
        farm.wait_for_row(accepted.execution_id, "succeeded")
        start()
        assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
        assert len(lines_of(tmp_path / "f")) == 1
        assert lines_of(tmp_path / "g") == ["ran"]
    finally:
        farm.close()


def test_many_plans_at_once_each_run_once(farm, tmp_path):
    farm.start("automation")
    farm.start("dispatcher")
    accepted = []

    def submit_some(number):
        for n in range(5):
            line = f"{number}-{n}"
            accepted.append(farm.submit(mark(tmp_path / "f", line, operation="read")))

    threads = [threading.Thread(target=submit_some, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in accepted:
        assert farm.wait_for(each.execution_id)["state"] == "succeeded"
    lines = lines_of(tmp_path / "f")
    assert sorted(lines) == sorted(f"{a}-{b}" for a in range(4) for b in range(5))


def test_the_next_worker_sweeps_up_after_one_that_was_killed(farm, tmp_path):
    first = farm.start("automation")
    script = "head -c 3000000 /dev/zero | tr '\\0' x; touch F; sleep 60".replace(
        "F", str(tmp_path / "f")
    )
    farm.submit({"tool": "script", "parameters": {"script": script}})
    farm.wait_until((tmp_path / "f").exists)
    run = farm.settings.state_dir / "run"
    [folder] = run.iterdir()
    assert list(folder.iterdir()) != [], "what is longer than its head is in a file"
    first.kill()
    farm.start("automation")
    farm.wait_until(lambda: not folder.exists())
    [own] = run.iterdir()
    assert list(own.iterdir()) == []
