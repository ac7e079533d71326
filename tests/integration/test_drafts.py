"""The drafts that the catalogue's form began with run as they stand, through the real runners."""

import secrets
import socket
from pathlib import Path

import pytest

from app.promises import check_promises
from app.step import State
from tests.lab.bench import ToolBench
from tests.unit.tool_catalog.test_loader import DRAFTS
from tool_catalog.loader import Catalog, load_tool


@pytest.fixture(scope="module")
def drafts():
    return Catalog({path.stem: load_tool(path) for path in sorted(DRAFTS.glob("*.yaml"))})


@pytest.fixture
def draft_bench(tmp_path, drafts):
    bench = ToolBench(tmp_path / "state", catalog=drafts)
    yield bench
    bench.close()


def test_their_links_and_expressions_are_sound(drafts):
    assert len(drafts.tools) == 5
    check_promises(drafts)


def test_df(draft_bench, tmp_path):
    given = {"path": str(tmp_path), "exclude_types": [], "local_only": False}
    result = draft_bench.run("df", "usage", given).result
    assert result.state is State.SUCCEEDED, result.summary
    assert Path(result.output[0]["mount"]).is_mount()


@pytest.mark.root
def test_tcpdump_from_the_interface_to_the_lines_of_the_capture(
    draft_bench, require_root, require_program, tmp_path
):
    require_program("tcpdump")
    names = {row["name"] for row in draft_bench.run("tcpdump", "interfaces", {}).result.output}
    assert "lo" in names
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        given = {"interface": "lo", "filter": f"udp port {port}", "duration_s": 1}
        ran = draft_bench.run("tcpdump", "capture", given)
    assert ran.result.state is State.SUCCEEDED, ran.result.summary
    assert ran.result.output["captured"] == "0"
    capture = tmp_path / "kept.pcap"
    capture.write_bytes(ran.kept.files[ran.result.output["artifact"]])
    given = {"capture": {"$artifact": "kept"}, "packets": 5}
    read = draft_bench.run("tcpdump", "read", given, artifacts={"kept": capture}).result
    assert (read.state, read.output) == (State.SUCCEEDED, "")


@pytest.mark.root
def test_systemctl_restarts_a_planted_unit(draft_bench, systemd_host):
    unit = f"planted-{secrets.token_hex(4)}.service"
    path = systemd_host.path(f"/etc/systemd/system/{unit}")
    path.write_text("[Service]\nExecStart=/bin/sleep infinity\n")
    systemd_host.run("systemctl", "daemon-reload")
    login = systemd_host.credential("deploy", become={"method": "sudo", "user": "root"})

    def run(operation, **given):
        return draft_bench.run(
            "systemctl", operation, given, target=systemd_host.target, credential=login
        ).result

    try:
        assert run("start", unit=unit).changed is True
        restarted = run("restart", unit=unit)
        assert restarted.state is State.SUCCEEDED, restarted.summary
        assert restarted.before["MainPID"] != restarted.after["MainPID"]
        assert unit in {row["unit"] for row in run("list", type="service").output}
        assert run("stop", unit=unit).after["ActiveState"] == "inactive"
    finally:
        systemd_host.run("systemctl", "stop", unit, check=False)
        path.unlink()
        systemd_host.run("systemctl", "daemon-reload")
