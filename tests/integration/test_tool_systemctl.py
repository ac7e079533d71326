"""systemctl on a host with a real systemd, over SSH, against units that the test plants."""

import secrets
import threading
import time
from dataclasses import replace

import pytest

from app.step import Secret, State
from app.undo import Done, Undo, plan_undo
from tests.lab.root_tree import PASSWORD
from tool_catalog.loader import load_catalog
from tool_catalog.model import Reason

pytestmark = pytest.mark.root

RUNS = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/touch {mark}\n"
WANTED = "[Install]\nWantedBy=multi-user.target\n"
BECOME = {"method": "sudo", "user": "root"}
TOOL = load_catalog().tools["systemctl"]


@pytest.fixture
def planted(systemd_host):
    """`planted("[Service]\\n...")`: the name of a new unit on the host, gone after the test."""
    names = []

    def plant(text, kind="service"):
        name = f"planted-{secrets.token_hex(4)}.{kind}"
        names.append(name)
        systemd_host.path(f"/etc/systemd/system/{name}").write_text(text)
        systemd_host.run("systemctl", "daemon-reload")
        return name

    yield plant
    for name in names:
        systemd_host.run("systemctl", "disable", "--now", name, check=False)
        systemd_host.path(f"/etc/systemd/system/{name}").unlink()
    systemd_host.run("systemctl", "daemon-reload")
    systemd_host.run("systemctl", "reset-failed")


@pytest.fixture
def run(bench, systemd_host):
    """`run("restart", unit)`: the result of a step that logs in as a user who may use sudo."""

    def call(operation, unit=None, *, credential=None, **members):
        given = members.pop("given", {}) | ({} if unit is None else {"unit": unit})
        login = credential or systemd_host.credential("deploy", become=BECOME)
        ran = bench.run(
            "systemctl", operation, given, target=systemd_host.target, credential=login, **members
        )
        return ran.result

    return call


def property_of(host, unit, name):
    return host.run("systemctl", "show", "--value", "-p", name, unit).strip()


def undone(operation, result, unit):
    done = Done(operation, {"unit": unit}, result.output, result.before, result.after)
    return plan_undo(TOOL, done)


@pytest.mark.proves("systemctl", "list")
def test_a_failed_unit_is_listed_among_the_failed_ones(run, planted, systemd_host):
    unit = planted("[Unit]\nDescription=Planted to fail\n[Service]\nExecStart=/bin/false\n")
    systemd_host.run("systemctl", "start", unit)
    until = time.monotonic() + 10
    while property_of(systemd_host, unit, "ActiveState") != "failed":
        assert time.monotonic() < until
    result = run("list", given={"state": "failed", "type": "service"})
    [row] = [row for row in result.output if row["unit"] == unit]
    assert row == {
        "unit": unit,
        "load": "loaded",
        "active": "failed",
        "sub": "failed",
        "description": "Planted to fail",
    }


@pytest.mark.proves("systemctl", "list_files")
def test_unit_files_tell_whether_they_are_enabled(run, planted):
    unit = planted(RUNS + WANTED)
    rows = run("list_files", given={"type": "service", "state": "disabled"}).output
    assert {"unit": unit, "state": "disabled", "preset": "enabled"} in rows
    assert run("list_files", given={"type": "path", "state": "disabled"}).output == []


@pytest.mark.proves("systemctl", "show")
def test_show_agrees_with_the_host(run, planted, systemd_host):
    unit = planted(RUNS)
    systemd_host.run("systemctl", "start", unit)
    shown = run("show", unit).output
    assert shown["MainPID"] == int(property_of(systemd_host, unit, "MainPID"))
    told = {name: shown[name] for name in ("Id", "LoadState", "ActiveState", "UnitFileState")}
    assert told == {
        "Id": unit,
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "static",
    }


@pytest.mark.proves("systemctl", "status")
def test_status_tells_the_log_and_counts_a_stopped_unit_as_an_answer(run, planted, systemd_host):
    unit = planted("[Service]\nType=oneshot\nExecStart=/bin/echo canary-4711\n")
    systemd_host.run("systemctl", "start", unit)
    result = run("status", unit, run_as="root", given={"lines": 20})
    assert (result.state, result.exit_code) == (State.SUCCEEDED, 3)
    assert "canary-4711" in result.output
    assert TOOL.operations["status"].sensitive


