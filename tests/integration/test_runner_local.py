"""The local runner against real processes of this host."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.command import Command
from app.errors import StepError, Stopped
from app.filling import SecretText
from app.step import LOCAL, Secret
from tasks.runners.base import StepControl
from tasks.runners.local import LocalRunner
from tests.lab.running import act_once, control, is_alive, shell, stray_script, wait_for
from tool_catalog.model import Reason


@pytest.fixture
def runner(tmp_path):
    return LocalRunner(tmp_path / "scratch")


@pytest.fixture
def lines():
    return []


def run(runner, command, step_control=None):
    return runner.run(command, LOCAL, None, step_control or control())


def goes_away(pid, timeout_s=5):
    until = time.monotonic() + timeout_s
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(pid)


def test_gives_output_and_exit_code(runner, lines):
    raw = run(runner, shell("echo one; echo two >&2; exit 3"), control(lines=lines))
    assert (raw.exit_code, raw.stdout, raw.stderr) == (3, b"one\n", b"two\n")
    assert sorted(lines) == [("stderr", "two"), ("stdout", "one")]
    assert raw.stopped is None


def test_lines_come_while_it_runs(runner, tmp_path):
    go_on = tmp_path / "go-on"
    seen = []

    def on_line(_stream, text):
        seen.append(text)
        go_on.touch()

    script = f"echo first; until [ -e {go_on} ]; do sleep 0.02; done; echo second"
    raw = run(runner, shell(script), StepControl(10, on_line=on_line))
    assert not raw.timed_out
    assert seen == ["first", "second"]


def test_no_shell_reads_the_arguments(runner):
    raw = run(runner, Command(kind="argv", argv=("echo", "$(id)", "a b", ";", "*")))
    assert raw.stdout == b"$(id) a b ; *\n"


def test_environment_is_fixed_and_small(runner, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("PGPASSWORD", "of the worker")
    raw = run(runner, Command(kind="argv", argv=("env",), env={"EXTRA": "a b"}))
    got = dict(line.split("=", 1) for line in raw.stdout.decode().splitlines())
    assert got["LC_ALL"] == "C"
    assert got["EXTRA"] == "a b"
    assert not got.keys() & {"LD_LIBRARY_PATH", "PGPASSWORD", "USER"}


def test_secret_in_stdin_and_env_reaches_the_program_but_not_its_argv(runner):
    secret = SecretText(("token=", Secret("s3cret-value")))
    script = 'cat; printf "%s" "$TOKEN"; tr "\\0" " " < /proc/$$/cmdline >&2'
    raw = run(runner, shell(script, stdin=secret, env={"TOKEN": secret}))
    assert raw.stdout == b"token=s3cret-valuetoken=s3cret-value"
    assert b"s3cret" not in raw.stderr


def test_standard_input_is_empty_by_default(runner):
    assert run(runner, Command(kind="argv", argv=("cat",))).exit_code == 0


def test_large_standard_input_does_not_block(runner):
    text = "x" * 1_000_000
    raw = run(runner, Command(kind="argv", argv=("wc", "-c"), stdin=text))
    assert raw.stdout.strip() == b"1000000"


def test_missing_program_is_told_before_the_effect(runner):
    armed = []
    with pytest.raises(StepError, match="no-such-program is not installed on this worker") as info:
        run(
            runner,
            Command(kind="argv", argv=("no-such-program",)),
            control(before_effect=lambda: armed.append(1)),
        )
    assert info.value.reason is Reason.MISSING_PROGRAM
    assert armed == []


def test_programs_of_sbin_are_found_without_path(runner, monkeypatch, require_program):
    require_program("sysctl")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run(runner, Command(kind="argv", argv=("sysctl", "-n", "kernel.ostype"))).stdout


def test_a_program_is_looked_for_only_where_workers_look(runner, monkeypatch, tmp_path):
    (tmp_path / "site-tool").write_text("#!/bin/sh\n")
    (tmp_path / "site-tool").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(StepError) as info:
        run(runner, Command(kind="argv", argv=("site-tool",)))
    assert info.value.reason is Reason.MISSING_PROGRAM


def test_arms_once_and_only_after_the_precheck(runner, tmp_path):
    order = []
    marked = tmp_path / "precheck-ran"
    command = shell("true", precheck=("touch", str(marked)))
    run(runner, command, control(before_effect=lambda: order.append(marked.exists())))
    assert order == [True]


def test_failed_precheck_never_arms(runner):
    armed = []
    command = shell("true", precheck=("sh", "-c", "echo 'no good' >&2; exit 1"))
    with pytest.raises(StepError, match="no good") as info:
        run(runner, command, control(before_effect=lambda: armed.append(1)))
    assert info.value.reason is Reason.CHECK_FAILED
    assert armed == []


def test_a_step_that_is_no_longer_ours_starts_nothing(runner, tmp_path):
    class NotOurs(Exception):
        pass

    def refuse():
        raise NotOurs

    with pytest.raises(NotOurs):
        run(runner, shell(f"touch {tmp_path}/ran"), control(before_effect=refuse))
    assert not (tmp_path / "ran").exists()


def test_cancelled_before_it_began_starts_nothing(runner, tmp_path):
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Stopped) as info:
        run(runner, shell(f"touch {tmp_path}/ran"), control(cancelled=cancelled))
    assert info.value.verified
    assert not (tmp_path / "ran").exists()


def test_cancel_ends_children_and_what_left_the_group(runner, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    script = f"""
        sleep 300 & inner=$!
        setsid sleep 300 & left=$!
        sleep 0.1
        echo $$ $inner $left > {pids}.new
        mv {pids}.new {pids}
        wait
    """
    thread, moment = act_once(pids, cancelled.set)
    with pytest.raises(Stopped) as info:
        run(runner, shell(script), control(cancelled=cancelled))
    took_s = time.monotonic() - moment[0]
    thread.join()
    assert info.value.verified
    assert [pid for pid in pids.read_text().split() if is_alive(pid)] == []
    assert took_s < 1.5


def test_a_command_that_ignores_sigterm_is_killed(runner, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    script = f"trap '' TERM; echo $$ > {pids}; while :; do sleep 0.05; done"
    thread, moment = act_once(pids, cancelled.set)
    with pytest.raises(Stopped) as info:
        run(runner, shell(script), control(cancelled=cancelled))
    thread.join()
    assert info.value.verified
    assert 1.0 <= time.monotonic() - moment[0] < 3
    assert not is_alive(pids.read_text().strip())


def test_cancel_finds_children_that_know_nothing_of_us(runner, tmp_path):
    """No marker, a session of their own, and no parent any more once they are told to end."""
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    script = stray_script(tmp_path, pids)
    thread, _ = act_once(pids, cancelled.set)
    with pytest.raises(Stopped) as info:
        run(runner, shell(script), control(cancelled=cancelled))
    thread.join()
    assert info.value.verified
    assert not is_alive(pids.read_text().strip())


def test_cancel_is_noticed_at_once(runner, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    command = Command(kind="argv", argv=("sh", "-c", f"echo $$ > {pids}; exec sleep 300"))
    thread, moment = act_once(pids, cancelled.set)
    with pytest.raises(Stopped):
        run(runner, command, control(cancelled=cancelled))
    thread.join()
    assert time.monotonic() - moment[0] < 0.5


def test_deadline_ends_it_and_keeps_what_it_said(runner, tmp_path):
    pids = tmp_path / "pids"
    raw = run(runner, shell(f"echo $$ > {pids}; echo working; sleep 300"), control(0.3))
    assert raw.timed_out
    assert raw.stopped == "verified"
    assert raw.stdout == b"working\n"
    assert not is_alive(pids.read_text().strip())


def test_run_for_is_success(runner):
    script = "trap 'echo done; exit 0' INT; echo on; while :; do sleep 0.02; done"
    raw = run(runner, shell(script, run_for_s=0.3, stop_signal="INT"))
    assert raw.ran_its_time
    assert not raw.timed_out
    assert raw.exit_code == 0
    assert raw.stdout == b"on\ndone\n"


def test_a_signal_is_told_as_shells_do(runner):
    assert run(runner, shell("kill -SEGV $$")).exit_code == 128 + signal.SIGSEGV


def test_output_is_capped_and_keeps_head_and_tail(runner):
    lines = []
    raw = run(runner, shell("seq 1 200000"), control(lines=lines))
    assert raw.truncated
    assert raw.stdout.startswith(b"1\n2\n")
    assert len(raw.stdout) <= 256 * 1024
    assert raw.stdout.endswith(b"\n")
    assert raw.stdout_tail.endswith(b"199999\n200000\n")
    assert len(lines) == 200_000


def test_one_endless_line_costs_no_memory(runner):
    lines = []
    raw = run(runner, shell("head -c 3000000 /dev/zero | tr '\\0' x"), control(lines=lines))
    assert raw.truncated
    assert [len(text) for _, text in lines] == [16 * 1024]


def test_artifact_goes_to_a_file(runner, tmp_path, lines):
    command = shell("printf 'a\\000b'; echo noise >&2", artifact="pcap", artifact_max_bytes=1000)
    raw = run(runner, command, control(lines=lines))
    assert raw.artifact.read_bytes() == b"a\0b"
    assert raw.artifact.stat().st_mode & 0o777 == 0o600
    assert raw.artifact_bytes == 3
    assert raw.stdout == b""
    assert lines == [("stderr", "noise")]


def test_artifact_stops_at_its_cap(runner):
    command = shell("exec yes", artifact="dump", artifact_max_bytes=5000, stop_signal="INT")
    raw = run(runner, command)
    assert raw.artifact.stat().st_size == 5000
    assert raw.truncated
    assert raw.ran_its_time


def test_artifact_of_a_stopped_step_is_deleted(runner, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    thread, _ = act_once(pids, cancelled.set)
    command = shell(f"echo data; echo $$ > {pids}; sleep 300", artifact="dump")
    with pytest.raises(Stopped):
        run(runner, command, control(cancelled=cancelled))
    thread.join()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_background_child_neither_hangs_nor_outlives_the_step(runner, tmp_path):
    pids = tmp_path / "pids"
    started = time.monotonic()
    raw = run(runner, shell(f"sleep 300 & echo $! > {pids}; echo ready"))
    assert raw.stdout == b"ready\n"
    assert time.monotonic() - started < 3
    assert goes_away(pids.read_text().strip())


def test_a_program_that_cannot_be_executed_fails(runner, tmp_path, require_program):
    require_program("setpriv")
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    raw = run(runner, Command(kind="argv", argv=(str(broken),)))
    assert raw.exit_code in {126, 127}
    assert b"broken" in raw.stderr


def test_arguments_that_are_too_long_are_refused(runner):
    with pytest.raises(StepError, match="could not be started: Argument list too long"):
        run(runner, Command(kind="argv", argv=("true", "x" * 200_000)))


def test_the_child_dies_with_a_killed_worker(tmp_path, require_program):
    require_program("setpriv")
    pids = tmp_path / "pids"
    program = f"""
from pathlib import Path
from app.command import Command
from app.step import LOCAL
from tasks.runners.base import StepControl
from tasks.runners.local import LocalRunner
command = Command(kind="argv", argv=("sh", "-c", "echo $$ > {pids}; exec sleep 300"))
LocalRunner(Path("{tmp_path}")).run(command, LOCAL, None, StepControl(300))
"""
    worker = subprocess.Popen([sys.executable, "-c", program], cwd=Path.cwd())
    child = wait_for(pids)[0]
    worker.kill()
    worker.wait()
    assert goes_away(child)


def test_no_file_descriptor_is_left_open(runner):
    run(runner, shell("true"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        run(runner, shell("true", stdin="x"))
        with pytest.raises(StepError):
            run(runner, Command(kind="argv", argv=("no-such-program",)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
