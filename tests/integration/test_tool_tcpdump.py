"""tcpdump against packets that the test sends, and a capture that it writes."""

import socket
import struct

import pytest

from app.step import State
from tests.lab.network import in_own_network
from tool_catalog.model import Reason

PAYLOAD = b"planted by the test of opsfarm"


@pytest.fixture(autouse=True)
def _needs_tcpdump(require_root, require_program):
    require_program("tcpdump")


@pytest.fixture
def nobodys_port():
    """A UDP port that is ours: what is sent there comes from us."""
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def send_once_listening(port, times=1):
    """A line sink that sends packets as soon as tcpdump says that it listens."""

    def on_line(_stream, line):
        if "listening on" in line:
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                for _ in range(times):
                    sender.sendto(PAYLOAD, ("127.0.0.1", port))

    return on_line


def udp_capture(path, source_port, target_port):
    """A pcap file (link type 101: raw IP) with one UDP packet from 192.0.2.55 to 192.0.2.66."""
    udp = struct.pack("!HHHH", source_port, target_port, 8 + len(PAYLOAD), 0) + PAYLOAD
    addresses = socket.inet_aton("192.0.2.55") + socket.inet_aton("192.0.2.66")
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses + udp
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    record = struct.pack("<IIII", 1_700_000_000, 0, len(packet), len(packet))
    path.write_bytes(header + record + packet)
    return path


@pytest.mark.root
@pytest.mark.proves("tcpdump", "interfaces")
def test_an_interface_that_was_made_is_listed(bench):
    made = "link add planted0 type veth peer name planted1"
    result = in_own_network(lambda: bench.run("tcpdump", "interfaces", {}), made).result
    assert result.state is State.SUCCEEDED
    assert "planted0" in {row["name"] for row in result.output}


@pytest.mark.root
@pytest.mark.proves("tcpdump", "capture")
def test_a_packet_that_was_sent_is_in_the_artifact(bench, nobodys_port):
    given = {"interface": "lo", "filter": f"udp port {nobodys_port}", "packets": 1}
    ran = bench.run("tcpdump", "capture", given, on_line=send_once_listening(nobodys_port))
    assert ran.result.state is State.SUCCEEDED
    assert ran.result.output["captured"] == 1
    [capture] = ran.kept.files.values()
    assert PAYLOAD in capture


@pytest.mark.root
def test_a_capture_ends_after_its_time_without_a_packet(bench, nobodys_port):
    given = {"interface": "lo", "filter": f"udp port {nobodys_port}", "duration_s": 1}
    result = bench.run("tcpdump", "capture", given).result
    assert result.state is State.SUCCEEDED
    assert result.duration_s >= 1
    assert result.output["captured"] == 0


@pytest.mark.root
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"interface": "lo", "filter": "tcp prot 1"}, "syntax error"),
        ({"interface": "nosuch0"}, "No such device exists"),
    ],
)
def test_a_bad_filter_or_interface_is_told_before_anything_starts(bench, given, words):
    ran = bench.run("tcpdump", "capture", given)
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.CHECK_FAILED)
    assert words in ran.result.summary
    assert ran.kept.armed == []


@pytest.mark.proves("tcpdump", "read")
def test_each_packet_of_a_capture_is_a_line(bench, tmp_path):
    capture = udp_capture(tmp_path / "planted.pcap", 4321, 8765)
    given = {"capture": {"$artifact": "planted"}, "filter": "udp"}
    result = bench.run("tcpdump", "read", given, artifacts={"planted": capture}).result
    assert result.state is State.SUCCEEDED
    [line] = result.output.splitlines()
    assert line.startswith("1700000000.000000 IP 192.0.2.55.4321 > 192.0.2.66.8765: UDP")


def test_what_is_no_capture_is_told(bench, tmp_path):
    other = tmp_path / "other.pcap"
    other.write_text("this is a text, however it is called")
    given = {"capture": {"$artifact": "other"}}
    result = bench.run("tcpdump", "read", given, artifacts={"other": other}).result
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_OUTPUT)
