"""The lab's own hosts: real, apart from one another, and gone without a trace."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import StepError
from app.step import Secret
from tasks.runners.ssh import SshRunner
from tests.lab.claims import RUN
from tests.lab.root_tree import PASSWORD
from tests.lab.running import control, is_alive, shell

PROJECT = Path(__file__).parents[2]
SUDO = {"method": "sudo", "user": "root"}


@pytest.fixture
def runner(tmp_path):
    runner = SshRunner(tmp_path / "scratch")
    yield runner
    runner.close()


def traces(number, pid=None):
    """What a host of a process (default: ours) leaves on this machine while it runs."""
    claim = RUN / f"host-{number}"
    places = [claim, Path(f"/sys/class/net/opslab{number}")]
    places += Path("/sys/fs/cgroup").glob(f"*/opslab{number}")
    found = [str(path) for path in places if path.exists()]
    if claim.exists() and not claim.read_text().startswith(f"{pid or os.getpid()} "):
        return []  # another run has taken the number meanwhile
    return found


def test_systemd_is_real(systemd_host, runner):
    raw = runner.run(
        shell("systemctl is-system-running && hostname && id -un"),
        systemd_host.target,
        systemd_host.credential(),
        control(),
    )
    assert raw.stdout == b"running\nlab-01\nops\n"


@pytest.mark.parametrize(("user", "password"), [("ops", PASSWORD), ("deploy", None)])
def test_people_become_root_as_their_rule_says(systemd_host, runner, user, password):
    secret = Secret(password) if password else None
    login = systemd_host.credential(user, become=SUDO, become_password=secret)
    command = shell("id -un", run_as="root")
    assert runner.run(command, systemd_host.target, login, control()).stdout == b"root\n"


def test_a_guest_becomes_nobody(systemd_host, runner):
    login = systemd_host.credential("guest", become=SUDO, become_password=Secret(PASSWORD))
    with pytest.raises(StepError, match="guest is not in the sudoers file"):
        runner.run(shell("id -un", run_as="root"), systemd_host.target, login, control())


def test_a_password_opens_it_too(systemd_host, runner):
    login = systemd_host.credential("guest", private_key=None, password=Secret(PASSWORD))
    raw = runner.run(shell("id -un"), systemd_host.target, login, control())
    assert raw.stdout == b"guest\n"


def test_a_unit_restarts_on_one_host_alone(make_systemd_hosts):
    first, second = make_systemd_hosts(2)
    ask = ["systemctl", "show", "--value", "--property=MainPID", "cron"]
    before = first.run(*ask), second.run(*ask)
    first.run("systemctl", "restart", "cron")
    assert first.run(*ask) != before[0]
    assert second.run(*ask) == before[1]
    assert "Started cron.service" in first.run("journalctl", "--unit=cron", "--lines=5")


def test_files_are_a_host_s_own(make_systemd_hosts):
    first, second = make_systemd_hosts(2)
    first.path("/etc/planted").write_text("here")
    assert first.run("cat", "/etc/planted") == "here"
    assert not second.path("/etc/planted").exists()


def test_nothing_is_left_of_a_stopped_host(make_systemd_hosts):
    [host] = make_systemd_hosts(1, "gone")
    init = host._init()
    assert len(traces(host.number)) > 2
    host.stop()
    assert traces(host.number) == []
    assert not is_alive(init)


def test_a_killed_run_is_swept_up_by_the_next(make_systemd_hosts):
    """Its processes die with it; its claim and control groups are removed at the next start."""
    script = """
import signal
from tests.lab.host import Hosts
[host] = Hosts().start("orphan")
print(host.number, host._init(), flush=True)
signal.pause()
"""
    argv = [sys.executable, "-c", script]
    run = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    with run.stdout as said:
        number, init = said.readline().split()
    assert is_alive(init)
    assert traces(number, run.pid) != []
    run.send_signal(signal.SIGKILL)
    run.wait()
    make_systemd_hosts(1, "next")
    assert not is_alive(init)
    assert traces(number, run.pid) == []
