"""What somebody who knows Celery types, and what they expect to see."""

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

import queues
from app.config import read_settings
from app.parts import build_parts
from app.plan_reader import read_request
from app.principal import Role
from app.submit import submit

PROJECT = Path(__file__).parents[2]
WAIT_S = 40


@pytest.fixture
def prefix(database_url, redis_server, tmp_path, monkeypatch):
    """The queue prefix of a farm whose settings are in the environment."""
    prefix = f"{secrets.token_hex(4)}."
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    for name, value in {
        "OPSFARM_DATABASE_URL": database_url,
        "OPSFARM_BROKER_URL": redis_server,
        "OPSFARM_QUEUE_PREFIX": prefix,
        "OPSFARM_SECRET_KEY": key,
        "OPSFARM_STATE_DIR": str(tmp_path),
        "OPSFARM_REMOTE_CONTROL": "1",
        "PYTHONPATH": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    return prefix


def celery(*argv):
    """The argv of a celery command on our app."""
    return [sys.executable, "-m", "celery", "-A", "workers.entry", *argv]


def ask(folder, *argv):
    """A celery command that ends by itself."""
    return subprocess.run(
        celery(*argv), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def worker(folder, prefix, queue, *options):
    """A worker as a Celery user starts it, ready to be asked; its node's name."""
    node = f"{secrets.token_hex(4)}@test"
    log = folder / "worker.log"
    argv = celery("worker", "-Q", prefix + queue, "-n", node)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*argv, *options], cwd=folder, stdout=sink, stderr=sink, env=dict(os.environ)
        )
    try:
        wait_until_it_answers(folder, node, process, log)
        yield node
        process.terminate()
        assert process.wait(timeout=30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_it_answers(folder, node, process, log):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if ask(folder, "inspect", "ping", "-d", node, "-t", "1").returncode == 0:
            return
    pytest.fail(f"the worker does not answer: {log.read_text()}")


def answer_of(folder, node, *argv):
    """One worker's answer to `celery inspect`."""
    shown = ask(folder, "inspect", *argv, "-d", node, "-t", "5", "--json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)[node]


def test_a_worker_started_by_hand_answers_and_serves_what_it_was_told(prefix, tmp_path):
    with worker(tmp_path, prefix, "comms") as node:
        assert answer_of(tmp_path, node, "ping") == {"ok": "pong"}
        status = ask(tmp_path, "status", "-d", node, "-t", "5")
        assert status.returncode == 0
        assert f"{node}: OK" in status.stdout
        served = answer_of(tmp_path, node, "active_queues")
        assert [queue["name"] for queue in served] == [f"{prefix}comms"]
        pool = answer_of(tmp_path, node, "stats")["pool"]
        assert pool["implementation"] == "workers.pools:ThreadsPool"


def test_our_pool_may_be_named_as_celery_names_a_custom_one(prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("CELERY_CUSTOM_WORKER_POOL", "workers.pools:ThreadsPool")
    with worker(tmp_path, prefix, "comms", "-P", "custom") as node:
        assert answer_of(tmp_path, node, "ping") == {"ok": "pong"}


def test_only_our_task_is_registered(prefix, tmp_path):
    promised = {value for value in vars(queues).values() if str(value).startswith("opsfarm.")}
    with worker(tmp_path, prefix, "comms") as node:
        registered = answer_of(tmp_path, node, "registered")
    assert set(registered) == promised == {queues.RUN_STEP}


def test_such_a_worker_runs_a_step_to_its_end(prefix, tmp_path):
    parts = build_parts(read_settings())
    principal, _ = parts.principals.add("default", "ops", Role.OPERATOR)
    plan = {"name": "by-hand", "steps": [{"tool": "df", "parameters": {"path": "/"}}]}
    accepted = submit(read_request(json.dumps(plan).encode()).plan, principal, parts)
    with worker(tmp_path, prefix, "automation"):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            execution = parts.records.read_execution("default", accepted.execution_id)
            if execution["state"] in {"succeeded", "failed"}:
                break
            time.sleep(0.1)
    parts.close()
    parts.celery.close()
    assert execution["state"] == "succeeded"
    assert execution["steps"][0]["results"][0]["output"][0]["mount"] == "/"


def test_the_stock_threads_pool_is_refused_on_redis(prefix, tmp_path):
    argv = celery("worker", "-P", "threads", "-Q", f"{prefix}comms", "-n", "stock@test")
    ended = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert "workers.pools:ThreadsPool" in ended.stdout + ended.stderr
