import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from app.admin.servers import find_free_port

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
