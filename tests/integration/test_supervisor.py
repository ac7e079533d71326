"""The embedded farm's supervisor with real PostgreSQL and Redis, and stand-ins for the rest."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.admin import control
from app.admin.child import is_running
from app.admin.state import (
    FarmState,
    ProcessState,
    StateFolder,
    find_supervisor,
    read_farm,
    read_status,
)
from app.errors import ConfigError
from app.store.db import make_engine

PROJECT = Path(__file__).resolve().parents[2]

API = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        workers = [{"pool": "asset", "seconds_ago": 0}]
        body = json.dumps({"workers": workers} if self.path == "/workers" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
port = int(os.environ["OPSFARM_API_PORT"])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
PROCFILE = """
api: python {folder}/api.py
asset: sleep 1000
capture: sh -c 'echo no raw sockets here; exit 77'
flaky: sh -c 'echo one more; exit 3'
"""


def wait_for(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


@pytest.fixture
def folder(tmp_path, request):
    """A state folder whose farm is taken down whatever happens."""
    folder = StateFolder(tmp_path / "state")
    folder.make()
    (tmp_path / "api.py").write_text(API)
    (tmp_path / "Procfile").write_text(PROCFILE.format(folder=tmp_path))
    yield folder
    control.stop_farm(folder, lambda _words: None)


@pytest.fixture
def start(folder, tmp_path):
    def start():
        assert control.start_farm(folder, tmp_path / "Procfile")
        return control.wait_until_ready(folder, lambda _words: None)

    return start


def living(folder):
    status = read_status(folder)
    return [process for process in status.processes if is_running(process)]


def process(folder, name):
    return next(p for p in read_status(folder).processes if p.name == name)


def test_a_farm_starts_serves_and_ends(folder, start):
    farm = start()
    seen = {p.name: p for p in read_status(folder).processes}
    assert set(seen) == {"postgres", "redis", "api", "asset", "capture", "flaky"}
    assert seen["capture"].state is ProcessState.NOT_POSSIBLE
    assert seen["capture"].note == "no raw sockets here"
    engine = make_engine(farm.database_url)
    with engine.connect() as connection:
        names = connection.exec_driver_sql("select name, role from principals").all()
    engine.dispose()
    assert names == [("admin", "admin")]
    assert folder.admin_key_file.read_text().startswith("opsfarm_")

    before = living(folder)
    assert control.stop_farm(folder, lambda _words: None)
    assert find_supervisor(folder) is None
    assert not [p for p in before if is_running(p)]


@pytest.mark.parametrize("name", ["farm.json", "admin.key", "secret.key", "postgres.password"])
def test_what_is_secret_is_for_its_owner_alone(folder, start, name):
    start()
    assert (folder.path / name).stat().st_mode & 0o777 == 0o600


def test_no_password_is_in_any_command_line(folder, start):
    farm = start()
    urls = (farm.database_url, farm.broker_url)
    passwords = [url.split("@")[0].rsplit(":", 1)[1] for url in urls]
    passwords.append(folder.admin_key_file.read_text().strip())
    lines = [Path(f"/proc/{p.pid}/cmdline").read_text() for p in living(folder)]
    assert len(lines) >= 4
    assert not [line for line in lines for password in passwords if password in line]


def test_what_dies_is_started_again_with_growing_pauses(folder, start):
    start()
    old = process(folder, "asset").pid
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: process(folder, "asset").pid not in {old, None})
    wait_for(lambda: process(folder, "flaky").restarts >= 2)
    assert process(folder, "flaky").note in {"", "ended with exit status 3: one more"}


def test_a_killed_server_comes_back_with_its_data(folder, start):
    farm = start()
    old = process(folder, "postgres").pid
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: process(folder, "postgres").pid not in {old, None})
    engine = make_engine(farm.database_url)

    def principals():
        try:
            with engine.connect() as connection:
                return connection.exec_driver_sql("select name from principals").all()
        except OperationalError:
            return None

    assert wait_for(principals) == [("admin",)]
    engine.dispose()


def test_everything_ends_with_a_killed_supervisor(folder, start):
    start()
    before = living(folder)
    assert len(before) >= 4
    os.kill(find_supervisor(folder), signal.SIGKILL)
    wait_for(lambda: not [p for p in before if is_running(p)])
    assert find_supervisor(folder) is None


def test_the_next_start_repairs_what_a_kill_left(folder, start):
    first = start()
    key = folder.admin_key_file.read_text()
    os.kill(find_supervisor(folder), signal.SIGKILL)
    wait_for(lambda: find_supervisor(folder) is None)
    second = start()
    assert folder.admin_key_file.read_text() == key
    assert second.database_url.split("@")[0] == first.database_url.split("@")[0]


def test_a_lost_farm_file_and_a_half_made_cluster_are_no_obstacle(folder, start):
    start()
    control.stop_farm(folder, lambda _words: None)
    folder.farm_file.unlink()
    (folder.path / "postgres" / "data.new").mkdir()
    folder.admin_key_file.write_text("opsfarm_00000000_" + "x" * 43)
    start()
    assert "xxxx" not in folder.admin_key_file.read_text()


def test_servers_of_the_users_own_replace_ours(
    folder, start, database_url, redis_server, monkeypatch
):
    monkeypatch.setenv("OPSFARM_DATABASE_URL", database_url)
    monkeypatch.setenv("OPSFARM_BROKER_URL", redis_server)
    farm = start()
    assert (farm.database_url, farm.broker_url) == (database_url, redis_server)
    assert {"postgres", "redis"} & {p.name for p in read_status(folder).processes} == set()
    engine = make_engine(database_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from principals").scalar() == 1
    engine.dispose()
    assert not (folder.path / "postgres").exists()


def test_of_two_supervisors_one_wins(folder, start):
    start()
    winner = find_supervisor(folder)
    second = subprocess.run(
        [sys.executable, "-m", "app.admin.supervisor"],
        env=os.environ | {"OPSFARM_STATE_DIR": str(folder.path)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert "a farm runs from" in second.stderr
    assert find_supervisor(folder) == winner
    assert not control.start_farm(folder)


def test_a_busy_port_is_replaced(folder, start):
    start()
    control.stop_farm(folder, lambda _words: None)
    taken = read_farm(folder).ports["api"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", taken))
        other.listen()
        assert start().ports["api"] != taken


def test_a_stop_during_the_start_leaves_nothing(folder, tmp_path):
    assert control.start_farm(folder, tmp_path / "Procfile")
    wait_for(lambda: (seen := read_status(folder)) and [p for p in seen.processes if p.pid])
    before = living(folder)
    control.stop_farm(folder, lambda _words: None)
    assert not [p for p in before if is_running(p)]


def test_a_farm_that_cannot_start_says_why(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OPSFARM_SECRET_KEY", "too short")
    control.start_farm(folder, tmp_path / "Procfile")
    with pytest.raises(ConfigError, match=r"the ledger could not be prepared: .*base64"):
        control.wait_until_ready(folder, lambda _words: None)
    assert read_status(folder).state is FarmState.FAILED
