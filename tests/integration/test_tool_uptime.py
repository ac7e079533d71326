"""uptime on this host and on a host of the lab, whose users and time zone the test planted."""

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.step import State
from tool_catalog.model import Reason

#: utmp(5): type, pid, line, id, user, host, exit, session, seconds, microseconds, address, unused.
_SESSION = "hxxi32s4s32s256shhiii4i20x"
_USER_PROCESS = 7


@pytest.fixture
def host(make_systemd_hosts, require_program):
    """A host of this test's own: it is tampered with."""
    require_program("uptime")
    return make_systemd_hosts(1)[0]


@pytest.fixture
def on_host(bench, host):
    """`on_host("load")`: the result of an operation there."""
    there = {"target": host.target, "credential": host.credential("ops")}
    return lambda operation: bench.run("uptime", operation, {}, **there).result


def sessions(*users):
    """The file that tells who is logged in."""
    nobody = (0, 0, 0, 0, 0, 0, 0, 0, 0)
    return b"".join(
        struct.pack(_SESSION, _USER_PROCESS, 1, b"tty", b"p", user.encode(), b"", *nobody)
        for user in users
    )


def booted_at():
    """When the kernel says that it booted."""
    [line] = [line for line in Path("/proc/stat").read_text().splitlines() if "btime" in line]
    return datetime.fromtimestamp(int(line.split()[1]), UTC)


def test_this_host_agrees_with_its_kernel(bench, require_program):
    require_program("uptime")
    result = bench.run("uptime", "load", {}).result
    assert result.state is State.SUCCEEDED, result.summary
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 <= up_s - result.output["up_s"] <= 120  # it tells minutes
    assert all(result.output[f"load_{minutes}m"] >= 0 for minutes in (1, 5, 15))


@pytest.mark.root
@pytest.mark.proves("uptime", "load")
def test_planted_users_are_counted(on_host, host):
    host.path("/run/utmp").write_bytes(sessions("ada", "grace", "edsger"))
    result = on_host("load")
    assert result.state is State.SUCCEEDED, result.summary
    assert result.output["users"] == 3
    host.path("/run/utmp").write_bytes(b"")
    assert on_host("load").output["users"] == 0


@pytest.mark.root
@pytest.mark.proves("uptime", "since")
def test_the_time_is_utc_wherever_the_host_is(on_host, host):
    host.run("ln", "--symbolic", "--force", "/usr/share/zoneinfo/Asia/Tokyo", "/etc/localtime")
    assert "JST" in host.run("date")
    [row] = on_host("since").output
    told = datetime.fromisoformat(row["booted_at"])
    assert abs(told - booted_at()) <= timedelta(seconds=2)


@pytest.mark.root
@pytest.mark.parametrize("operation", ["load", "since"])
def test_a_host_without_its_proc_file_says_so(on_host, host, operation):
    host.run("mount", "--bind", "/dev/null", "/proc/uptime")
    result = on_host(operation)
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert "is /proc mounted there?" in result.summary
