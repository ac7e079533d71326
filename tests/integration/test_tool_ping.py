"""ping against loopback and against a network of the test's own."""

import pytest

from app.step import State
from tests.lab.network import in_own_network
from tool_catalog.model import Reason

#: Any address of 127.0.0.0/8 is ours; this one is nobody's default.
PLANTED = "127.83.11.7"
#: A link on which nobody answers.
SILENT_LINK = (
    "link add silent0 type veth peer name silent1",
    "address add 192.0.2.1/24 dev silent0",
    "link set silent0 up",
    "link set silent1 up",
)


@pytest.mark.proves("ping", "probe")
def test_loopback_answers_each_request(bench, require_program):
    require_program("ping")
    result = bench.run("ping", "probe", {"host": PLANTED, "count": 3, "interval_s": 0.2}).result
    assert result.state is State.SUCCEEDED
    output = result.output
    assert (output["packets_transmitted"], output["packets_received"]) == (3, 3)
    assert output["packet_loss_percent"] == 0
    assert {answer["response_ip"] for answer in output["responses"]} == {PLANTED}
    assert 0 < output["round_trip_ms_min"] <= output["round_trip_ms_max"]


def test_a_name_without_an_address_is_not_found(bench, require_program):
    require_program("ping")
    result = bench.run("ping", "probe", {"host": "nosuch.invalid"}).result
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert "nosuch.invalid" in result.summary


@pytest.mark.root
def test_a_host_that_is_silent_is_unreachable(bench, require_root, require_program):
    require_program("ping")
    given = {"host": "192.0.2.8", "count": 1, "wait_s": 1}
    result = in_own_network(lambda: bench.run("ping", "probe", given), *SILENT_LINK).result
    assert (result.state, result.reason) == (State.FAILED, Reason.UNREACHABLE)
    assert result.summary == "192.0.2.8 did not answer"


@pytest.mark.root
def test_without_a_route_a_host_is_unreachable(bench, require_root, require_program):
    require_program("ping")
    given = {"host": "198.51.100.1", "count": 1}
    result = in_own_network(lambda: bench.run("ping", "probe", given), *SILENT_LINK).result
    assert (result.state, result.reason) == (State.FAILED, Reason.UNREACHABLE)
    assert result.summary == "no route to 198.51.100.1"
