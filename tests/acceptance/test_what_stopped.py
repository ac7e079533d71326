"""What an operator does when something stopped halfway, from the command line, on a real host."""

import json
import re

import pytest

from tests.lab.real_farm import RealFarm, Servers
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

#: A service whose start and reload take their time, so that a worker can be lost in the middle.
SLOW = """[Service]
ExecStartPre=/bin/sleep 4
ExecStart=/bin/sleep infinity
ExecReload=/bin/sleep 4
"""
QUICK = "[Service]\nExecStart=/bin/sleep infinity\n"
RESTART = """
name: restart
run_as: root
steps:
  - {tool: systemctl, operation: restart, id: restarted, targets: HOST,
     parameters: {unit: slow.service}}
  - {tool: systemctl, operation: show, id: after, targets: HOST, parameters: {unit: slow.service}}
"""
RELOAD = RESTART.replace("restart", "reload")
UNDO = """
name: mend
run_as: root
targets: HOST
steps:
  - {tool: systemctl, operation: stop, id: quiet, confirm: HOST, parameters: {unit: quick.service}}
  - {tool: chmod, operation: set, id: closed, parameters: {path: /etc/motd, mode: '0600'}}
  - {tool: systemctl, operation: restart, id: gone, on_failure: undo,
     parameters: {unit: no-such.service}}
finally:
  - {tool: systemctl, operation: show, id: after, parameters: {unit: quick.service}}
"""


@pytest.fixture(scope="module")
def host(make_module_hosts):
    [host] = make_module_hosts(1)
    for name, text in (("slow", SLOW), ("quick", QUICK)):
        host.path(f"/etc/systemd/system/{name}.service").write_text(text)
    host.run("systemctl", "start", "slow.service", "quick.service")
    host.path("/etc/motd").touch()
    host.path("/etc/motd").chmod(0o644)
    return host


@pytest.fixture(scope="module")
def farm(server_folder, host):
    with (
        Servers(server_folder / "stopped") as servers,
        RealFarm(
            servers,
            server_folder / "stopped-farm",
            *("api", "dispatcher", "asset", "automation"),
        ) as farm,
    ):
        login = host.credential("deploy", become={"method": "sudo", "user": "root"})
        farm.enter(host.target, login)
        yield farm


@pytest.fixture
def opsfarm(farm):
    """`opsfarm("executions", ...)`: exit status, standard output and standard error."""

    def run(*argv):
        process = farm.opsfarm(*argv)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    return run


def write(tmp_path, text, host):
    file = tmp_path / "plan.yaml"
    file.write_text(text.replace("HOST", host.target.name))
    return str(file)


def show(opsfarm, execution_id):
    return opsfarm("executions", "show", execution_id, "--json")[1]


def invocation_of(host):
    shown = host.run("systemctl", "show", "--value", "--property=InvocationID", "slow.service")
    return shown.strip()


def state_of(host, unit):
    return host.run("systemctl", "show", "--value", "--property=ActiveState", unit).strip()


def lose_worker(farm, host, plan, state):
    """Kill the worker once the service is in this state: what the operator who runs it reads."""
    running = farm.opsfarm("plan", "run", plan)
    wait_until(lambda: state_of(host, "slow.service") == state, "it has begun")
    farm.kill("automation")
    _, err = running.communicate(timeout=90)
    assert running.returncode == 3, err
    assert "interrupted (worker_lost)" in err
    assert "needs a person: attention" in err
    assert "may have acted: since 20" in err
    return err


def test_a_worker_killed_in_a_restart_is_settled_by_its_probe(farm, host, opsfarm, tmp_path):
    before = invocation_of(host)
    err = lose_worker(farm, host, write(tmp_path, RESTART, host), "activating")
    assert "its probe:      " in err
    assert "what its probe finds settles it" in err
    [execution_id] = set(re.findall(r"executions resolve ([0-9a-f-]{36}) restarted", err))
    locked = json.loads(opsfarm("locks", "--json")[1])
    assert [lock["held_by"]["step"] for lock in locked] == ["restarted"]
    farm.start("automation")
    watched = farm.opsfarm("executions", "watch", execution_id)  # ends while it needs attention
    watched.communicate(timeout=90)
    wait_until(lambda: json.loads(show(opsfarm, execution_id))["state"] == "succeeded", "settled")
    execution = json.loads(show(opsfarm, execution_id))
    [row] = execution["steps"][0]["results"]
    assert (row["reason"], row["attempt"], row["changed"]) == ("resolved", 1, True)
    assert row["before"]["InvocationID"] == before
    assert row["after"]["InvocationID"] == invocation_of(host) != before
    status, _, err = opsfarm("executions", "resolve", execution_id, "restarted", "--as", "probe")
    assert (status, "is succeeded; only an interrupted step" in err) == (2, True), err


def test_a_worker_killed_in_a_reload_leaves_it_to_the_operator(farm, host, opsfarm, tmp_path):
    err = lose_worker(farm, host, write(tmp_path, RELOAD, host), "reloading")
    assert "its probe:" not in err
    assert "look at the target, then say how it ended" in err
    [execution_id] = set(re.findall(r"executions resolve ([0-9a-f-]{36}) reloaded", err))
    assert f"opsfarm executions resolve {execution_id} reloaded --as retry --reason TEXT" in err
    listed = json.loads(opsfarm("deadletter", "list", "--tool", "systemctl", "--json")[1])
    [letter] = listed["letters"]
    assert (letter["state"], letter["target"]) == ("interrupted", host.target.name)
    status, _, err = opsfarm("executions", "resume", execution_id)
    assert (status, "it is attention" in err) == (2, True), err
    farm.start("automation")
    resolve = ("executions", "resolve", execution_id, "reloaded")
    status, _, err = opsfarm(*resolve, "--as", "probe")
    assert (status, "its operation has no probe" in err) == (2, True), err
    status, _, err = opsfarm(*resolve, "--as", "retry", "--reason", "once more")
    assert (status, f"execution {execution_id}: running" in err) == (0, True), err
    status, _, err = opsfarm("executions", "watch", execution_id)
    assert status == 0, err
    assert state_of(host, "slow.service") == "active"
    status, _, err = opsfarm(*resolve, "--as", "failed", "--reason", "once more")
    assert (status, "is succeeded; only an interrupted step" in err) == (2, True), err
    history = opsfarm("deadletter", "show", str(letter["step_id"]))[1]
    assert re.search(r"step\.queued by operator-\w+  once more", history), history


def test_a_plan_that_fails_puts_a_service_and_a_mode_back(host, opsfarm, tmp_path):
    plan = write(tmp_path, UNDO, host)
    status, out, err = opsfarm("plan", "run", plan, "--reason", "a test", "--json")
    assert status == 1, err
    execution = json.loads(out)
    states = {step["id"]: (step["section"], step["state"]) for step in execution["steps"]}
    assert states == {
        "quiet": ("main", "succeeded"),
        "closed": ("main", "succeeded"),
        "gone": ("main", "failed"),
        "after": ("finally", "succeeded"),
        "undo:closed": ("undo", "succeeded"),
        "undo:quiet": ("undo", "succeeded"),
    }
    assert state_of(host, "quick.service") == "active"
    assert host.path("/etc/motd").stat().st_mode & 0o777 == 0o644
    # `finally` looked after the reversal.
    [after] = [step for step in execution["steps"] if step["id"] == "after"]
    assert after["output"]["ActiveState"] == "active"
