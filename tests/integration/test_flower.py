import base64
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from app.admin.servers import find_free_port
from app.config import read_settings
from app.parts import build_parts
from app.plan_reader import read_request
from app.principal import Role
from app.submit import submit

PROJECT = Path(__file__).parents[2]
START_TIMEOUT_S = 30


@pytest.fixture
def start_flower(redis_server, tmp_path):
    """A real Flower in a folder of its own; `with start_flower(...) as (url, process)`."""

    @contextmanager
    def start(**settings):
        port = find_free_port()
        env = os.environ | {
            "PYTHONPATH": str(PROJECT),
            "OPSFARM_BROKER_URL": redis_server,
            "OPSFARM_FLOWER_PORT": str(port),
            "OPSFARM_STATE_DIR": str(tmp_path),
            **settings,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "workers", "flower"],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            process.communicate(timeout=20)

    return start


def wait_for(url, process):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return requests.get(f"{url}/healthcheck", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail(f"Flower did not start: {process.stdout.read().decode()}")


def test_pages_and_api_answer_on_loopback_and_no_file_is_written(start_flower, tmp_path):
    with start_flower() as (url, process):
        wait_for(url, process)
        for page in ("/", "/tasks", "/broker", "/api/tasks"):
            answer = requests.get(url + page, timeout=10)
            assert answer.status_code == 200, page
            # A web page from elsewhere may not read it through the operator's browser.
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
        process.terminate()
        assert process.wait(timeout=15) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/worker/shutdown/comms@host",
        "/api/worker/queue/cancel-consumer/comms@host?queue=comms",
        "/api/task/revoke/0197?terminate=true",
        "/api/task/send-task/opsfarm.run_step",
        "/api/task/rate-limit/opsfarm.run_step?workername=comms@host&ratelimit=1",
    ],
)
def test_nothing_can_be_changed(start_flower, path):
    with start_flower() as (url, process):
        wait_for(url, process)
        assert requests.post(url + path, json={"args": [1, 1]}, timeout=10).status_code == 403


def test_a_password_guards_pages_and_api_and_is_not_in_argv(start_flower):
    with start_flower(OPSFARM_FLOWER_PASSWORD="planted-word") as (url, process):
        wait_for(url, process)
        for page in ("/tasks", "/api/tasks"):
            assert requests.get(url + page, timeout=10).status_code == 401
            assert (
                requests.get(url + page, auth=("opsfarm", "wrong"), timeout=10).status_code == 401
            )
            right = requests.get(url + page, auth=("opsfarm", "planted-word"), timeout=10)
            assert right.status_code == 200
        assert b"planted" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def test_beyond_loopback_a_password_is_demanded(start_flower):
    with start_flower(OPSFARM_FLOWER_HOST="0.0.0.0") as (_, process):
        assert process.wait(timeout=START_TIMEOUT_S) != 0
        assert b"OPSFARM_FLOWER_PASSWORD" in process.stdout.read()


def test_a_taken_port_is_named(start_flower):
    with start_flower() as (url, first):
        wait_for(url, first)
        port = url.rsplit(":", 1)[1]
        with start_flower(OPSFARM_FLOWER_PORT=port) as (_, second):
            assert second.wait(timeout=START_TIMEOUT_S) != 0
            assert f"127.0.0.1:{port}".encode() in second.stdout.read()


@pytest.fixture
def farm(database_url, redis_server, tmp_path, monkeypatch):
    """A farm with Celery events on and one automation worker; its parts."""
    for name, value in {
        "OPSFARM_DATABASE_URL": database_url,
        "OPSFARM_BROKER_URL": redis_server,
        "OPSFARM_QUEUE_PREFIX": f"{secrets.token_hex(4)}.",
        "OPSFARM_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "OPSFARM_STATE_DIR": str(tmp_path / "state"),
        "OPSFARM_HOST": f"test-{secrets.token_hex(4)}",
        "OPSFARM_EVENTS": "1",
        "OPSFARM_REMOTE_CONTROL": "1",
        "PYTHONPATH": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    parts = build_parts(read_settings())
    log = tmp_path / "worker.log"
    with log.open("wb") as sink:
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers", "automation"], cwd=tmp_path, stdout=sink, stderr=sink
        )
    yield parts
    worker.terminate()
    worker.wait(timeout=30)
    parts.close()
    parts.celery.close()


def await_answer(url, path, good):
    """What Flower answers as soon as it is `good`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        answer = requests.get(url + path, timeout=10)
        if answer.ok and good(answer.json()):
            return answer.json()
        time.sleep(0.2)
    pytest.fail(f"Flower shows {answer.text} at {path}")


def test_steps_and_workers_appear_under_readable_names_and_no_value_does(start_flower, farm):
    principal, _ = farm.principals.add("default", "ops", Role.OPERATOR)
    good = {"tool": "df", "parameters": {"path": "/", "exclude_types": ["plantedfs"]}}
    bad = {"tool": "df", "id": "bad", "parameters": {"path": "/planted/nowhere"}}
    plan = {"name": "disk-check", "steps": [good, bad]}
    worker = f"automation@{farm.settings.host}"
    with start_flower() as (url, process):
        wait_for(url, process)
        await_answer(url, "/api/workers?refresh=1", lambda workers: worker in workers)
        submit(read_request(json.dumps(plan).encode()).plan, principal, farm)
        tasks = await_answer(
            url,
            "/api/tasks",
            lambda tasks: {task["state"] for task in tasks.values()} == {"SUCCESS", "FAILURE"},
        )
        pages = [requests.get(f"{url}/task/{task}", timeout=10).text for task in tasks]
    shown = sorted((task["name"], task["args"], task["worker"]) for task in tasks.values())
    assert shown == [
        ("df.usage", "disk-check 1 x1", worker),
        ("df.usage", "disk-check 2 x1", worker),
    ]
    assert len(pages) == 2
    assert "planted" not in json.dumps(tasks) + "".join(pages)
    # A failure is named by its reason code, without anything of the step's data.
    assert "StepFailed('not_found')" in {task["exception"] for task in tasks.values()}
