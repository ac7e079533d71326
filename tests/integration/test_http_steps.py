"""Steps over HTTP on a whole farm: real workers, broker and ledger, and the camera double."""

from dataclasses import replace

import pytest

from app.cancel import cancel
from app.store.inventory import create_asset
from tests.lab.camera import Camera
from tests.lab.farm import TENANT, Farm
from tests.lab.receivers import Reply

TOOL = "axis-vapix-ptz-control"


@pytest.fixture
def camera():
    with Camera() as camera:
        yield camera


@pytest.fixture
def farm(database_url, redis_server, tmp_path, camera):
    """A farm with a dispatcher, a network worker, and the camera in its inventory."""
    farm = Farm(database_url, redis_server, tmp_path)
    target = camera.target()
    connection = {"type": "http", "port": target.port, **target.options}
    with farm.parts.inventory._sessions.begin() as session:
        session.info.update(tenant=TENANT, actor="test", execution_id=None, step_id=None)
        values = {"hostname": target.name, "ip_address": target.address, "connection": connection}
        create_asset(session, values)
    credential = replace(camera.credential(), name="cam-login")
    farm.parts.vault.put_credential(TENANT, credential.name, credential, target.name)
    farm.start("dispatcher")
    farm.start("network")
    yield farm
    farm.close()


def step(operation, /, *, key=None, **parameters):
    given = {"tool": TOOL, "operation": operation, "targets": "cam-1", "parameters": parameters}
    return {**given, "id": key or operation}


def test_a_plan_looks_moves_and_remembers(farm, camera):
    camera.heads[1].place(pan=30)
    pan = "{{ steps.position.output.pan + 12 }}"
    accepted = farm.submit(step("position"), step("move_to", pan=pan), step("position", key="then"))
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded", execution
    assert camera.heads[1].position()["pan"] == 42
    moved = farm.result(accepted.execution_id, 1)
    assert (moved["before"]["pan"], moved["after"]["pan"], moved["changed"]) == (30, 42, True)
    assert farm.result(accepted.execution_id, 2)["output"]["pan"] == 42
    kept = farm.parts.records._read("select * from steps")
    assert "pa55-root" not in str(execution) + str([dict(row) for row in kept])


def test_a_cancel_stops_the_camera(farm, camera):
    accepted = farm.submit(step("move_for", pan_speed=5, duration_s=10))
    farm.wait_until(lambda: camera.heads[1].moves)
    cancel(accepted.execution_id, farm.principal, farm.parts)
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "cancelled"
    assert farm.result(accepted.execution_id)["stopped"] == "verified"
    assert not camera.heads[1].moves


def test_a_change_without_an_answer_is_left_to_a_person(farm, camera):
    def lost(request):
        return Reply(reset=True) if "rpan" in request.path else None

    camera.interfere = lost
    accepted = farm.submit(step("move_by", pan=5), step("position"))
    execution = farm.wait_for(accepted.execution_id, "attention")
    [row] = execution["steps"][0]["results"]
    assert (row["state"], row["reason"]) == ("interrupted", "unreachable")
    other = farm.submit(step("move_to", pan=1), step("position"), key="other")
    blocked = farm.wait_for_row(other.execution_id, "queued")
    farm.wait_until(lambda: farm.result(other.execution_id)["blocked_by"])
    assert blocked["attempt"] == 0
    looked = farm.submit(step("position"), key="looked")  # whoever only looks may
    assert farm.wait_for(looked.execution_id)["state"] == "succeeded"


def test_a_change_that_may_be_repeated_is_sent_again_without_an_answer(farm, camera):
    lost = []

    def lose_once(request):
        if "pan=17" in request.path and not lost:
            lost.append(request)
            return Reply(reset=True)
        return None

    camera.interfere = lose_once
    accepted = farm.submit(step("move_to", pan=17))
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert len(lost) == 1
    assert farm.result(accepted.execution_id)["attempt"] == 2
    assert camera.heads[1].position()["pan"] == 17
