"""The lab's Docker engine: real, private, and gone with what it changed of the machine."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.lab import engine
from tests.lab.claims import exclusive

PROJECT = Path(__file__).parents[2]
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")

#: Leaves a network, a volume and a container that runs, and waits to be killed.
LEAVES = """
import signal
from tests.lab.engine import run_engine
with run_engine() as engine:
    engine.docker("network", "create", "left")
    engine.docker("run", "--detach", "--volume=left:/left", "debian:bookworm-slim", "sleep", "4711")
    print("ready", flush=True)
    signal.pause()
"""


def filter_rules():
    return subprocess.run(["iptables", "--list-rules"], capture_output=True, check=True).stdout


def bridges():
    links = [path.name for path in Path("/sys/class/net").iterdir()]
    return [name for name in links if name == engine.NAME or engine.BRIDGE.fullmatch(name)]


def sleepers():
    """The processes of this machine that run `sleep 4711`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            found += [path] if path.read_bytes() == b"sleep\0004711\0" else []
    return found


def test_a_killed_run_is_swept_up_by_the_next(require_docker_engine):
    """Its containers die with it; the packet filter and the bridges are put in order next time."""
    with exclusive("engine"):
        before = filter_rules(), FORWARDING.read_text()
    argv = [sys.executable, "-c", LEAVES]
    run = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    with run.stdout as said:
        assert said.readline() == "ready\n"
    assert len(sleepers()) == 1
    assert len(bridges()) == 2
    run.send_signal(signal.SIGKILL)
    run.wait()
    with engine.run_engine() as next_engine:
        assert sleepers() == []
        assert bridges() == [engine.NAME]
        assert next_engine.docker("ps", "--all", "--quiet") == ""
        assert next_engine.docker("volume", "ls", "--quiet") == ""
    with exclusive("engine"):
        assert (filter_rules(), FORWARDING.read_text()) == before
        assert bridges() == []


def test_runs_a_container_of_the_base_image(docker_engine):
    said = docker_engine.docker("run", "--rm", engine.BASE_IMAGE, "cat", "/etc/os-release")
    assert "VERSION_CODENAME=bookworm" in said


def test_containers_reach_each_other_by_name(docker_engine):
    """The engine's own DNS answers on a network of one's own."""
    docker_engine.docker("network", "create", "planted")
    options = ["--network=planted", engine.BASE_IMAGE]
    docker_engine.docker("run", "--detach", "--name=first", *options, "sleep", "60")
    said = docker_engine.docker("run", "--rm", *options, "getent", "hosts", "first")
    address = "{{.NetworkSettings.Networks.planted.IPAddress}}"
    assert said.split()[0] == docker_engine.docker("inspect", f"--format={address}", "first")


def test_clear_leaves_images_alone(docker_engine):
    docker_engine.docker("run", "--detach", "--volume=kept:/kept", engine.BASE_IMAGE, "sleep", "9")
    docker_engine.docker("network", "create", "cleared")
    docker_engine.clear()
    assert docker_engine.docker("ps", "--all", "--quiet") == ""
    assert docker_engine.docker("volume", "ls", "--quiet") == ""
    assert "cleared" not in docker_engine.docker("network", "ls")
    assert docker_engine.docker("image", "ls", "--quiet", engine.BASE_IMAGE) != ""
