"""axis-vapix-device-info against the camera double: its wire is real, its world is made up."""

import json

import pytest

from app.step import State
from tests.lab.bench import ToolBench
from tests.lab.camera import Camera
from tests.lab.receivers import Reply
from tool_catalog.model import Reason

TOOL = "axis-vapix-device-info"


@pytest.fixture
def camera():
    with Camera() as camera:
        camera.properties |= {"SerialNumber": "ACCC8E4711AB", "Version": "12.4.99"}
        yield camera


@pytest.fixture
def ask(tmp_path, camera):
    """`ask(operation, parameters)`: the result, as the camera's operator unless told otherwise."""
    bench = ToolBench(tmp_path)

    def run(operation, given=None, **members):
        members = {"target": camera.target(), "credential": camera.credential("guard"), **members}
        return bench.run(TOOL, operation, given or {}, **members).result

    yield run
    bench.close()


@pytest.mark.proves("axis-vapix-device-info", "properties")
def test_what_the_camera_is(ask):
    result = ask("properties")
    assert result.state is State.SUCCEEDED, result.summary
    assert result.output["serial"] == "ACCC8E4711AB"
    assert result.output["firmware"] == "12.4.99"
    assert result.output["model"] == "P0000-LE"
    assert result.output["all"]["HardwareID"] == "9A1"
    assert result.changed is False


def test_properties_are_for_operators(ask, camera):
    result = ask("properties", credential=camera.credential("visitor"))
    assert (result.state, result.reason) == (State.FAILED, Reason.NO_PRIVILEGE)
    assert "it takes an operator" in result.summary


@pytest.mark.proves("axis-vapix-device-info", "identify")
def test_brand_and_model_need_no_login(ask):
    result = ask("identify", credential=None)
    assert result.output == {
        "brand": "AXIS",
        "model": "P0000-LE",
        "name": "AXIS P0000-LE Test Camera",
        "type": "PTZ Camera",
    }


@pytest.mark.proves("axis-vapix-device-info", "read")
def test_properties_by_name(ask):
    result = ask("read", {"names": ["Version", "SerialNumber"]})
    assert result.output == {"properties": {"Version": "12.4.99", "SerialNumber": "ACCC8E4711AB"}}


def test_a_property_that_is_not_known(ask):
    result = ask("read", {"names": ["Colour"]})
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert result.summary == "the device refused (code 1000): Property not supported: Colour"


@pytest.mark.proves("axis-vapix-device-info", "apis")
def test_the_apis_of_the_camera(ask):
    apis = ask("apis", credential=None).output["apis"]
    assert {"api-discovery", "ptz-control"} < {api["id"] for api in apis}
    [ptz] = ask("apis", {"id": "ptz*"}).output["apis"]
    assert (ptz["id"], ptz["version"], ptz["status"]) == ("ptz-control", "1.0", "official")
    assert ask("apis", {"id": "no-such"}).output["apis"] == []


@pytest.mark.proves("axis-vapix-device-info", "parameters")
def test_parameters_of_a_group(ask, camera):
    camera.parameters["Network.HostName"] = "cam=planted"
    assert ask("parameters", {"group": "Network"}).output == {
        "root.Network.HostName": "cam=planted"
    }
    assert ask("parameters", {"group": "Properties.*.Version"}).output == {
        "root.Properties.Firmware.Version": "11.11.73"
    }


def test_a_group_that_is_not_there(ask):
    result = ask("parameters", {"group": "Nothing"})
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert "getting param in group 'Nothing'" in result.summary


def test_an_error_that_is_written_in_another_order_is_one(ask, camera):
    body = {"error": {"message": "no", "code": 8000}, "apiVersion": "1.3"}
    camera.interfere = lambda _request: Reply(200, json.dumps(body).encode())
    result = ask("properties")
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)


def test_a_camera_without_the_api(ask, camera):
    camera.interfere = lambda _request: Reply(404, b"<html><h1>404 Not Found</h1></html>")
    result = ask("apis")
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)


def test_a_wrong_password(ask, camera):
    result = ask("properties", credential=camera.credential("guard", "wr0ng"))
    assert (result.state, result.reason) == (State.FAILED, Reason.AUTH_FAILED)
    assert "wr0ng" not in result.summary
