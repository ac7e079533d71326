"""journalctl on a host with a real systemd, over SSH, against lines that the test logs."""

import secrets
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from app.step import State
from tool_catalog.loader import load_catalog
from tool_catalog.model import Reason

pytestmark = pytest.mark.root

BECOME = {"method": "sudo", "user": "root"}


@pytest.fixture
def identifier():
    return f"planted-{secrets.token_hex(4)}"


@pytest.fixture
def log(systemd_host, identifier):
    """`log("words")`: write a line under the test's own identifier, and wait until it is kept."""

    def write(message, priority="notice"):
        words = ("logger", "-t", identifier, "-p", f"user.{priority}", "--", message)
        systemd_host.run(*words)
        systemd_host.run("journalctl", "--sync")

    return write


@pytest.fixture
def run(bench, systemd_host):
    def call(operation, *, user="deploy", run_as="root", **given):
        login = systemd_host.credential(user, become=BECOME)
        return bench.run(
            "journalctl",
            operation,
            given,
            target=systemd_host.target,
            credential=login,
            run_as=run_as,
        ).result

    return call


@pytest.mark.proves("journalctl", "query")
def test_a_planted_line_is_found_with_its_time_and_priority(run, log, identifier):
    log("canary 4711", "err")
    log("something else", "info")
    result = run("query", identifier=[identifier], priority="err")
    [row] = result.output
    assert (row["message"], row["priority"], row["identifier"]) == ("canary 4711", 3, identifier)
    age = datetime.now(UTC) - datetime.fromisoformat(row["time"])
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_what_is_asked_for_bounds_what_is_told(run, log, identifier):
    for number in range(5):
        log(f"line {number}")
    rows = run("query", identifier=[identifier], lines=2).output
    assert [row["message"] for row in rows] == ["line 4", "line 3"]
    rows = run("query", identifier=[identifier], grep="line [13]").output
    assert [row["message"] for row in rows] == ["line 3", "line 1"]
    since = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")
    assert run("query", identifier=[identifier], since=since).output == []
    assert run("query", identifier=[identifier], until="1h ago").output == []
    assert len(run("query", identifier=[identifier], since="1h ago", boot=0).output) == 5


def test_the_lines_of_one_unit(run, systemd_host):
    unit = f"planted-{secrets.token_hex(4)}.service"
    words = f"canary-{secrets.token_hex(4)}"
    systemd_host.run("systemd-run", "--wait", "--unit", unit, "/bin/echo", words)
    systemd_host.run("journalctl", "--sync")
    messages = [row["message"] for row in run("query", unit=[unit]).output]
    assert words in messages
    assert words not in str(run("query", unit=["ssh.service"]).output)


def test_nothing_found_is_no_failure(run, identifier):
    assert run("query", grep=f"no-line[-]says-{identifier}").output == []
    result = run("query", identifier=[identifier])
    assert (result.state, result.output) == (State.SUCCEEDED, [])


def test_bytes_that_are_no_text_are_told_as_far_as_they_are(run, systemd_host, identifier):
    script = f"printf '\\377bad' | logger -t {identifier} --; journalctl --sync"
    systemd_host.run("sh", "-c", script)
    [row] = run("query", identifier=[identifier]).output
    assert row["message"] == "\ufffdbad"


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        ({"since": "some day"}, Reason.INVALID_PARAMETER, "some day is no time"),
        ({"grep": "("}, Reason.INVALID_PARAMETER, "grep: (: missing closing parenthesis"),
        ({"boot": -999}, Reason.EXIT_CODE, "Data from the specified boot"),
    ],
)
def test_what_journalctl_refuses_is_told(run, given, reason, words):
    result = run("query", **given)
    assert (result.state, result.reason) == (State.FAILED, reason)
    assert words in result.summary


def test_who_may_not_read_the_log_is_told_what_to_do(run, systemd_host):
    """Somebody who never logged a line has none of their own to read."""
    folder = systemd_host.run("sh", "-c", "echo /var/log/journal/*").strip()
    systemd_host.run("rm", "-f", f"{folder}/user-1002.journal")
    systemd_host.run("chmod", "700", "/var/log/journal")
    try:
        result = run("query", user="guest", run_as=None)
    finally:
        systemd_host.run("chmod", "2755", "/var/log/journal")
    assert (result.state, result.reason) == (State.FAILED, Reason.NO_PRIVILEGE)
    assert "run_as: root" in result.summary


@pytest.mark.proves("journalctl", "follow")
def test_lines_that_come_while_it_follows_are_told_and_its_end_is_success(
    run, log, identifier, systemd_host
):
    log("before it begins")
    asked = threading.Event()

    def say():
        while not asked.wait(0.05):
            if is_followed(systemd_host, identifier):
                log("while it follows")
                return

    teller = threading.Thread(target=say)
    teller.start()
    began = time.monotonic()
    result = run("follow", identifier=[identifier], duration_s=3)
    asked.set()
    teller.join()
    assert 3 <= time.monotonic() - began < 10
    assert result.state is State.SUCCEEDED, result.summary
    assert [row["message"] for row in result.output] == ["while it follows"]
    assert not is_followed(systemd_host, identifier)


def is_followed(host, identifier):
    argv = ("pgrep", "-f", f"[-]-follow.*--identifier={identifier}")
    return bool(host.run(*argv, check=False).strip())


@pytest.mark.proves("journalctl", "units")
def test_a_unit_that_logged_is_among_the_units(run, systemd_host):
    unit = f"planted-{secrets.token_hex(4)}.service"
    systemd_host.run("systemd-run", "--wait", "--unit", unit, "/bin/echo", "x")
    systemd_host.run("journalctl", "--sync")
    assert unit in {row["unit"] for row in run("units").output}


@pytest.mark.proves("journalctl", "disk_usage")
def test_the_room_that_the_log_takes_agrees_with_the_host(run, systemd_host):
    told = systemd_host.run("journalctl", "--disk-usage")
    assert run("disk_usage").output[0]["size"] in told


def test_viewers_do_not_read_what_was_logged():
    operations = load_catalog().tools["journalctl"].operations
    assert {name for name, each in operations.items() if each.sensitive} == {"query", "follow"}


def test_more_than_stays_inline_is_an_artifact_without_its_secrets(bench, systemd_host, identifier):
    script = f'seq -f "line %06g password=hunter2 {"x" * 200}" 3000 | logger -t {identifier}'
    systemd_host.run("sh", "-c", f"{script}; journalctl --sync")
    ran = bench.run(
        "journalctl",
        "query",
        {"identifier": [identifier], "lines": 3000},
        target=systemd_host.target,
        credential=systemd_host.credential("deploy", become=BECOME),
        run_as="root",
    )
    result, kept = ran.result, ran.kept
    assert (result.state, result.truncated) == (State.SUCCEEDED, True)
    assert 100 < len(result.output) < 3000
    [artifact] = result.artifacts
    assert artifact.id in result.summary
    lines = kept.files[artifact.id].decode().splitlines()
    assert len(lines) == 3000
    assert "line 003000" in lines[0]
    assert "hunter2" not in str(result) + "".join(lines)
