"""Completion in the shells themselves, with the words of a served farm."""

import os
import pty
import select
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.principal import Role
from tests.lab.command_line import COMMAND

DRAFTS = {
    "web-01": {"environment": "production", "tags": {"role": "web"}},
    "web-02": {"environment": "staging", "tags": {"role": "web"}},
    "db-01": {"environment": "production", "tags": {"role": "db", "spare": True}},
}


@pytest.fixture
def farm(api_farm):
    with api_farm.client(Role.ADMIN) as farm:
        assets = [{"hostname": name, "fields": fields} for name, fields in DRAFTS.items()]
        farm.http.post("/assets/import", {"assets": assets, "apply": True})
        farm.http.post("/secrets", {"name": "hook-token", "value": "x"})
        login = {"name": "web-login", "username": "ada", "password": "x", "assets": ["web-01"]}
        farm.http.post("/credentials", login)
        farm.plans.save({"name": "nightly", "steps": [{"tool": "df", "targets": "local"}]})
    return api_farm


@pytest.fixture
def environment(farm, tmp_path):
    """A home of the test's own, with `opsfarm` as a program on the path."""
    program = tmp_path / "bin" / "opsfarm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path.cwd()),
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "OPSFARM_API_URL": farm.url,
        "OPSFARM_API_KEY": farm.keys[Role.ADMIN],
    }