@pytest.mark.proves("systemctl", "restart")
def test_a_restart_is_proven_by_its_new_process(run, planted, systemd_host):
    unit = planted(RUNS)
    systemd_host.run("systemctl", "start", unit)
    first = int(property_of(systemd_host, unit, "MainPID"))
    result = run("restart", unit)
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    now = int(property_of(systemd_host, unit, "MainPID"))
    assert (result.before["MainPID"], result.after["MainPID"]) == (first, now)
    assert first != now


def test_a_restart_of_what_stays_not_up_is_not_verified(run, planted, monkeypatch):
    unit = planted("[Service]\nExecStart=/bin/sh -c 'exit 3'\n")
    verify = TOOL.operations["restart"].verify
    assert verify.within_s == 30
    result = run("restart", unit, timeout_s=5.0)
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_VERIFIED)
    assert result.after["ActiveState"] == "failed"


@pytest.mark.parametrize(
    "text",
    ["Type=oneshot\nExecStart=/bin/true", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true"],
)
def test_a_unit_that_runs_once_may_be_restarted(run, planted, text):
    result = run("restart", planted(f"[Service]\n{text}\n"))
    assert result.state is State.SUCCEEDED, result.summary


def test_a_unit_without_a_process_may_be_restarted(run, planted, systemd_host):
    unit = planted("[Timer]\nOnCalendar=hourly\nUnit=systemd-tmpfiles-clean.service\n", "timer")
    systemd_host.run("systemctl", "start", unit)
    result = run("restart", unit)
    assert result.state is State.SUCCEEDED, result.summary
    assert result.before["InvocationID"] != result.after["InvocationID"]


def test_a_job_that_fails_says_why(run, planted):
    unit = planted("[Service]\nType=oneshot\nExecStart=/bin/false\n")
    result = run("restart", unit)
    assert (result.state, result.reason) == (State.FAILED, Reason.EXIT_CODE)
    assert result.summary.startswith(f"{unit} failed: the control process exited with error code.")


@pytest.mark.proves("systemctl", "start")
@pytest.mark.proves("systemctl", "stop")
def test_start_and_stop_and_what_reverses_them(run, planted, systemd_host):
    unit = planted(RUNS)
    started = run("start", unit)
    assert (started.state, started.changed) == (State.SUCCEEDED, True)
    assert property_of(systemd_host, unit, "ActiveState") == "active"
    assert undone("start", started, unit) == Undo("stop", {"unit": unit})
    again = run("start", unit)
    assert (again.state, again.changed) == (State.SUCCEEDED, False)
    assert undone("start", again, unit) is None
    stopped = run("stop", unit)
    assert (stopped.before["ActiveState"], stopped.after["ActiveState"]) == ("active", "inactive")
    assert property_of(systemd_host, unit, "ActiveState") == "inactive"
    assert undone("stop", stopped, unit) == Undo("start", {"unit": unit})


@pytest.mark.proves("systemctl", "reload")
def test_reload_asks_the_service_itself(run, planted, systemd_host):
    mark = f"/tmp/{secrets.token_hex(4)}"
    unit = planted(RUNS.format(mark=mark))
    assert run("reload", unit).reason is Reason.CONFLICT
    systemd_host.run("systemctl", "start", unit)
    result = run("reload", unit)
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    assert systemd_host.run("ls", mark).strip() == mark
    refused = run("reload", "ssh.socket")
    assert refused.reason in {Reason.NOT_FOUND, Reason.REFUSED_BY_DEVICE}


@pytest.mark.proves("systemctl", "enable")
@pytest.mark.proves("systemctl", "disable")
def test_enable_and_disable_and_what_reverses_them(run, planted, systemd_host):
    unit = planted(RUNS + WANTED)
    enabled = run("enable", unit)
    assert (enabled.state, enabled.changed) == (State.SUCCEEDED, True)
    assert property_of(systemd_host, unit, "UnitFileState") == "enabled"
    assert undone("enable", enabled, unit) == Undo("disable", {"unit": unit})
    assert run("enable", unit).changed is False
    disabled = run("disable", unit)
    assert property_of(systemd_host, unit, "UnitFileState") == "disabled"
    assert undone("disable", disabled, unit) == Undo("enable", {"unit": unit})
    assert undone("disable", run("disable", unit), unit) is None


@pytest.mark.proves("systemctl", "daemon_reload")
def test_a_changed_unit_file_is_read_again(run, planted, systemd_host):
    unit = planted("[Unit]\nDescription=old\n" + RUNS)
    systemd_host.run("systemctl", "start", unit)
    path = systemd_host.path(f"/etc/systemd/system/{unit}")
    path.write_text("[Unit]\nDescription=new\n" + RUNS)
    assert run("show", unit).output["NeedDaemonReload"] is True
    assert run("daemon_reload").state is State.SUCCEEDED
    assert run("show", unit).output["NeedDaemonReload"] is False
    assert property_of(systemd_host, unit, "Description") == "new"


@pytest.mark.parametrize(
    "operation", ["show", "status", "restart", "start", "stop", "reload", "enable", "disable"]
)
def test_a_unit_that_is_not_there_is_not_found(bench, systemd_host, operation):
    login = systemd_host.credential("deploy", become=BECOME)
    given = {"unit": "no-such-unit.service"}
    ran = bench.run("systemctl", operation, given, target=systemd_host.target, credential=login)
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert ran.result.summary == "unit no-such-unit.service does not exist"
    assert ran.kept.armed == []


def test_without_a_way_to_become_root_nothing_is_armed(bench, systemd_host, planted):
    unit = planted(RUNS)
    login = systemd_host.credential("guest")
    ran = bench.run(
        "systemctl", "start", {"unit": unit}, target=systemd_host.target, credential=login
    )
    assert (ran.result.reason, ran.kept.armed) == (Reason.NO_PRIVILEGE, [])
    assert "logs in as guest and says no way to become another user" in ran.result.summary
    login = replace(login, become=BECOME)
    ran = bench.run(
        "systemctl", "start", {"unit": unit}, target=systemd_host.target, credential=login
    )
    assert (ran.result.reason, ran.kept.armed) == (Reason.NO_PRIVILEGE, [])
    assert "guest cannot become root on lab-01: sudo: a password is required" in ran.result.summary
    assert property_of(systemd_host, unit, "ActiveState") == "inactive"


@pytest.mark.parametrize(
    ("password", "reason"), [(PASSWORD, None), ("wrong-password", Reason.NO_PRIVILEGE)]
)
def test_sudo_gets_its_password_by_standard_input(bench, systemd_host, planted, password, reason):
    unit = planted(RUNS)
    login = systemd_host.credential("ops", become=BECOME, become_password=Secret(password))
    ran = bench.run(
        "systemctl", "start", {"unit": unit}, target=systemd_host.target, credential=login
    )
    assert ran.result.reason is reason, ran.result.summary
    assert len(ran.kept.armed) == (1 if reason is None else 0)
    assert password not in str(ran.result)


def test_where_systemd_does_not_run_it_says_so(bench, require_program):
    require_program("systemctl")
    ran = bench.run("systemctl", "list", {})
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.MISSING_PROGRAM)
    assert ran.result.summary == "systemd does not run on this host"


