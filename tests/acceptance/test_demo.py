"""The demo as users run it: real processes, one plan, nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"

pytestmark = pytest.mark.slow


class Surroundings:
    """A state folder, home and working directory of this test's own."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        for name in ("home", "here", "tmp"):
            (folder / name).mkdir()
        self.env = os.environ | {
            "OPSFARM_STATE_DIR": str(self.state),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(PROJECT),
        }
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            self.env.pop(name, None)

    def demo(self, *words):
        return self._run(["-m", "app.admin.demo", *words])

    def _run(self, arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder / "here",
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def opsfarm(self, *words):
        code = "from app.cli.main import main; main()"
        return self._run(["-c", code, *words])

    def start_demo(self, *words):
        return subprocess.Popen(
            ["env", "--block-signal=INT", sys.executable, "-m", "app.admin.demo", *words],
            cwd=self.folder / "here",
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self):
        """Living processes whose environment names our state folder."""
        mark = f"OPSFARM_STATE_DIR={self.state}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return [line for line in found if line]

    def strays(self):
        """Files that appeared outside of the state folder."""
        names = ("home", "here", "tmp")
        return [path for name in names for path in (self.folder / name).rglob("*")]

    def logged_tracebacks(self):
        return [
            path.name
            for path in (self.state / "logs").glob("*.log")
            if "Traceback" in path.read_text()
        ]


@pytest.fixture
def surroundings(tmp_path):
    found = Surroundings(tmp_path)
    yield found
    found.opsfarm("down", "--if-up")


def wait_until_gone(surroundings, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while left := surroundings.processes():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_once_shows_what_arrived_and_leaves_nothing_behind(surroundings):
    done = surroundings.demo("--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    execution = re.search(rf"Plan succeeded: execution ({UUID})", done.stdout)[1]
    assert re.search(rf"mail +to operator@example.com: .*{execution}", done.stdout)
    webhook = re.search(r"webhook +(\{.*\})", done.stdout)[1]
    assert json.loads(webhook)["execution"] == execution
    asset = json.loads(re.search(r"asset, by SQL +(\{.*\})", done.stdout)[1])
    assert asset["hostname"].startswith("demo-")
    assert json.loads(webhook)["asset"] == asset["id"]
    assert re.search(r"port +\d+ is open and says 'opsfarm demo", done.stdout)
    assert re.search(r"packet +(\S+ IP|s +not captured: )", done.stdout)
    assert re.search(r"Took: start \d", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    assert surroundings.logged_tracebacks() == []
    assert surroundings.processes() == []
    assert surroundings.strays() == []


def test_a_farm_that_runs_is_found_and_used_by_every_command(surroundings):
    up = surroundings.opsfarm("up")
    assert up.returncode == 0, up.stderr
    assert "API      http://127.0.0.1:" in up.stdout
    again = surroundings.opsfarm("up")
    assert again.returncode == 0
    assert "the farm is up already" in again.stderr

    done = surroundings.demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "using the farm that runs already" in done.stderr
    assert "Where to look" in done.stdout

    status = json.loads(surroundings.opsfarm("status", "--json").stdout)
    assert status["ready"] is True
    names = {process["name"] for process in status["processes"]}
    assert {"api", "comms", "asset", "network", "capture", "automation", "dispatcher"} <= names
    assert {"beat", "flower", "postgres", "redis"} <= names
    assert surroundings.opsfarm("run", "df", "path=/").returncode == 0
    assert "ready" in surroundings.opsfarm("logs", "asset").stdout
    assert "asset " in surroundings.opsfarm("logs", "-n", "1").stdout
    assert surroundings.opsfarm("logs", "nothing").returncode == 2
    assert surroundings.opsfarm("migrate").returncode == 0

    assert surroundings.opsfarm("down").returncode == 0
    assert surroundings.processes() == []
    assert surroundings.strays() == []
    lost = surroundings.opsfarm("status")
    assert lost.returncode == 5
    assert "start one with 'opsfarm up'" in lost.stderr
    assert surroundings.opsfarm("down").returncode == 5


@pytest.mark.parametrize(
    "moment",
    [
        "",
        "starting the farm",
        "starting PostgreSQL",
        "waiting for the API",
        "execution ",
        r"\[6/9\]|\[5/7\]",
        "letting running steps end",
    ],
)
def test_ctrl_c_at_any_moment_ends_in_order(surroundings, moment):
    demo = surroundings.start_demo("--once")
    stopper = threading.Timer(PATIENCE_S, demo.kill)
    stopper.start()
    try:
        lines = []
        while moment and (line := demo.stdout.readline()):
            lines.append(line)
            if re.search(moment, line):
                break
        demo.send_signal(signal.SIGINT)
        output = "".join(lines) + demo.stdout.read()
        code = demo.wait()
    finally:
        stopper.cancel()
        demo.stdout.close()
    assert "Traceback" not in output
    # At the very first moment `env` itself may take it; at the last, all was done.
    also = {"": -signal.SIGINT, "letting running steps end": 0}
    assert code in {130, also.get(moment)}, output
    wait_until_gone(surroundings)
    assert surroundings.strays() == []
