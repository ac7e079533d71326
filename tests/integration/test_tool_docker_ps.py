"""docker-ps against a Docker engine of the test's own, with planted containers."""

import secrets

import pytest

from app.step import State
from tests.lab.engine import BASE_IMAGE
from tool_catalog.model import Reason

MARK = secrets.token_hex(6)


@pytest.fixture(scope="module")
def planted(docker_engine):
    """The id of a container that runs, and of one that has ended."""
    words = ["--network=none", f"--label=planted={MARK}"]
    run = docker_engine.docker(
        *("run", "--detach", "--init", f"--name=web-{MARK}", "--volume=/data"),
        *(*words, "--label=role=web", BASE_IMAGE, "sleep", "600"),
    )
    done = docker_engine.docker("create", f"--name=job-{MARK}", *words, BASE_IMAGE, "true")
    docker_engine.docker("start", "--attach", done)
    return run, done


@pytest.fixture
def run(bench, docker_engine):
    def call(given):
        given = {"socket": docker_engine.url.removeprefix("unix://"), **given}
        return bench.run("docker-ps", "list", given).result

    return call


@pytest.mark.root
@pytest.mark.proves("docker-ps", "list")
def test_planted_containers_are_listed(run, planted):
    result = run({"label": f"planted={MARK}"})
    assert result.state is State.SUCCEEDED, result.summary
    rows = {row["id"]: row for row in result.output}
    assert set(rows) == set(planted)
    web, job = (rows[container] for container in planted)
    assert (web["name"], web["state"], web["image"]) == (f"web-{MARK}", "running", BASE_IMAGE)
    assert (job["name"], job["state"]) == (f"job-{MARK}", "exited")
    assert (web["networks"], len(web["mounts"])) == (["none"], 1)
    assert {f"planted={MARK}", "role=web"} <= set(web["labels"].split(","))
    assert job["status"].startswith("Exited (0)")
    assert '"sleep 600"' in web["command"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"all": False}, ["web"]),
        ({"status": "exited"}, ["job"]),
        ({"name": "web-"}, ["web"]),
        ({"label": "role=web"}, ["web"]),
        ({"label": "role=db"}, []),
        ({"image": BASE_IMAGE}, ["job", "web"]),
        ({"last": 1}, ["job"]),
    ],
)
def test_filters_leave_out_the_others(run, planted, given, names):
    result = run(given)
    assert sorted(row["name"].partition("-")[0] for row in result.output) == names


def test_where_no_engine_is(bench, tmp_path, require_program):
    require_program("docker")
    result = bench.run("docker-ps", "list", {"socket": f"{tmp_path}/docker.sock"}).result
    assert (result.state, result.reason) == (State.FAILED, Reason.UNREACHABLE)
    assert f"no Docker engine listens at unix://{tmp_path}/docker.sock" in result.summary
