"""Our worker and a broker as nodes of pytest-celery, backed by processes: killed and restarted."""

import pytest
from pytest_celery import CeleryTestWorker, RedisTestBroker

from app.celery_app import make_celery
from tests.lab.celery_nodes import ProcessRedis, ProcessWorker
from tests.lab.farm import Farm, lines_of

pytestmark = pytest.mark.slow


@pytest.fixture
def celery_broker(server_folder, request):
    """In place of the plugin's, which starts containers."""
    folder = server_folder / f"broker-{request.node.name[:40]}"
    broker = RedisTestBroker(ProcessRedis(folder))
    yield broker
    broker.teardown()


@pytest.fixture
def celery_backend_cluster():
    """None: results live in the ledger."""
    return


@pytest.fixture
def farm(celery_broker, database_url, tmp_path):
    """The ledger's side: a dispatcher, and a hand that submits."""
    url = celery_broker.config()["url"]
    farm = Farm(database_url, url, tmp_path, OPSFARM_REMOTE_CONTROL="1")
    farm.start("dispatcher")
    yield farm
    farm.close()


@pytest.fixture
def celery_worker(farm, tmp_path):
    """In place of the plugin's, and of the one of celery.contrib.pytest that has its name."""
    container = ProcessWorker(tmp_path, farm.queue(), farm.environment)
    worker = CeleryTestWorker(container, app=farm.parts.celery)
    assert worker.ready()
    yield worker
    worker.teardown()


@pytest.fixture
def celery_setup_app(farm):
    """Our app, which knows our queues, in place of a bare one."""
    app = make_celery(farm.settings)
    yield app
    app.close()


def ping(setup):
    """What each worker answers, by its name."""
    answers = setup.app.control.ping(timeout=5, limit=1)
    return {name: answer for each in answers for name, answer in each.items()}


def hold(path, seconds):
    """A read that tells that it began, and then takes its time."""
    return {"tool": "hold", "parameters": {"file": str(path), "seconds": seconds}}


def mark(path, line):
    return {"tool": "mark", "id": line, "parameters": {"file": str(path), "line": line}}


def test_a_worker_answers(celery_setup):
    assert celery_setup.ready(control=True)
    assert len(celery_setup) == 2
    worker = celery_setup.worker
    assert ping(celery_setup) == {worker.hostname(): {"ok": "pong"}}
    worker.assert_log_exists("ready.")


def test_a_plan_survives_the_death_of_its_worker(celery_setup, farm, tmp_path):
    began, done = tmp_path / "began", tmp_path / "done"
    accepted = farm.submit(mark(done, "first"), hold(began, "1.5"), mark(done, "last"))
    farm.wait_for_lines(began)
    celery_setup.worker.kill()
    assert celery_setup.worker.container.status == "exited"
    assert farm.result(accepted.execution_id, step=1)["state"] == "running"
    celery_setup.worker.restart()
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert [step["results"][0]["attempt"] for step in execution["steps"]] == [1, 2, 1]
    assert len(lines_of(began)) == 2
    assert lines_of(done) == ["first", "last"]
    assert ping(celery_setup) == {celery_setup.worker.hostname(): {"ok": "pong"}}


def test_a_plan_survives_the_death_of_the_broker(celery_setup, farm, tmp_path):
    began, done = tmp_path / "began", tmp_path / "done"
    accepted = farm.submit(
        mark(done, "first"), hold(began, "1"), mark(done, "second"), mark(done, "last")
    )
    farm.wait_for_lines(began)
    celery_setup.broker.kill()
    # Without a broker the running step comes to its end, and the next one stays in the ledger.
    farm.wait_until(lambda: farm.result(accepted.execution_id, step=1)["state"] == "succeeded")
    assert farm.result(accepted.execution_id, step=2)["state"] == "queued"
    celery_setup.broker.restart()
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert [step["results"][0]["attempt"] for step in execution["steps"]] == [1, 1, 1, 1]
    assert lines_of(done) == ["first", "second", "last"]
    assert celery_setup.worker.container.status == "running"
    assert all(process.is_alive for process in farm.processes)


def test_a_plan_that_was_accepted_before_any_worker_was_there(celery_setup, farm, tmp_path):
    celery_setup.worker.kill(signal="SIGTERM")
    accepted = farm.submit(mark(tmp_path / "done", "late"))
    assert farm.result(accepted.execution_id)["state"] == "queued"
    celery_setup.worker.restart()
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
