"""The lab by hand: `make lab` as a person at a terminal sees it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.admin.servers import answers

PROJECT = Path(__file__).parents[2]


@contextmanager
def lab(*words):
    """Gives the process and what it said until it was ready."""
    argv = [sys.executable, "-u", "-m", "tests.lab.main", *words]
    process = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        lines = []
        while "Ctrl-C ends all of it.\n" not in lines:
            lines.append(process.stdout.readline())
            assert lines[-1], f"it ended: {lines}"
        yield process, "".join(lines)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_parts_serve_until_they_are_told_to_end(number, status):
    with lab("redis", "http") as (process, said):
        redis_port = int(re.search(r"redis-cli -p (\d+)", said).group(1))
        url = re.search(r"http://127\S+", said).group()
        assert answers(redis_port)
        urllib.request.urlopen(url, b"planted", timeout=10).close()
        assert process.stdout.readline() == "http: POST /any/path b'planted'\n"
        process.send_signal(number)
        assert process.wait(20) == status
        assert not answers(redis_port)


def test_hosts_can_be_logged_in_to_with_the_command_that_is_shown(require_systemd_hosts):
    with lab("hosts=2") as (_process, said):
        command = next(line for line in said.splitlines() if line.startswith("    ssh -F"))
        argv = command.replace("@lab-01", "@lab-02").split()
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
        assert "Active: active (running)" in done.stdout


def test_a_start_takes_seconds():
    began = time.monotonic()
    with lab("postgres", "redis", "smtp", "http"):
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hots=2"], "there is no part 'hots'; there are: hosts, postgres,"),
        (["hosts=none"], "hosts=none: a count is a number from 1"),
        (["hosts=0"], "hosts=0: a count is a number from 1"),
    ],
)
def test_words_that_are_no_parts_are_named(words, says):
    argv = [sys.executable, "-m", "tests.lab.main", *words]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_person_without_root_is_told_what_needs_it():
    if os.geteuid() != 0:
        pytest.skip("shows what root sees of it")
    script = "import os, sys; from tests.lab.main import main; os.seteuid(65534); "
    argv = [sys.executable, "-c", script + "sys.exit(main(['hosts=2']))"]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "hosts needs root: it makes namespaces\n")
