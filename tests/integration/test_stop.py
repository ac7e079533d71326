"""Stop means stopped: a whole farm, and hosts on which somebody looks with `ps`."""

import time
from dataclasses import replace

import pytest

from app.cancel import cancel
from app.errors import Conflict
from app.store.inventory import create_asset
from app.store.records import Cursor
from tests.lab.farm import TENANT, Farm, hold, lines_of, mark

TEN_MINUTES = "600"
#: No other process of the host is so patient.
WAITER = "sleep 600"


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    farm.start("dispatcher")
    farm.start("automation")
    yield farm
    farm.close()


@pytest.fixture
def host(farm, systemd_host):
    """A host in the farm's inventory, with a login."""
    with farm.parts.inventory._sessions.begin() as session:
        session.info.update(tenant=TENANT, actor="test", execution_id=None, step_id=None)
        create_asset(session, systemd_host.asset)
    login = replace(systemd_host.credential(), name="login")
    farm.parts.vault.put_credential(TENANT, "login", login, systemd_host.name)
    return systemd_host


def busy(host, operation, **members):
    """A step that leaves its pid on the host, and stays there for ten minutes."""
    parameters = {"file": "/tmp/pid", "seconds": TEN_MINUTES}
    step = {"tool": "hold", "operation": operation, "parameters": parameters, "id": "busy"}
    return {**step, "targets": host.name, **members}


def processes(host):
    """Command lines of the host that are the step's."""
    lines = host.run("ps", "-eo", "args").splitlines()
    return [line for line in lines if WAITER in line or "OPSFARM" in line or "opsfarm" in line]


def wait_until_busy(farm, host):
    farm.wait_until(lambda: WAITER in " ".join(processes(host)))


def told(farm, accepted, kind):
    """What the event of this kind tells."""
    events, _ = farm.parts.records.read_events(Cursor(), accepted.execution_id)
    [data] = [event.body["data"] for event in events if event.body["kind"] == kind]
    return data


@pytest.mark.parametrize("operation", ["read", "change"])
def test_a_remote_command_that_is_cancelled_is_gone_from_the_host(farm, host, operation):
    accepted = farm.submit(busy(host, operation, timeout_s=900))
    wait_until_busy(farm, host)
    began = time.monotonic()
    cancel(accepted.execution_id, farm.principal, farm.parts, "enough")
    row = farm.wait_for_row(accepted.execution_id, "cancelled")
    assert time.monotonic() - began < 5
    assert processes(host) == []
    assert (row["reason"], row["stopped"]) == ("stopped", "verified")
    assert row["summary"] == "sh was stopped; it and its children are gone"
    assert told(farm, accepted, "step.cancelled")["stopped"] == "verified"


@pytest.mark.parametrize(
    ("operation", "state"),
    [("read", "failed"), ("change", "interrupted")],
    ids=["a failure", "a change that may have happened"],
)
def test_a_remote_command_that_outlives_its_timeout_is_gone_from_the_host(
    farm, host, operation, state
):
    accepted = farm.submit(busy(host, operation, timeout_s=1))
    wait_until_busy(farm, host)
    row = farm.wait_for_row(accepted.execution_id, state)
    assert processes(host) == []
    assert (row["reason"], row["stopped"]) == ("timeout", "verified")
    assert told(farm, accepted, f"step.{state}")["stopped"] == "verified"
    assert row["summary"] == "no end within its time; it was ended"


def test_a_plan_that_takes_too_long_is_cancelled_and_finally_runs(farm, host, tmp_path):
    after, last = mark(tmp_path / "after"), mark(tmp_path / "last")
    accepted = farm.submit(
        busy(host, "read", timeout_s=900), after, timeout_s=2, **{"finally": [last]}
    )
    execution = farm.wait_for(accepted.execution_id)
    assert processes(host) == []
    assert [step["state"] for step in execution["steps"]] == ["cancelled", "cancelled", "succeeded"]
    assert execution["state"] == "cancelled"
    assert execution["steps"][0]["results"][0]["stopped"] == "verified"
    assert execution["cancel_reason"] == "timeout: it took longer than 2 s"
    assert execution["cancelled_by"] is None
    assert lines_of(tmp_path / "last") == ["ran"]


def test_a_step_that_waits_for_its_retry_is_cancelled_at_once(farm, tmp_path):
    bad = {
        "tool": "roll",
        "parameters": {"file": str(tmp_path / "missing")},
        "targets": "local",
        "retries": {"max": 2, "backoff_s": 600},
    }
    accepted = farm.submit(bad)
    farm.wait_until(lambda: farm.result(accepted.execution_id)["attempt"] == 1)
    farm.wait_for_row(accepted.execution_id, "queued")
    cancel(accepted.execution_id, farm.principal, farm.parts)
    assert farm.read(accepted.execution_id)["state"] == "cancelled"


def test_a_second_cancel_is_refused_with_the_present_state(farm, tmp_path):
    step = {**hold("read", tmp_path / "f"), "timeout_s": 900}
    accepted = farm.submit(step)
    farm.wait_for_lines(tmp_path / "f")
    cancel(accepted.execution_id, farm.principal, farm.parts)
    with pytest.raises(Conflict, match=r"is (being )?cancelled"):
        cancel(accepted.execution_id, farm.principal, farm.parts)
    farm.wait_for(accepted.execution_id)
    with pytest.raises(Conflict, match="is cancelled"):
        cancel(accepted.execution_id, farm.principal, farm.parts)
