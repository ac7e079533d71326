"""The lab's other servers are real, and the warden ends what a run that died has left."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.lab.root_tree import PASSWORD
from tests.lab.running import is_alive
from tests.lab.waiting import wait_until

PROJECT = Path(__file__).parents[2]


def test_mariadb_lets_each_person_do_what_they_may(mariadb_server):
    mariadb_server.ask("create table planted (number integer)")
    mariadb_server.ask("insert into planted values (4711)")
    argv = ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={mariadb_server.port}"]
    argv += [f"--password={PASSWORD}", "--batch", "--skip-column-names", "-e"]
    query = "select number from lab.planted"
    allowed = subprocess.run([*argv, query, "--user=ops"], capture_output=True, check=False)
    assert allowed.stdout == b"4711\n"
    refused = subprocess.run([*argv, query, "--user=guest"], capture_output=True, check=False)
    assert b"denied" in refused.stderr
    mariadb_server.ask("drop table planted")


def test_moto_answers_as_aws_does(moto_server):
    request = urllib.request.Request(f"{moto_server}/planted-bucket", method="PUT")
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/x")
    urllib.request.urlopen(request, timeout=10).close()
    with urllib.request.urlopen(f"{moto_server}/moto-api/data.json", timeout=10) as answer:
        buckets = json.load(answer)["s3"]["FakeBucket"]
    assert [bucket["name"] for bucket in buckets] == ["planted-bucket"]


def test_the_warden_ends_what_a_killed_run_left(tmp_path):
    folder = tmp_path / "left"
    folder.mkdir()
    script = """
import pathlib, signal, subprocess, sys
from tests.lab.warden import guarded
with guarded() as warden:
    warden.remove(pathlib.Path(sys.argv[1]))
    child = subprocess.Popen(["sh", "-c", "setsid sleep 60 & echo $!; wait"], stdout=1)
    print(child.pid, flush=True)
    signal.pause()
"""
    argv = [sys.executable, "-c", script, str(folder)]
    run = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    with run.stdout as said:
        children = [said.readline().strip(), said.readline().strip()]
        assert all(is_alive(pid) for pid in children)
        run.send_signal(signal.SIGKILL)
        run.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in children), "they live on")
    wait_until(lambda: not folder.exists(), "the folder is still there")


def test_the_warden_leaves_others_alone(tmp_path):
    """A process without the mark lives on when the run ends in order."""
    script = """
import subprocess, sys
from tests.lab.warden import guarded
before = subprocess.Popen(["sleep", "60"])
with guarded():
    after = subprocess.Popen(["sleep", "60"])
print(before.poll(), after.wait())
before.kill()
before.wait()
"""
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "None -9\n"
