"""What stands around an effect, through real processes and the ledger: reads, proof, evidence."""

import json

import pytest
from sqlalchemy.orm import Session

from app.errors import PlanRejected
from app.step import State
from app.store.inventory import create_asset
from tests.lab.farm import TENANT, Farm
from tests.lab.running import is_alive

SWITCH = """
summary: A switch in a file
execution_location: automation-service
default: look
parameters:
  file: {type: path, required: true, example: /tmp/x}
  to: {type: string, required: true, example: up}
errors:
  - {match: 'No such file', reason: not_found, say: 'there is no switch {file}'}
operations:
  look:
    summary: How it stands
    effect: read
    takes: [file]
    argv: [cat, {operands: file}]
    output: {parser: json, fields: {state: text, password: text}}
    examples: [{parameters: {file: /tmp/x}}]
  turn:
    summary: Turn it, and look for it
    effect: change
    repeat: probe
    takes: [file, to]
    parameters: {script: {type: string, required: true, example: "true"}}
    before: look
    argv: [sh, -c, '{script}', sh, '{file}', '{to}']
    verify: {operation: look, until: output.state == parameters.to, within_s: 2}
    undo: {operation: turn, with: {to: '{before.state}', script: "true"}}
    examples: [{parameters: {file: /tmp/x, to: up, script: "true"}}]
"""
WRITE = """printf '{"state": "%s"}' "$2" > "$1" """
SLOW = f"{WRITE}; echo $$ > $1.pid; sleep 60"


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "switch.yaml").write_text(SWITCH)
    farm = Farm(database_url, redis_server, tmp_path, OPSFARM_REAP_S="6")
    farm.start("dispatcher")
    yield farm
    farm.close()


@pytest.fixture
def switch(tmp_path):
    path = tmp_path / "switch.json"
    path.write_text(json.dumps({"state": "down", "password": "hunter2"}))
    return path


def turn(switch, script, **members):
    given = {"file": str(switch), "to": "up", "script": script}
    return {
        "tool": "switch",
        "operation": "turn",
        "parameters": given,
        "targets": "local",
        **members,
    }


def test_before_after_and_changed_are_in_the_ledger(farm, switch):
    farm.start("automation")
    after = {
        "tool": "script",
        "parameters": {"script": "echo {{ steps.switch.results[0].before.state }}"},
    }
    accepted = farm.submit(turn(switch, WRITE), after)
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    row = farm.result(accepted.execution_id)
    assert (row["before"], row["after"], row["changed"]) == (
        {"state": "down", "password": "***"},
        {"state": "up", "password": None},
        True,
    )
    assert farm.result(accepted.execution_id, 1)["output"] == "down\n"


def test_an_effect_that_does_not_come_is_not_verified(farm, switch):
    farm.start("automation")
    accepted = farm.submit(turn(switch, "true"))
    farm.wait_for(accepted.execution_id)
    row = farm.result(accepted.execution_id)
    assert (row["state"], row["reason"]) == ("failed", "not_verified")
    assert "last seen: state down" in row["summary"]
    assert "hunter2" not in json.dumps(row)


def test_a_read_that_fails_before_arms_nothing(farm, tmp_path):
    farm.start("automation")
    accepted = farm.submit(turn(tmp_path / "missing", WRITE))
    farm.wait_for(accepted.execution_id)
    row = farm.result(accepted.execution_id)
    assert (row["state"], row["reason"]) == ("failed", "not_found")
    assert farm.parts.records._read("select armed from steps") == [{"armed": None}]


@pytest.mark.parametrize(
    ("script", "state", "reason"),
    [(SLOW, State.SUCCEEDED, None), ("sleep 60", State.FAILED, "not_verified")],
)
def test_a_time_out_is_settled_by_evidence(farm, switch, script, state, reason):
    farm.start("automation")
    accepted = farm.submit(turn(switch, script, timeout_s=1))
    farm.wait_for(accepted.execution_id)
    row = farm.result(accepted.execution_id)
    assert (row["state"], row["reason"]) == (state, reason), row["summary"]