def test_a_restart_that_lost_its_connection_is_settled_by_the_unit_itself(
    bench, systemd_host, planted
):
    """A unit whose start takes a while and cuts every connection to its host meanwhile."""
    cut = "/bin/sh -c 'sleep 0.5; pkill -KILL -f \"[s]shd: deploy\"; sleep 0.5'"
    unit = planted(f"[Service]\nExecStartPre={cut}\nExecStart=/bin/sleep infinity\n")
    login = systemd_host.credential("deploy", become=BECOME)
    ran = bench.run(
        "systemctl", "restart", {"unit": unit}, target=systemd_host.target, credential=login
    )
    assert ran.result.state is State.SUCCEEDED, ran.result.summary
    assert ran.result.summary.startswith("no end was seen (the connection to lab-01")
    assert ran.result.unknown is False
    assert ran.result.after["MainPID"] == int(property_of(systemd_host, unit, "MainPID"))


def test_a_cancel_while_it_is_looked_for_ends_the_looking(bench, systemd_host, planted):
    unit = planted("[Service]\nExecStart=/bin/sh -c 'exit 3'\n")
    cancelled = threading.Event()
    login = systemd_host.credential("deploy", become=BECOME)
    timer = threading.Timer(2, cancelled.set)
    timer.start()
    began = time.monotonic()
    ran = bench.run(
        "systemctl",
        "restart",
        {"unit": unit},
        target=systemd_host.target,
        credential=login,
        cancelled=cancelled,
    )
    timer.join()
    assert (ran.result.state, ran.result.stopped) == (State.CANCELLED, "verified")
    assert "it has happened" in ran.result.summary
    assert time.monotonic() - began < 6
