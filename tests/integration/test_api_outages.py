"""What the API answers while the ledger or the broker is away, and that it comes back."""

from contextlib import contextmanager

import pytest
import requests

from app.admin.servers import find_free_port, start_redis
from app.farm_execution import read_event_stream
from app.principal import Role
from app.store.db import make_engine
from tests.lab.api_farm import ApiFarm

DF = {"steps": [{"tool": "df", "parameters": {"path": "/"}, "targets": "local"}]}


def send(farm, method, path, **request):
    headers = {"Authorization": f"Bearer {farm.keys[Role.ADMIN]}"}
    return requests.request(method, farm.url + path, headers=headers, timeout=30, **request)


@pytest.fixture
def ledger_down(api_farm, database_url, postgres_server):
    """`with ledger_down():` the ledger takes no connection and the present ones are gone."""
    name = database_url.rsplit("/", 1)[1]
    engine = make_engine(postgres_server)

    @contextmanager
    def down():
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
            admin.exec_driver_sql(f"alter database {name} allow_connections false")
            admin.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                (name,),
            )
            yield
            admin.exec_driver_sql(f"alter database {name} allow_connections true")
        api_farm.parts.close()  # what lies in the pools is dead

    yield down
    engine.dispose()


def test_without_the_ledger_a_submit_is_unavailable_and_nothing_is_kept(api_farm, ledger_down):
    with ledger_down():
        response = send(api_farm, "POST", "/execute-plan", json=DF)
        ready = send(api_farm, "GET", "/health/ready")
        live = send(api_farm, "GET", "/health/live")
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == "urn:opsfarm:problem:unavailable"
    assert response.headers["Retry-After"] == "5"
    assert ready.status_code == 503
    assert ready.json()["checks"]["ledger"] == "unreachable"
    assert live.status_code == 200
    assert send(api_farm, "GET", "/executions").json()["executions"] == []
    assert send(api_farm, "GET", "/health/ready").status_code == 200


def test_a_watcher_goes_on_when_the_ledger_is_back(api_farm, ledger_down):
    execution_id = send(api_farm, "POST", "/execute-plan", json=DF).json()["execution_id"]
    with send(api_farm, "GET", f"/executions/{execution_id}/events", stream=True) as response:
        events = read_event_stream(response.iter_lines())
        kinds = [next(events)[1]["kind"]]
        with ledger_down():
            pass
        api_farm.work(execution_id)
        kinds += [event["kind"] for _, event in events]
    assert kinds == [
        "execution.accepted",
        "step.running",
        "step.succeeded",
        "execution.finished",
    ]


def test_a_wait_ends_although_its_notification_was_lost(api_farm, ledger_down):
    execution = api_farm.client().submit(DF)
    with ledger_down():
        pass
    api_farm.work(execution.id)
    assert execution.wait(timeout_s=20)["state"] == "succeeded"


@pytest.fixture
def broker(tmp_path):
    server = start_redis(tmp_path / "redis", find_free_port(), "test-password")
    yield server
    server.stop()


def test_without_the_broker_a_submit_is_delayed(database_url, broker, tmp_path):
    farm = ApiFarm(database_url, broker.url, tmp_path / ".opsfarm")
    try:
        broker.stop()
        response = send(farm, "POST", "/execute-plan", json=DF)
        ready = send(farm, "GET", "/health/ready")
        assert response.status_code == 202
        assert response.json()["delivery"] == "delayed"
        assert ready.status_code == 503
        assert ready.json()["checks"] == {"ledger": "ok", "broker": "unreachable"}
        execution_id = response.json()["execution_id"]
        assert farm.read(execution_id)["delivery"] == "delayed"
        assert len(farm.queued(execution_id)) == 1
    finally:
        farm.close()
