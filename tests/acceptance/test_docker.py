"""docker/ as its README says: built, started, its demo plan run, everything gone afterwards.

The servers' images come from Debian instead of a registry; everything else is what users get.
"""

import json
import os
import re
import secrets
import subprocess
from pathlib import Path

import pytest

from tests.lab.waiting import wait_until

PROJECT = Path(__file__).parents[2]
IMAGES = PROJECT / "tests" / "lab" / "images"
BUILD_S = 900
START_S = 240
SERVICES = {"postgres", "redis", "api", "comms", "asset", "network", "automation", "capture"}


class Compose:
    """`docker-compose` on an engine of the test's own."""

    def __init__(self, engine, folder):
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_HOST": engine.url,
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_PROJECT_NAME": "farm",
        }
        self._file = folder / "docker" / "compose.yaml"

    def __call__(self, *words, timeout_s=60, check=True):
        done = subprocess.run(
            ["docker-compose", "--file", str(self._file), *words],
            cwd=self._file.parent,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done


@pytest.fixture
def compose(docker_engine, require_program, tmp_path):
    require_program("docker-compose")
    for name in ("redis", "postgres"):
        docker_engine.docker("build", "--tag", f"opslab-{name}", str(IMAGES / name))
    docker_engine.docker(
        "build", "--tag", "opsfarm", "--file", str(PROJECT / "docker" / "Dockerfile"), str(PROJECT)
    )
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "compose.yaml").write_text((PROJECT / "docker" / "compose.yaml").read_text())
    (folder / ".env").write_text(fill_example())
    compose = Compose(docker_engine, tmp_path)
    yield compose
    compose("down", "--volumes", "--timeout", "5", timeout_s=120)


def fill_example():
    """What a user writes into .env: passwords, and here also where the images come from."""
    text = (PROJECT / "docker" / ".env.example").read_text()
    for number in (1, 2, 3):
        text = text.replace(f"CHANGE-ME-{number}", secrets.token_hex(12))
    values = {
        "OPSFARM_EVENTS": "true",
        "POSTGRES_IMAGE": "opslab-postgres",
        "REDIS_IMAGE": "opslab-redis",
        "OPSFARM_API_ADDRESS": "127.0.0.1:0",
        "OPSFARM_FLOWER_ADDRESS": "127.0.0.1:0",
    }
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^#{name}=.*$", f"{name}={value}", text)
        assert count == 1, name
    return text


def healthy_services(engine):
    """Those that their own health check calls well."""
    names = engine.docker("ps", "--filter", "health=healthy", "--format", "{{.Names}}").split()
    return {name.split("_")[1] for name in names}


def test_the_compose_farm_runs_its_demo_plan(compose, docker_engine):
    compose("up", "--detach", "--no-build", timeout_s=START_S)
    wait_until(
        lambda: healthy_services(docker_engine) >= SERVICES,
        lambda: compose("ps").stdout + compose("logs", "--tail=30").stdout,
        START_S,
    )
    run = ("exec", "-T", "api", "opsfarm")
    done = compose(*run, "plan", "run", "docker/demo.yaml", "--json", timeout_s=120, check=False)
    execution = json.loads(done.stdout)
    assert execution["state"] == "succeeded", done.stdout + done.stderr
    ended = {step["id"]: step for step in execution["steps"]}
    assert ended["found"]["output"]["assets"][0]["hostname"] == "compose-demo-01"
    assert ended["probe"]["output"]["state"] == "open"
    assert ended["hook"]["output"]["status"] == 200
    assert ended["capture"]["artifacts"]
    workers = {row["worker"].split("@")[0] for step in ended.values() for row in step["results"]}
    assert workers == {"asset", "automation", "network", "capture", "comms"}
    assert who_runs(docker_engine, "capture") == who_runs(docker_engine, "automation") == {"10001"}


def who_runs(engine, service):
    """The users of a container's processes, without the reaper that may begin as root."""
    lines = engine.docker("top", f"farm_{service}_1", "-eo", "pid,uid,comm").splitlines()[1:]
    return {line.split()[1] for line in lines if "tini" not in line}
