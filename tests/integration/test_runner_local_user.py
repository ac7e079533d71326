"""The local runner as another user: a worker that is root, and one that only has sudo."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from app.command import Command
from app.errors import StepError, Stopped
from app.filling import SecretText
from app.step import LOCAL, Secret
from tasks.runners.local import LocalRunner
from tests.lab.running import act_once, control, is_alive, shell
from tool_catalog.model import Reason

PROJECT = Path(__file__).parents[2]
#: Runs what follows in a namespace with a sudoers of its own, as nobody; that user may read where
#: this Python lives.
AS_NOBODY = [
    *("unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/sudoers; shift; exec "$@"', "sh"),
    "{sudoers}",
    *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search", "--"),
]
SUDOERS = "nobody ALL=(daemon) NOPASSWD: ALL\n"


@pytest.fixture
def runner(tmp_path, require_root):
    return LocalRunner(tmp_path / "scratch")


def test_root_becomes_whom_the_step_names(runner):
    script = 'id -un; id -gn; id -Gn; echo "$HOME $USER $LOGNAME"; cat'
    raw = runner.run(shell(script, stdin="in", run_as="daemon"), LOCAL, None, control())
    assert raw.stdout.decode().splitlines() == [
        "daemon",
        "daemon",
        "daemon",
        "/usr/sbin daemon daemon",
        "in",
    ]


def test_root_stays_root_where_nobody_else_is_named(runner):
    for run_as in (None, "root"):
        raw = runner.run(shell("id -un", run_as=run_as), LOCAL, None, control())
        assert raw.stdout == b"root\n"


@pytest.fixture
def shared_folder():
    """A folder that every user reaches; those of pytest are for its own user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_what_root_runs_as_another_ends_with_its_children(runner, shared_folder):
    pids = shared_folder / "pids"
    cancelled = threading.Event()
    thread, _ = act_once(pids, cancelled.set)
    script = f"setsid sleep 300 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    with pytest.raises(Stopped) as info:
        runner.run(shell(script, run_as="daemon"), LOCAL, None, control(cancelled=cancelled))
    thread.join()
    assert info.value.verified
    assert [pid for pid in pids.read_text().split() if is_alive(pid)] == []


def test_a_user_that_is_not_there_arms_nothing(runner):
    armed = []
    step_control = control(arms=True, before_effect=lambda: armed.append(1))
    with pytest.raises(StepError, match="has no user no-such-user") as info:
        runner.run(shell("true", run_as="no-such-user"), LOCAL, None, step_control)
    assert (info.value.reason, armed) == (Reason.NO_PRIVILEGE, [])


def test_a_precheck_runs_as_the_same_user(runner):
    command = shell("true", precheck=("sh", "-c", "id -un >&2; exit 1"), run_as="daemon")
    with pytest.raises(StepError, match="failed: daemon") as info:
        runner.run(command, LOCAL, None, control())
    assert info.value.reason is Reason.CHECK_FAILED


def test_a_worker_that_is_not_root_goes_by_sudo(by_nobody):
    script = """
        id -un; echo "$HOME $TOKEN"; cat
        cat /proc/[0-9]*/cmdline 2>/dev/null | grep -c '[s]3cret'; true
    """
    ran = by_nobody(script=script, run_as="daemon", secret="s3" + "cret")
    assert ran["stdout"].splitlines() == ["daemon", "/usr/sbin s3cret", "in0"]
    assert (ran["exit_code"], ran["armed"]) == (0, 1)


def test_what_sudo_started_ends_with_its_children(by_nobody):
    script = "setsid sleep 300 & echo $$ $!; wait"
    ran = by_nobody(script=script, run_as="daemon", timeout_s=1)
    assert (ran["timed_out"], ran["stopped"]) == (True, "verified")
    pids = ran["stdout"].split()
    assert len(pids) == 2
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_stop_signal_goes_through_sudo(by_nobody):
    script = "trap 'echo ended; exit 0' INT; echo begun; while :; do sleep 0.1; done"
    ran = by_nobody(script=script, run_as="daemon", run_for_s=1)
    assert ran["stdout"] == "begun\nended\n"


@pytest.mark.parametrize(
    ("run_as", "words"),
    [("root", "this worker cannot become root: "), ("no-such-user", "has no user no-such-user")],
)
def test_a_sudo_that_refuses_arms_nothing(by_nobody, run_as, words):
    ran = by_nobody(script="true", run_as=run_as)
    assert (ran["reason"], ran["armed"]) == ("no_privilege", 0)
    assert words in ran["message"]


@pytest.fixture
def by_nobody(tmp_path, require_root, require_program):
    """`by_nobody(script=..., run_as=...)`: what the runner gives in a process that is not root."""
    for program in ("sudo", "setpriv", "unshare"):
        require_program(program)
    sudoers = tmp_path / "sudoers"
    sudoers.write_text(SUDOERS)
    sudoers.chmod(0o440)

    def run(**asked):
        before = [part.format(sudoers=sudoers) for part in AS_NOBODY]
        argv = [*before, sys.executable, str(Path(__file__).resolve())]
        done = subprocess.run(
            argv,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    return run


def _run_here(asked):
    """In the process that is not root: run it, and tell what came of it."""
    armed = []
    secret = SecretText((Secret(asked.get("secret", "")),))
    step_control = control(
        asked.get("timeout_s", 30),
        arms=True,
        before_effect=lambda: armed.append(1),
    )
    command = Command(
        kind="argv",
        argv=("sh", "-c", asked["script"]),
        stdin="in",
        env={"TOKEN": secret},
        run_as=asked["run_as"],
        run_for_s=asked.get("run_for_s"),
        stop_signal="INT",
    )
    try:
        raw = LocalRunner(Path("/nonexistent")).run(command, LOCAL, None, step_control)
    except StepError as error:
        return {"reason": error.reason.value, "message": error.message, "armed": len(armed)}
    return {
        "exit_code": raw.exit_code,
        "stdout": raw.stdout.decode(),
        "timed_out": raw.timed_out,
        "stopped": raw.stopped,
        "armed": len(armed),
    }


if __name__ == "__main__":
    print(json.dumps(_run_here(json.load(sys.stdin))))
