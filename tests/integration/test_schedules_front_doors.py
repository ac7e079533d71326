"""Schedules through the real API and the real command line."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import requests

from app.admin.servers import find_free_port
from app.config import read_settings
from app.parts import build_parts
from app.principal import Role

PROJECT = Path(__file__).parents[2]
PLAN = {"name": "probe", "steps": [{"tool": "df", "parameters": {"path": "/"}}]}


class Farm:
    """A running API, keys of each role, and `opsfarm` in a folder of its own."""

    def __init__(self, url, keys, folder):
        self.url = url
        self.keys = keys
        self.folder = folder

    def ask(self, method, path, body=None, role="operator"):
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=30)

    def run(self, *argv, text=None):
        env = os.environ | {"OPSFARM_API_URL": self.url, "OPSFARM_API_KEY": self.keys["operator"]}
        return subprocess.run(
            [sys.executable, "-c", "from app.cli.main import main; main()", *argv],
            cwd=self.folder,
            env=env,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def farm(database_url, redis_server, tmp_path, monkeypatch):
    port = find_free_port()
    for name, value in {
        "OPSFARM_DATABASE_URL": database_url,
        "OPSFARM_BROKER_URL": redis_server,
        "OPSFARM_QUEUE_PREFIX": f"{secrets.token_hex(4)}.",
        "OPSFARM_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "OPSFARM_STATE_DIR": str(tmp_path / "state"),
        "OPSFARM_API_PORT": str(port),
        "PYTHONPATH": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    parts = build_parts(read_settings())
    keys = {
        role: parts.principals.add("default", role, Role(role))[1]
        for role in ("operator", "viewer")
    }
    parts.close()
    parts.celery.close()
    log = tmp_path / "api.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.api"], cwd=tmp_path, stdout=sink, stderr=sink
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, log)
        yield Farm(url, keys, tmp_path)
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(url, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            requests.get(f"{url}/health/live", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the API did not start: {log.read_text()}")


def test_add_list_pause_resume_and_remove_over_http(farm):
    body = {"name": "nightly", "plan": PLAN, "cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    added = farm.ask("POST", "/schedules", body)
    assert added.status_code == 201
    dues = [datetime.fromisoformat(due) for due in added.json()["next_five"]]
    assert [(due.hour, due.minute) for due in dues] == [(2, 30)] * 5
    assert added.json()["warnings"] != []  # no worker has said yet that it has df
    (listed,) = farm.ask("GET", "/schedules", role="viewer").json()["schedules"]
    assert (listed["name"], listed["plan"]) == ("nightly", "nightly@1")
    assert listed["principal"] == "operator"
    assert farm.ask("POST", "/schedules/nightly/pause").json()["paused"]
    assert (
        farm.ask("POST", "/schedules/nightly/resume").json()["next_five"]
        == added.json()["next_five"]
    )
    assert farm.ask("DELETE", "/schedules/nightly").status_code == 204
    assert farm.ask("GET", "/schedules").json() == {"schedules": []}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/schedules"),
        ("POST", "/schedules/nightly/pause"),
        ("POST", "/schedules/nightly/resume"),
        ("DELETE", "/schedules/nightly"),
    ],
)
def test_a_viewer_changes_nothing(farm, method, path):
    assert farm.ask(method, path, role="viewer").status_code == 403
    assert requests.request(method, farm.url + path, timeout=30).status_code == 401


def test_every_fault_comes_at_once_and_nothing_is_kept(farm):
    plan = 'name: probe\nsteps:\n  - tool: df\n    parameters: {dpeth: "/"}\n'
    body = {"name": "nightly", "plan": plan, "cron": "61 * * * *", "timezone": "Mars"}
    refused = farm.ask("POST", "/schedules", body)
    assert refused.status_code == 422
    faults = {fault["path"]: fault for fault in refused.json()["faults"]}
    assert set(faults) == {"timezone", "plan.steps[0].parameters.dpeth"}
    assert faults["plan.steps[0].parameters.dpeth"]["line"] == 4
    assert farm.ask("GET", "/schedules").json() == {"schedules": []}


def test_a_plan_that_it_brings_is_stored_and_pinned(farm):
    body = {"name": "nightly", "plan": "steps:\n- tool: df  # all of them\n", "interval_s": 60}
    assert farm.ask("POST", "/schedules", body).json()["plan"] == "nightly@1"
    kept = farm.ask("GET", "/plans/nightly").json()
    assert (kept["text"], kept["saved_by"]) == (body["plan"], "operator")


def test_a_refused_schedule_stores_no_plan(farm):
    body = {"name": "nightly", "plan": PLAN, "interval_s": 60}
    farm.ask("POST", "/schedules", body)
    other = body | {"plan": {"steps": [{"tool": "df"}]}}
    assert farm.ask("POST", "/schedules", other).status_code == 409
    assert farm.ask("POST", "/schedules", other | {"name": "b", "cron": "61"}).status_code == 422
    plans = farm.ask("GET", "/plans").json()["plans"]
    assert [(plan["name"], plan["version"]) for plan in plans] == [("nightly", 1)]


def test_a_stored_plan_is_named_with_inputs_and_limit(farm):
    text = (
        "inputs:\n  path: {type: path, required: true}\n"
        "steps:\n- tool: df\n  parameters: {path: '{{ inputs.path }}'}\n"
    )
    assert farm.ask("POST", "/plans", {"name": "disks", "plan": text}).status_code == 201
    body = {"name": "nightly", "plan": "disks", "interval_s": 60}
    refused = farm.ask("POST", "/schedules", body | {"cron": "61 * * * *", "limit": "web-09"})
    faults = {fault["path"]: fault for fault in refused.json()["faults"]}
    assert {"inputs.path", "limit"} <= faults.keys()
    assert refused.json()["plan"] == "disks@1"
    added = farm.ask("POST", "/schedules", body | {"inputs": {"path": "/var"}, "limit": "local"})
    assert added.status_code == 201, added.text
    shown = added.json()
    assert (shown["plan"], shown["inputs"]) == ("disks", {"path": "/var"})
    assert shown["limit"] == "local"


@pytest.mark.parametrize(
    ("plan", "code"),
    [("dsks", "unknown_plan"), ("disks@2", "unknown_version"), ("Disks", "bad_format")],
)
def test_a_stored_plan_that_is_not_there_is_one_fault(farm, plan, code):
    farm.ask("POST", "/plans", {"name": "disks", "plan": PLAN})
    refused = farm.ask("POST", "/schedules", {"name": "a", "plan": plan, "interval_s": 60})
    (fault,) = refused.json()["faults"]
    assert (refused.status_code, fault["path"], fault["code"]) == (422, "plan", code)
    assert fault["allowed"]
    assert farm.ask("GET", "/schedules").json() == {"schedules": []}


def test_the_command_line_schedules_a_stored_plan(farm):
    text = (
        "inputs: {path: {type: path, required: true}}\n"
        "steps:\n- tool: df\n  parameters: {path: '{{ inputs.path }}'}\n"
    )
    farm.ask("POST", "/plans", {"name": "disks", "plan": text})
    added = farm.run(
        "schedules", "add", "nightly", "--plan", "disks@1", "--set", "path=/var", "--every", "5m",
        "--json",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["inputs"] == {"path": "/var"}
    assert "disks@1" in farm.run("schedules", "list").stdout
    for words in (("nightly",), ("nightly", "plan.yaml", "--plan", "disks")):
        refused = farm.run("schedules", "add", *words, "--every", "5m")
        assert refused.returncode == 2
        assert "either a FILE or --plan" in refused.stderr


def test_a_taken_name_is_a_conflict_and_an_unknown_one_is_not_found(farm):
    body = {"name": "nightly", "plan": PLAN, "interval_s": 60}
    assert farm.ask("POST", "/schedules", body).status_code == 201
    assert farm.ask("POST", "/schedules", body).status_code == 409
    assert farm.ask("POST", "/schedules/other/pause").status_code == 404
    assert farm.ask("DELETE", "/schedules/other").status_code == 404


def test_the_command_line_adds_shows_and_removes(farm):
    (farm.folder / "plan.yaml").write_text(json.dumps(PLAN))
    added = farm.run("schedules", "add", "probe", "plan.yaml", "--every", "5m", "--grace", "2h")
    assert added.returncode == 0, added.stderr
    lines = added.stdout.splitlines()
    assert lines[0] == "schedule probe (every 300 s) is due next at"
    assert len(lines) == 6
    listed = farm.run("schedules", "list", "--json")
    (shown,) = json.loads(listed.stdout)["schedules"]
    assert (shown["name"], shown["grace_s"]) == ("probe", 7200)
    assert "every 300 s" in farm.run("schedules", "list").stdout
    assert farm.run("schedules", "pause", "probe").returncode == 0
    assert "paused" in farm.run("schedules", "list").stdout
    assert "due next at" in farm.run("schedules", "resume", "probe").stdout
    assert farm.run("schedules", "remove", "probe").returncode == 0
    assert farm.run("schedules", "remove", "probe").returncode == 2


def test_the_command_line_names_the_line_of_a_fault(farm):
    text = 'steps:\n  - tool: df\n    parameters: {dpeth: "/"}\n'
    refused = farm.run("schedules", "add", "probe", "-", "--cron", "* * * * *", text=text)
    assert refused.returncode == 2
    assert "standard input:3:" in refused.stderr
    assert "dpeth" in refused.stderr


@pytest.mark.parametrize("every", ["0.1s", "soon", "-5"])
def test_the_command_line_refuses_a_wrong_interval(farm, every):
    (farm.folder / "plan.yaml").write_text(json.dumps(PLAN))
    refused = farm.run("schedules", "add", "probe", "plan.yaml", f"--every={every}")
    assert refused.returncode == 2
    assert refused.stderr
