"""nmap against ports that the test opens on loopback, and hosts that it makes."""

import socket
import threading
from contextlib import suppress

import pytest

from app.step import State
from tests.lab.network import in_own_network
from tool_catalog.model import Reason

BANNER = b"SSH-2.0-OpenSSH_9.7p1 Debian-5\r\n"


@pytest.fixture(autouse=True)
def _needs_nmap(require_program):
    require_program("nmap")


@pytest.fixture
def open_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    """A port that is ours and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def greeting_port():
    """A port that greets everybody as an SSH server of a known version."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _greet(server):
    while True:
        try:
            connection, _address = server.accept()
        except OSError:
            return
        # The scan itself connects and resets; only the probe after it listens.
        with connection, suppress(ConnectionError):
            connection.sendall(BANNER)


@pytest.mark.proves("nmap", "ports")
def test_open_and_closed_ports_are_told_apart(bench, open_port, closed_port):
    given = {"hosts": ["127.0.0.1"], "ports": f"{open_port},{closed_port}"}
    result = bench.run("nmap", "ports", given).result
    assert result.state is State.SUCCEEDED
    [host] = result.output["hosts"]
    states = {port["port"]: port["state"] for port in host["ports"]}
    assert (host["address"], states) == ("127.0.0.1", {open_port: "open", closed_port: "closed"})


def test_closed_ports_are_left_out_on_request(bench, open_port, closed_port):
    given = {"hosts": "127.0.0.1", "ports": f"{open_port},{closed_port}", "open_only": True}
    [host] = bench.run("nmap", "ports", given).result.output["hosts"]
    assert [port["port"] for port in host["ports"]] == [open_port]


@pytest.mark.root
@pytest.mark.proves("nmap", "hosts")
def test_a_sweep_finds_the_one_host_of_a_network(bench, require_root, require_program):
    result = in_own_network(
        lambda: bench.run("nmap", "hosts", {"network": "192.0.2.0/30"}),
        "link set lo up",
        "link add quiet0 type veth peer name quiet1",
        "address add 192.0.2.2/30 dev quiet0",
        "link set quiet0 up",
        "link set quiet1 up",
    ).result
    assert result.state is State.SUCCEEDED
    assert [host["address"] for host in result.output["hosts"]] == ["192.0.2.2"]
    assert (result.output["up"], result.output["total"]) == (1, 4)


@pytest.mark.proves("nmap", "services")
def test_a_service_is_named_with_its_version(bench, greeting_port):
    given = {"hosts": ["127.0.0.1"], "ports": greeting_port}
    result = bench.run("nmap", "services", given).result
    assert result.state is State.SUCCEEDED
    [host] = result.output["hosts"]
    [port] = host["ports"]
    assert (port["port"], port["service"], port["product"]) == (greeting_port, "ssh", "OpenSSH")
    assert "9.7p1" in port["version"]


@pytest.mark.parametrize("operation", ["ports", "hosts", "services"])
def test_a_name_without_an_address_is_not_found(bench, operation):
    result = bench.run("nmap", operation, {"hosts": ["nosuch.invalid"]}).result
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert result.summary == "the name nosuch.invalid has no address"
