"""chmod against files that the test makes: on this host, and over SSH as one who may not."""

import pytest

from app.safety import Policy, effect_of
from app.step import State
from app.undo import Done, Undo, plan_undo
from tool_catalog.loader import load_catalog
from tool_catalog.model import Effect, Reason

TOOL = load_catalog().tools["chmod"]


@pytest.fixture
def planted(tmp_path):
    """A folder with a file of mode 0640, and one below it of mode 0600."""
    folder = tmp_path / "it's planted"
    folder.mkdir(mode=0o755)
    for name, mode in (("top", 0o640), ("below/deep", 0o600)):
        path = folder / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text("7 bytes")
        path.chmod(mode)
    return folder


@pytest.fixture
def run(bench):
    return lambda operation, **given: bench.run("chmod", operation, given).result


def mode_of(path):
    return f"{path.stat().st_mode & 0o7777:04o}"


@pytest.mark.proves("chmod", "show")
def test_show_tells_what_the_kernel_tells(run, planted):
    result = run("show", path=str(planted / "top"))
    assert result.output["mode"] == "0640"
    assert (result.output["kind"], result.output["size_bytes"]) == ("regular file", 7)
    assert run("show", path=str(planted)).output["kind"] == "directory"


@pytest.mark.proves("chmod", "set")
def test_a_mode_is_set_told_and_put_back(run, planted):
    path = planted / "top"
    result = run("set", path=str(path), mode="u+x,g-r")
    assert mode_of(path) == "0700"
    assert (result.before["mode"], result.after["mode"]) == ("0640", "0700")
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    assert [(row["before"], row["after"]) for row in result.output] == [("0640", "0700")]
    done = Done("set", {"path": str(path), "mode": "u+x,g-r", "recursive": False}, result.output)
    done = Done(done.operation, done.parameters, done.output, result.before, result.after)
    undo = plan_undo(TOOL, done)
    assert undo == Undo("set", {"path": str(path), "mode": "0640", "recursive": False})
    run(undo.operation, **undo.parameters)
    assert mode_of(path) == "0640"


def test_a_mode_that_is_there_already_changes_nothing(run, planted):
    path = planted / "top"
    for _ in range(2):
        result = run("set", path=str(path), mode="0600")
    assert (result.state, result.changed, result.output) == (State.SUCCEEDED, False, [])


def test_what_is_changed_below_counts_even_where_the_top_stays(run, planted):
    result = run("set", path=str(planted), mode="go-r", recursive=True)
    assert mode_of(planted / "top") == "0600"
    assert {row["path"] for row in result.output} >= {str(planted / "top")}
    again = run("set", path=str(planted), mode="go-r", recursive=True)
    assert (result.changed, again.changed) == (True, False)
    deep = run("set", path=str(planted), mode="a+X", recursive=True)
    (planted / "below" / "deep").chmod(0o640)
    assert run("set", path=str(planted), mode="g-r", recursive=True).changed is True
    assert deep.state is State.SUCCEEDED


@pytest.mark.parametrize("operation", ["show", "set"])
def test_a_path_that_is_not_there_arms_nothing(bench, tmp_path, operation):
    given = {"path": str(tmp_path / "missing")} | ({"mode": "600"} if operation == "set" else {})
    ran = bench.run("chmod", operation, given)
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert ran.kept.armed == []


@pytest.mark.root
def test_a_file_of_somebody_else_wants_run_as(bench, systemd_host):
    path = "/srv/planted-mode"
    systemd_host.run("install", "-m", "644", "/dev/null", path)
    login = systemd_host.credential("deploy", become={"method": "sudo", "user": "root"})
    here = {"target": systemd_host.target, "credential": login}
    refused = bench.run("chmod", "set", {"path": path, "mode": "600"}, **here).result
    assert (refused.state, refused.reason) == (State.FAILED, Reason.NO_PRIVILEGE)
    assert "run_as: root" in refused.summary
    allowed = bench.run("chmod", "set", {"path": path, "mode": "600"}, run_as="root", **here).result
    assert (allowed.before["mode"], allowed.after["mode"]) == ("0644", "0600")
    assert systemd_host.run("stat", "-c", "%a", path).strip() == "600"


def test_its_reads_share_the_connection_of_the_effect(bench, sshd, planted):
    before = sshd.connections()
    given = {"path": str(planted / "top"), "mode": "600"}
    ran = bench.run("chmod", "set", given, target=sshd.target, credential=sshd.credential)
    assert (ran.result.before["mode"], ran.result.after["mode"]) == ("0640", "0600")
    assert sshd.connections() == before + 1


@pytest.mark.parametrize(
    ("mode", "recursive", "effect"),
    [
        ("0644", False, Effect.CHANGE),
        ("0644", True, Effect.DESTROY),
        ("4755", False, Effect.DESTROY),
        ("u+s", False, Effect.DESTROY),
        ("a=rw", False, Effect.DESTROY),
    ],
)
def test_what_can_hurt_counts_as_destroying(mode, recursive, effect):
    given = {"path": "/srv", "mode": mode, "recursive": recursive}
    assert effect_of(TOOL.operations["set"], given, Policy()) is effect