def test_what_was_before_outlives_the_worker(farm, switch, tmp_path):
    worker = farm.start("automation")
    accepted = farm.submit(turn(switch, SLOW))
    [pid] = farm.wait_for_lines(tmp_path / "switch.json.pid")
    worker.kill()
    farm.wait_until(lambda: not is_alive(pid))
    farm.wait_for(accepted.execution_id, "attention")
    row = farm.result(accepted.execution_id)
    assert (row["state"], row["reason"]) == ("interrupted", "worker_lost")
    assert row["before"] == {"state": "down", "password": "***"}


def test_output_that_is_too_long_is_an_artifact_of_the_step(farm):
    farm.start("automation")
    script = "seq -f 'line %06g token=s3cret-value' 20000"
    accepted = farm.submit({"tool": "script", "parameters": {"script": script}})
    farm.wait_for(accepted.execution_id)
    row = farm.result(accepted.execution_id)
    assert (row["state"], row["truncated"]) == ("succeeded", True)
    assert len(row["output"]) <= 256 * 1024
    [artifact] = row["artifacts"]
    assert artifact["id"] in row["summary"]
    kept = farm.parts.artifacts.fetch("default", artifact["id"]).read_text()
    assert len(kept.splitlines()) == 20000
    assert kept.endswith("line 020000 token=***\n")
    assert "s3cret" not in kept + json.dumps(row)
    [scratch] = (farm.settings.state_dir / "run").iterdir()
    assert list(scratch.iterdir()) == []


def test_a_step_runs_as_whom_it_names(farm, require_root):
    farm.start("automation")
    accepted = farm.submit(
        {"tool": "script", "parameters": {"script": "id -un"}, "run_as": "daemon"},
        {"tool": "script", "id": "b", "parameters": {"script": "id -un"}},
        {"tool": "script", "id": "c", "run_as": "nobody-here", "parameters": {"script": "id -un"}},
    )
    execution = farm.wait_for(accepted.execution_id)
    assert [step["run_as"] for step in execution["steps"]] == ["daemon", None, "nobody-here"]
    rows = [step["results"][0] for step in execution["steps"]]
    assert [row["output"] for row in rows] == ["daemon\n", "root\n", None]
    assert rows[2]["reason"] == "no_privilege"


@pytest.fixture
def web(farm, systemd_host):
    """A host with a real systemd in the inventory: `web("deploy")` gives it that login."""
    with Session(farm.parts.engine) as session:
        session.info["tenant"] = TENANT
        create_asset(session, {**systemd_host.asset, "ip_address": systemd_host.address})
        session.commit()

    def log_in(user, **members):
        login = systemd_host.credential(user, **members)
        farm.parts.vault.put_credential(TENANT, "lab", login, systemd_host.name)

    return log_in


def restart(unit, host):
    given = {"unit": unit}
    return {"tool": "systemctl", "operation": "restart", "parameters": given, "targets": host}


@pytest.mark.root
def test_a_service_is_restarted_as_root_by_a_login_that_is_not(farm, web, systemd_host):
    farm.start("automation")
    web("deploy", become={"method": "sudo", "user": "root"})
    accepted = farm.submit(restart("cron.service", systemd_host.name))
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    row = farm.result(accepted.execution_id)
    pid = systemd_host.run("systemctl", "show", "--value", "-p", "MainPID", "cron.service")
    assert row["before"]["MainPID"] != row["after"]["MainPID"] == int(pid)


@pytest.mark.root
def test_a_login_that_cannot_become_root_is_refused_at_submit(farm, web, systemd_host):
    web("guest")
    with pytest.raises(PlanRejected) as refused:
        farm.submit(restart("cron.service", systemd_host.name))
    (fault,) = refused.value.faults
    assert (fault.path, fault.code) == ("steps[0].operation", "no_privilege")
    assert "credential lab of lab-01 logs in as guest" in fault.message
