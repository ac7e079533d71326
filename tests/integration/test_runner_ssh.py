"""The SSH runner against a real sshd on loopback."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from app.admin.servers import find_free_port
from app.command import Command
from app.errors import StepError, Stopped
from app.filling import SecretText
from app.step import Credential, Secret
from tasks.runners import ssh_connections
from tasks.runners.base import StepControl
from tasks.runners.ssh import SshRunner
from tests.lab.running import act_once, control, is_alive, shell, stray_script, wait_for
from tests.lab.sshd import make_key, start_sshd
from tool_catalog.model import Reason


@pytest.fixture
def runner(tmp_path):
    runner = SshRunner(tmp_path / "scratch")
    yield runner
    runner.close()


def run(runner, sshd, command, step_control=None, **changes):
    target = replace(sshd.target, **changes)
    return runner.run(command, target, sshd.credential, step_control or control())


def test_gives_output_and_exit_code(runner, sshd):
    lines = []
    raw = run(runner, sshd, shell("echo one; echo two >&2; exit 3"), control(lines=lines))
    assert (raw.exit_code, raw.stdout, raw.stderr) == (3, b"one\n", b"two\n")
    assert sorted(lines) == [("stderr", "two"), ("stdout", "one")]
    assert raw.stopped is None


def test_arguments_reach_the_program_as_they_are(runner, sshd):
    given = ("$(id)", "a b", ";", "*", "it's", '"', "\\", "", "back`tick`", "new\nline", "ü")
    raw = run(runner, sshd, Command(kind="argv", argv=("printf", "%s|", *given)))
    assert raw.stdout.decode() == "".join(f"{item}|" for item in given)


def test_environment_is_fixed_and_small(runner, sshd):
    raw = run(runner, sshd, Command(kind="argv", argv=("env",), env={"EXTRA": "a 'b"}))
    got = dict(line.split("=", 1) for line in raw.stdout.decode().splitlines())
    assert got["LC_ALL"] == "C"
    assert got["EXTRA"] == "a 'b"
    assert got["HOME"].startswith("/")
    assert "SSH_CLIENT" not in got


def test_secrets_travel_by_stdin_and_never_in_an_argv(runner, sshd):
    secret = SecretText((Secret("s3cret $va'lue"),))
    script = """
        cat; printf "|%s|" "$TOKEN"
        for file in /proc/[0-9]*/cmdline; do tr "\\0" " " < "$file"; done >&2 2>/dev/null
    """
    raw = run(runner, sshd, shell(script, stdin=secret, env={"TOKEN": secret}))
    assert raw.stdout == b"s3cret $va'lue|s3cret $va'lue|"
    assert b" opsfarm " in raw.stderr
    assert b"s3cret" not in raw.stderr


def test_a_secret_of_several_lines_is_refused_in_the_environment(runner, sshd):
    secret = SecretText((Secret("a\nb"),))
    with pytest.raises(StepError, match="several lines") as info:
        run(runner, sshd, shell("true", env={"TOKEN": secret}))
    assert info.value.reason is Reason.INVALID_PARAMETER


def test_large_standard_input(runner, sshd):
    raw = run(runner, sshd, Command(kind="argv", argv=("wc", "-c"), stdin="x" * 300_000))
    assert raw.stdout.strip() == b"300000"


def test_lines_come_while_it_runs(runner, sshd, tmp_path):
    go_on = tmp_path / "go-on"
    seen = []

    def on_line(_stream, text):
        seen.append(text)
        go_on.touch()

    script = f"echo first; until [ -e {go_on} ]; do sleep 0.02; done; echo second"
    raw = run(runner, sshd, shell(script), StepControl(15, on_line=on_line))
    assert not raw.timed_out
    assert seen == ["first", "second"]


def test_output_is_capped(runner, sshd):
    raw = run(runner, sshd, shell("seq 1 200000"))
    assert raw.truncated
    assert len(raw.stdout) <= 256 * 1024
    assert raw.stdout_tail.endswith(b"199999\n200000\n")


def test_artifact_goes_to_a_file(runner, sshd):
    raw = run(runner, sshd, shell("printf 'a\\000b'", artifact="dump", artifact_max_bytes=1000))
    assert raw.artifact.read_bytes() == b"a\0b"


def test_a_signal_is_told_as_shells_do(runner, sshd):
    assert run(runner, sshd, shell("kill -SEGV $$")).exit_code == 139


def test_missing_program_names_program_and_host(runner, sshd):
    with pytest.raises(StepError, match="no-such-tool is not installed on lab-host") as info:
        run(runner, sshd, Command(kind="argv", argv=("no-such-tool", "x")))
    assert info.value.reason is Reason.MISSING_PROGRAM


def test_connections_are_kept_and_reused(runner, sshd):
    run(runner, sshd, shell("true"))
    before = sshd.connections()
    for _ in range(5):
        run(runner, sshd, shell("true"))
    assert sshd.connections() == before


def test_a_kept_connection_that_died_is_replaced(runner, sshd):
    run(runner, sshd, shell("true"))
    sshd.cut_connections()
    assert run(runner, sshd, shell("echo back")).stdout == b"back\n"


def test_many_commands_at_once(runner, sshd):
    with ThreadPoolExecutor(6) as pool:
        raws = list(pool.map(lambda n: run(runner, sshd, shell(f"echo {n}")), range(18)))
    assert [raw.stdout for raw in raws] == [f"{n}\n".encode() for n in range(18)]


def test_arms_once_and_after_the_precheck(runner, sshd, tmp_path):
    order = []
    marked = tmp_path / "precheck-ran"
    command = shell("true", precheck=("touch", str(marked)))
    run(runner, sshd, command, control(before_effect=lambda: order.append(marked.exists())))
    assert order == [True]


def test_failed_precheck_never_arms(runner, sshd):
    armed = []
    command = shell("true", precheck=("sh", "-c", "echo 'no good' >&2; exit 1"))
    with pytest.raises(StepError, match="no good") as info:
        run(runner, sshd, command, control(before_effect=lambda: armed.append(1)))
    assert info.value.reason is Reason.CHECK_FAILED
    assert armed == []


def test_a_step_that_is_no_longer_ours_starts_nothing(runner, sshd, tmp_path):
    class NotOurs(Exception):
        pass

    def refuse():
        raise NotOurs

    with pytest.raises(NotOurs):
        run(runner, sshd, shell(f"touch {tmp_path}/ran"), control(before_effect=refuse))
    assert not (tmp_path / "ran").exists()


def test_an_unknown_host_key_is_refused(runner, sshd):
    with pytest.raises(StepError, match="'opsfarm assets trust lab-host' shows") as info:
        run(runner, sshd, shell("true"), options={})
    assert info.value.reason is Reason.HOST_KEY_CHANGED


def test_a_host_key_that_cannot_be_read_is_refused(runner, sshd):
    with pytest.raises(StepError, match="cannot be read") as info:
        run(runner, sshd, shell("true"), options={"host_key": "ssh-ed25519"})
    assert info.value.reason is Reason.HOST_KEY_CHANGED


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_changed_host_key_is_refused_and_nothing_is_sent(runner, sshd, tmp_path, kind):
    make_key(tmp_path / "other", kind)
    before = sshd.connections()
    other = (tmp_path / "other.pub").read_text()
    with pytest.raises(StepError, match="another host key") as info:
        run(runner, sshd, shell("true"), options={"host_key": other})
    assert info.value.reason is Reason.HOST_KEY_CHANGED
    assert sshd.connections() == before


def test_a_refused_login_names_the_credential(runner, sshd, tmp_path):
    make_key(tmp_path / "stranger")
    stranger = Secret((tmp_path / "stranger").read_text())
    credential = replace(sshd.credential, private_key=stranger)
    with pytest.raises(StepError, match="lab-key") as info:
        runner.run(shell("true"), sshd.target, credential, control())
    assert info.value.reason is Reason.AUTH_FAILED
    assert not info.value.sent


def test_a_refused_password(runner, sshd):
    credential = Credential("by-password", sshd.credential.username, password=Secret("wr0ng-pw"))
    with pytest.raises(StepError) as info:
        runner.run(shell("true"), sshd.target, credential, control())
    assert info.value.reason is Reason.AUTH_FAILED
    assert "wr0ng-pw" not in str(info.value)


@pytest.mark.parametrize(
    "login", [{"private_key": None}, {"private_key": Secret("-----BEGIN nonsense")}]
)
def test_a_credential_that_cannot_work_says_so(runner, sshd, login):
    with pytest.raises(StepError, match="credential lab-key") as info:
        runner.run(shell("true"), sshd.target, replace(sshd.credential, **login), control())
    assert info.value.reason is Reason.AUTH_FAILED
    assert "nonsense" not in str(info.value)


def test_no_credential(runner, sshd):
    with pytest.raises(StepError, match="no credential for lab-host") as info:
        runner.run(shell("true"), sshd.target, None, control())
    assert info.value.reason is Reason.AUTH_FAILED


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_key_types_log_in(runner, sshd, tmp_path, kind):
    make_key(tmp_path / "key", kind)
    authorized = sshd.folder / "authorized_keys"
    authorized.write_text(authorized.read_text() + (tmp_path / "key.pub").read_text())
    key = Secret((tmp_path / "key").read_text())
    credential = replace(sshd.credential, name=kind, private_key=key)
    assert runner.run(shell("echo in"), sshd.target, credential, control()).stdout == b"in\n"


def test_a_dead_host_is_unreachable_and_may_be_tried_again(runner, sshd):
    with pytest.raises(StepError, match="lab-host") as info:
        run(runner, sshd, shell("true"), port=find_free_port())
    assert info.value.reason is Reason.UNREACHABLE
    assert info.value.transient
    assert not info.value.sent


def test_a_connection_lost_while_it_runs_is_an_unknown_outcome(runner, sshd, tmp_path):
    pids = tmp_path / "pids"
    thread, _ = act_once(pids, sshd.cut_connections)
    with pytest.raises(StepError, match="was lost while the command ran") as info:
        run(runner, sshd, shell(f"echo $$ > {pids}; exec sleep 300"))
    thread.join()
    assert info.value.reason is Reason.UNREACHABLE
    assert info.value.sent
    os.kill(int(pids.read_text()), 9)


def test_cancel_ends_the_remote_command_and_its_children(runner, sshd, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    script = f"""
        sleep 300 & inner=$!
        setsid sleep 300 & left=$!
        sleep 0.2
        echo $$ $inner $left > {pids}.new
        mv {pids}.new {pids}
        wait
    """
    thread, moment = act_once(pids, cancelled.set)
    with pytest.raises(Stopped) as info:
        run(runner, sshd, shell(script), control(cancelled=cancelled))
    took_s = time.monotonic() - moment[0]
    thread.join()
    assert info.value.verified
    assert [pid for pid in pids.read_text().split() if is_alive(pid)] == []
    assert took_s < 4


def test_cancel_of_a_command_that_ignores_sigterm(runner, sshd, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    script = f"trap '' TERM; echo $$ > {pids}; while :; do sleep 0.05; done"
    thread, _ = act_once(pids, cancelled.set)
    with pytest.raises(Stopped) as info:
        run(runner, sshd, shell(script), control(cancelled=cancelled))
    thread.join()
    assert info.value.verified
    assert not is_alive(pids.read_text().strip())


def test_cancel_finds_children_that_know_nothing_of_us(runner, sshd, tmp_path):
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    thread, _ = act_once(pids, cancelled.set)
    with pytest.raises(Stopped) as info:
        run(runner, sshd, shell(stray_script(tmp_path, pids)), control(cancelled=cancelled))
    thread.join()
    assert info.value.verified
    assert not is_alive(pids.read_text().strip())


def test_a_cancel_does_not_wait_for_a_host_that_takes_its_time(runner, sshd, tmp_path):
    """The listener accepts and says nothing: a login waits ten seconds for its banner."""
    cancelled = threading.Event()
    with ExitStack() as kept:
        silent = kept.enter_context(socket.create_server(("127.0.0.1", 0)))
        silent.settimeout(10)

        def accept():
            kept.enter_context(silent.accept()[0])
            cancelled.set()

        thread = threading.Thread(target=accept)
        thread.start()
        began = time.monotonic()
        with pytest.raises(Stopped) as info:
            run(
                runner,
                sshd,
                shell(f"touch {tmp_path}/ran"),
                control(cancelled=cancelled),
                port=silent.getsockname()[1],
            )
        assert time.monotonic() - began < 2
        thread.join()
    assert info.value.verified
    assert not (tmp_path / "ran").exists()


def test_a_login_takes_no_longer_than_its_step_has_time(runner, sshd):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(StepError, match=r"no connection within 0\.5 s") as info:
            run(runner, sshd, shell("true"), control(0.5), port=silent.getsockname()[1])
        assert (info.value.reason, info.value.sent) == (Reason.TIMEOUT, False)


def test_cancel_ends_only_its_own_step(runner, sshd, tmp_path):
    pids, other = tmp_path / "pids", tmp_path / "other"
    cancelled = threading.Event()
    thread, _ = act_once(pids, lambda: (wait_for(other), cancelled.set()))
    with ThreadPoolExecutor(1) as pool:
        neighbour = pool.submit(run, runner, sshd, shell(f"echo $$ > {other}; sleep 3; echo safe"))
        command = shell(f"echo $$ > {pids}; exec sleep 300")
        with pytest.raises(Stopped):
            run(runner, sshd, command, control(cancelled=cancelled))
        assert neighbour.result().stdout == b"safe\n"
    thread.join()


def test_cancel_says_unverified_when_the_host_does_not_answer(runner, sshd, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_connections, "_CONNECT_S", 1)
    server = start_sshd(tmp_path / "frozen", sshd.process.args[0])
    pids = tmp_path / "pids"
    cancelled = threading.Event()

    def freeze_and_cancel():
        server.freeze()
        cancelled.set()

    thread, _ = act_once(pids, freeze_and_cancel)
    command = shell(f"echo $$ > {pids}; exec sleep 300")
    try:
        with pytest.raises(Stopped, match="what may still run") as info:
            run(runner, server, command, control(cancelled=cancelled))
        assert not info.value.verified
        assert is_alive(pids.read_text().strip())
    finally:
        thread.join()
        server.stop()
        os.kill(int(pids.read_text()), 9)


def test_deadline_ends_it_and_keeps_what_it_said(runner, sshd, tmp_path):
    pids = tmp_path / "pids"
    script = f"echo $$ > {pids}; echo working; sleep 300"
    raw = run(runner, sshd, shell(script), control(1.5))
    assert raw.timed_out
    assert raw.stopped == "verified"
    assert raw.stdout == b"working\n"
    assert not is_alive(pids.read_text().strip())


def test_run_for_sends_its_signal_once_and_is_success(runner, sshd):
    script = (
        "trap 'echo INT' INT; trap 'exit 0' TERM; echo on; for i in 1 2 3 4 5 6; do sleep 0.2; done"
    )
    raw = run(runner, sshd, shell(script, run_for_s=0.5, stop_signal="INT"))
    assert raw.ran_its_time
    assert raw.stdout.count(b"INT") == 1
    assert raw.exit_code == 0


def test_a_background_child_does_not_hang_the_step(runner, sshd, tmp_path):
    pids = tmp_path / "pids"
    started = time.monotonic()
    raw = run(runner, sshd, shell(f"sleep 300 & echo $! > {pids}; echo ready"))
    assert raw.stdout == b"ready\n"
    assert time.monotonic() - started < 5
    os.kill(int(pids.read_text()), 9)


def test_a_command_that_closes_its_output_is_waited_for(runner, sshd):
    raw = run(runner, sshd, shell("exec >&- 2>&-; sleep 0.5; exit 4"))
    assert raw.exit_code == 4


def test_sudo_runs_as_the_named_user(runner, sshd, require_program, require_root):
    require_program("sudo")
    raw = run(runner, sshd, shell("id -un; cat", stdin="in", run_as="daemon"))
    assert raw.stdout == b"daemon\nin"


def test_a_way_to_become_somebody_is_used_only_when_it_is_asked_for(runner, sshd):
    credential = replace(sshd.credential, become={"method": "sudo", "user": "daemon"})
    raw = runner.run(shell("id -un"), sshd.target, credential, control())
    assert raw.stdout.decode().strip() == sshd.credential.username


def test_a_sudo_password_that_nobody_asks_for_reaches_no_program(
    runner, sshd, require_program, require_root
):
    require_program("sudo")
    credential = replace(sshd.credential, become_password=Secret("sud0-pw"))
    command = shell("cat", stdin="only this", run_as="root")
    raw = runner.run(command, sshd.target, credential, control())
    assert raw.stdout == b"only this"


def test_cancel_under_sudo(runner, sshd, tmp_path, require_program, require_root):
    require_program("sudo")
    pids = tmp_path / "pids"
    cancelled = threading.Event()
    thread, _ = act_once(pids, cancelled.set)
    command = shell(f"echo $$ > {pids}; exec sleep 300", run_as="root")
    with pytest.raises(Stopped) as info:
        run(runner, sshd, command, control(cancelled=cancelled))
    thread.join()
    assert info.value.verified
    assert not is_alive(pids.read_text().strip())


@pytest.mark.parametrize("arms", [True, False])
def test_a_user_that_cannot_be_become_is_told_before_a_change_is_armed(
    runner, sshd, require_program, require_root, arms
):
    require_program("sudo")
    armed = []
    step_control = control(arms=arms, before_effect=lambda: armed.append(1))
    with pytest.raises(StepError, match="cannot become no-such-user on lab-host: sudo: ") as info:
        run(runner, sshd, shell("true", run_as="no-such-user"), step_control)
    assert info.value.reason is Reason.NO_PRIVILEGE
    assert len(armed) == (0 if arms else 1)  # a read arms nothing: it saves itself the question


def test_the_key_of_the_host_may_be_one_of_several_types(runner, sshd, tmp_path):
    make_key(tmp_path / "other", "rsa")
    keys = [sshd.host_key, (tmp_path / "other.pub").read_text()]
    assert run(runner, sshd, shell("echo ok"), options={"host_key": keys}).stdout == b"ok\n"
