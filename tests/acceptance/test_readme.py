"""The README's second screen, word by word, against a real host."""

import re
import shlex
import subprocess

import pytest

from app.principal import Role
from tests.lab.command_line import COMMAND
from tests.lab.host import user_key
from tests.lab.real_farm import PROJECT, RealFarm, Servers
from tests.lab.waiting import wait_until

#: Of the networks that are kept for examples (RFC 5737); the host of this test gets it, too.
ADDRESS = "192.0.2.10"
README = (PROJECT / "README.md").read_text()
SECTION = README.partition("\n## A host of yours\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^    (\.venv/bin/opsfarm .+?)(?: +#.*)?$", SECTION, re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture
def host(make_systemd_hosts):
    """A host called web-01 that answers at the README's address, too."""
    [host] = make_systemd_hosts(1)
    host.run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    # The route goes over the host's own cable, and ends with it.
    subprocess.run(["ip", "route", "replace", ADDRESS, "via", host.address], check=True)
    return host


@pytest.fixture
def farm(server_folder):
    names = ("api", "dispatcher", "asset", "automation")
    with (
        Servers(server_folder / "readme") as servers,
        RealFarm(servers, server_folder / "readme-farm", *names) as farm,
    ):
        yield farm
        assert farm.tracebacks() == []


@pytest.fixture
def type_in(farm, tmp_path):
    """`type_in(line, "y\\n")`: what a shell says in a folder with the farm's `.venv`."""
    program = tmp_path / ".venv" / "bin" / "opsfarm"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    program.chmod(0o755)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text(user_key().read_text())
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT),
        "OPSFARM_API_URL": farm.url,
        "OPSFARM_API_KEY": farm.keys[Role.ADMIN],
    }

    def run(line, given=""):
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


def fingerprint_of(host, folder):
    path = folder / "key.pub"
    path.write_text(host.host_key)
    shown = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


def test_five_commands_take_ones_own_host_to_a_finished_plan(host, type_in, tmp_path):
    assert len(COMMANDS) == 5
    create, trust, add, check, run = COMMANDS
    assert ADDRESS in type_in(create)
    said = type_in(trust, "y\n")
    assert f"ssh-ed25519 {fingerprint_of(host, tmp_path)}" in said
    assert "web-01: pinned" in said
    assert "credential web is kept; it serves web-01" in type_in(add)
    said = type_in(check)
    assert "web-01: ready" in said
    assert "login     ok       as deploy with credential web (key)" in said
    assert "os        ok       Debian GNU/Linux 12 (bookworm)" in said
    said = type_in(run)
    assert re.search(r"^overlay .* / *$", said, re.MULTILINE)
    assert re.search(r"^execution \S+: succeeded$", said, re.MULTILINE)
    log = ("journalctl", "--unit=ssh", "--no-pager")
    wait_until(lambda: "Accepted publickey for deploy" in host.run(*log), "nobody logged in")


def test_the_readme_stays_short():
    """A screen to the first run, a screen to one's own host, and where to read on."""
    assert README.index("## A host of yours") < 2600
    assert len(README.splitlines()) <= 100
