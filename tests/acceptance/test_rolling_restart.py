"""A rolling restart of a real service on four real hosts, two at a time, as an operator runs it."""

import json

import pytest

from tests.lab.real_farm import RealFarm, Servers

pytestmark = pytest.mark.slow

PLAN = """
name: rolling-restart
run_as: root
steps:
  - targets: {tags: {role: web}}
    batch: 2
    steps:
      - {tool: systemctl, operation: restart, id: restarted, parameters: {unit: web.service}}
      - {tool: systemctl, operation: show, id: checked, parameters: {unit: web.service}}
finally:
  - {tool: systemctl, operation: show, id: after, targets: {tags: {role: web}},
     parameters: {unit: web.service}}
"""
WORKS = "[Service]\nExecStart=/bin/sleep infinity\n"
BROKEN = "[Service]\nExecStartPre=/bin/false\n"
DROP_IN = "/run/systemd/system/web.service.d/broken.conf"


@pytest.fixture(scope="module")
def hosts(make_module_hosts):
    """Four hosts that serve, the second of which cannot start its service again."""
    hosts = make_module_hosts(4)
    for host in hosts:
        host.path("/etc/systemd/system/web.service").write_text(WORKS)
        host.run("systemctl", "start", "web.service")
    return hosts


@pytest.fixture(scope="module")
def farm(server_folder, hosts):
    processes = ("api", "dispatcher", "asset", "automation")
    with (
        Servers(server_folder / "rolling") as servers,
        RealFarm(servers, server_folder / "rolling-farm", *processes) as farm,
    ):
        for host in hosts:
            login = host.credential("deploy", become={"method": "sudo", "user": "root"})
            farm.enter(host.target, login, tags={"role": "web"})
        yield farm
        assert farm.tracebacks() == []


@pytest.fixture
def run(farm, tmp_path):
    """`run()`: exit status and execution of `opsfarm plan run`."""

    def call():
        file = tmp_path / "rolling.yaml"
        file.write_text(PLAN)
        process = farm.opsfarm("plan", "run", str(file), "--json")
        out, err = process.communicate(timeout=90)
        assert out, err
        return process.returncode, json.loads(out)

    return call


def ask(host, name):
    return host.run("systemctl", "show", "--value", f"--property={name}", "web.service").strip()


def started(host):
    """When its service started, in microseconds of the clock that all hosts share."""
    return int(ask(host, "ActiveEnterTimestampMonotonic"))


def states(execution, key):
    [step] = [step for step in execution["steps"] if step["id"] == key]
    return {row["target"]: row["state"] for row in step["results"]}


def test_a_host_that_fails_stops_it_before_the_next_batch(run, hosts):
    broken = hosts[1]
    broken.path(DROP_IN).parent.mkdir()
    broken.path(DROP_IN).write_text(BROKEN)
    broken.run("systemctl", "daemon-reload")
    before = [ask(host, "InvocationID") for host in hosts]
    status, execution = run()
    assert (status != 0, execution["state"]) == (True, "failed")
    assert states(execution, "restarted") == {
        "web-01": "succeeded",
        "web-02": "failed",
        "web-03": "skipped",
        "web-04": "skipped",
    }
    assert [ask(host, "ActiveState") for host in hosts] == ["active", "failed", "active", "active"]
    after = [ask(host, "InvocationID") for host in hosts]
    assert after[0] != before[0]
    assert after[2:] == before[2:]
    assert set(states(execution, "after").values()) == {"succeeded"}


def test_mended_each_batch_is_done_before_the_next_begins(run, hosts):
    hosts[1].path(DROP_IN).unlink()
    hosts[1].run("systemctl", "daemon-reload")
    before = [ask(host, "InvocationID") for host in hosts]
    status, execution = run()
    assert (status, execution["state"]) == (0, "succeeded")
    assert set(states(execution, "restarted").values()) == {"succeeded"}
    assert all(ask(host, "InvocationID") != old for host, old in zip(hosts, before, strict=True))
    times = [started(host) for host in hosts]
    assert max(times[:2]) < min(times[2:])