def script(environment, shell, folder):
    """The completion script as the command prints it, in a file."""
    done = subprocess.run(
        ["opsfarm", "completion", shell], env=environment, capture_output=True, check=True
    )
    path = folder / f"completion.{shell}"
    path.write_bytes(done.stdout)
    return path


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, argv, environment):
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def send(self, text):
        os.write(self._ours, text.encode())

    def read_until(self, *parts):
        seen, deadline = "", time.monotonic() + 20
        while not all(part in seen for part in parts):
            ready, _, _ = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{parts} did not come: {seen!r}"
            seen += os.read(self._ours, 65536).decode(errors="replace")
        return seen

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def bash(environment, tmp_path, require_program):
    """`bash("opsfarm run df pa")`: the words that bash would put in."""
    path = script(environment, "bash", tmp_path)
    program = require_program("bash")

    def complete(line):
        # What readline does: the line is taken apart at COMP_WORDBREAKS.
        code = f"""
            source {path}
            complete() {{ :; }}; compopt() {{ :; }}
            COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
            mapfile -t COMP_WORDS < <({shlex.quote(sys.executable)} -c '
import re, sys
line = sys.argv[1]
words = re.findall(r"[=:]+|[^\\s=:]+", line)
print("\\n".join(words + [""] * (line[-1] in " ")))' "$COMP_LINE")
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _opsfarm_completion opsfarm
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            [program, "--norc", "-c", code], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.split()

    return complete


#: A line to the words that bash is given: what stands behind its last "=".
OFFERS = {
    "opsfarm ass": ["assets"],
    "opsfarm assets sh": ["show"],
    "opsfarm assets show w": ["web-01", "web-02"],
    "opsfarm assets test l": ["local"],
    "opsfarm assets test env": ["environment="],
    "opsfarm assets test environment=p": ["production"],
    "opsfarm assets test environment=staging,tags.r": ["staging,tags.role="],
    "opsfarm assets test environment=staging,!d": ["staging,!db-01"],
    "opsfarm assets test environment=staging|p": ["staging|production"],
    "opsfarm assets test web-01;d": ["web-01;db-01"],
    "opsfarm assets test tags.role=": ["db", "web"],
    "opsfarm assets update web-01 sta": ["status="],
    "opsfarm assets update web-01 status=": ["active", "maintenance", "retired"],
    "opsfarm assets update web-01 status=m": ["maintenance"],
    "opsfarm run host-c": ["host-check"],
    "opsfarm run host-check --operation ": ["reach", "host_key"],
    "opsfarm run host-check --target we": ["web-01", "web-02"],
    "opsfarm run host-check cred": ["credential="],
    "opsfarm run host-check credential=": ["web-login"],
    "opsfarm run tcp-analyzer host=db": ["db-01"],
    "opsfarm run tcp-analyzer expect=": ["open", "closed", "filtered"],
    "opsfarm run df local_only=t": ["true"],
    "opsfarm run df path=/ loc": ["local_only="],
    "opsfarm plan run nig": ["nightly"],
    "opsfarm plan run nightly --limit tags.role=w": ["web"],
    "opsfarm secrets remove ": ["hook-token"],
    "opsfarm credentials test ": ["web-login"],
    "opsfarm credentials assign web-login db": ["db-01"],
    "opsfarm run no-such-tool x": [],
}


def test_bash_is_offered(bash):
    assert {line: bash(line) for line in OFFERS} == OFFERS


def test_a_tab_in_a_real_bash(environment, tmp_path, require_program):
    path = script(environment, "bash", tmp_path)
    shell = Terminal([require_program("bash"), "--norc", "-i"], environment | {"PS1": "ready> "})
    try:
        shell.read_until("ready> ")
        shell.send(f"source {path}; echo so''urced\n")
        shell.read_until("sourced")
        shell.send("echo opsfarm; opsfarm assets update db-01 stat\t")
        shell.read_until("status=")
        shell.send("ret\t")
        shell.read_until("retired ")
    finally:
        shell.close()


def test_fish_is_offered(environment, tmp_path, require_program):
    path = script(environment, "fish", tmp_path)
    fish = require_program("fish")

    def complete(line):
        code = f"source {path}; complete --do-complete {shlex.quote(line)}"
        done = subprocess.run(
            [fish, "--no-config", "-c", code], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return [entry.split("\t")[0] for entry in done.stdout.splitlines()]

    assert complete("opsfarm assets show we") == ["web-01", "web-02"]
    assert complete("opsfarm assets update web-01 status=r") == ["status=retired"]
    assert complete("opsfarm assets test environment=production,we") == [
        "environment=production,web-01",
        "environment=production,web-02",
    ]
    assert complete("opsfarm run host-check --operation h") == ["host_key"]


def test_a_tab_in_a_real_zsh(environment, tmp_path, require_program):
    path = script(environment, "zsh", tmp_path)
    shell = Terminal([require_program("zsh"), "-f", "-i"], environment | {"PS1": "ready> "})
    try:
        shell.read_until("ready> ")
        shell.send("autoload -U compinit; compinit -u -D; unsetopt zle_bracketed_paste\n")
        shell.read_until("ready> ")
        shell.send(f"source {path}; echo so''urced\n")
        shell.read_until("sourced")
        shell.send("opsfarm assets update db-01 stat\t")
        shell.read_until("status=")
        shell.send("ret\t")
        shell.read_until("retired")
        shell.send("\x15opsfarm assets show db\t")
        shell.read_until("db-01")
    finally:
        shell.close()


def test_a_farm_that_is_away_or_refuses_offers_little_and_says_nothing(environment, tmp_path):
    away = environment | {"OPSFARM_API_URL": "http://127.0.0.1:1"}
    refused = environment | {"OPSFARM_API_KEY": "nonsense"}
    nowhere = {k: v for k, v in environment.items() if not k.startswith("OPSFARM_")}
    nowhere["OPSFARM_STATE_DIR"] = str(tmp_path)
    for settings in (away, refused, nowhere):
        for line, expected in (
            ("opsfarm run sendm", "plain,sendmail"),
            ("opsfarm assets show w", ""),
            ("opsfarm run df pa", ""),
        ):
            done = complete_once(settings, line)
            assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, "")


def test_a_farm_that_does_not_answer_in_time_offers_nothing(environment):
    # A listener that never accepts: the connection stands, no answer comes.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        done = complete_once(environment | {"OPSFARM_API_URL": url}, "opsfarm assets show w")
        took_s = time.monotonic() - began
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
    assert took_s < 8  # a second of patience, and the start of the program


def complete_once(settings, line):
    asked = {
        "_OPSFARM_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": line.split(" ")[-1],
    }
    return subprocess.run(
        ["opsfarm"], env=settings | asked, capture_output=True, text=True, check=False
    )
