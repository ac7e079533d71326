"""Four eyes through real processes: nothing happens in the world before somebody else said yes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.principal import Role
from tests.lab.real_farm import RealFarm, Servers
from tests.lab.sshd import start_sshd
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.slow

STRICT = Path(__file__).parents[2] / "app" / "policy.strict.yaml"
PROCESSES = ("api", "dispatcher", "asset", "automation")
#: A tool of the site's own, whose file can change.
WIPE = """
summary: Leave a line in a file
execution_location: automation-service
operations:
  run:
    summary: Counts as destroying
    effect: destroy
    repeat: never
    parameters: {file: {type: path, required: true, example: /tmp/x}}
    argv: [sh, -c, 'echo %s >> "$0"', "{file}"]
    examples: [{parameters: {file: /tmp/x}}]
"""


@pytest.fixture(scope="module")
def tools(server_folder):
    folder = server_folder / "approval-tools"
    folder.mkdir()
    (folder / "wipe.yaml").write_text(WIPE % "wiped")
    return folder


@pytest.fixture(scope="module")
def host(server_folder, require_program):
    host = start_sshd(server_folder / "ssh-approvals", require_program("sshd"))
    yield host
    host.stop()


@pytest.fixture(scope="module")
def farm(server_folder, host, tools):
    settings = {"OPSFARM_POLICY_FILE": str(STRICT), "OPSFARM_TOOL_PATH": str(tools)}
    folder = server_folder / "approvals-farm"
    with (
        Servers(server_folder / "approvals") as servers,
        RealFarm(servers, folder, *PROCESSES, settings=settings) as farm,
    ):
        target = replace(host.target, name="web-01")
        farm.enter(target, host.credential, environment="production")
        yield farm
        assert farm.tracebacks() == []


@pytest.fixture
def opsfarm(farm):
    """`opsfarm("executions", "list")`: (exit status, standard output, standard error)."""

    def run(*argv, role=Role.OPERATOR):
        process = farm.opsfarm(*argv, role=role)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return run


@pytest.fixture
def submit(opsfarm, tmp_path):
    """`submit(text, ...)`: the id of an execution that waits."""

    def run(text, *options):
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        status, out, err = opsfarm("plan", "run", str(file), "--json", *options)
        assert (status, json.loads(out)["state"]) == (3, "waiting"), err
        return json.loads(out)["execution_id"]

    return run


def approve(opsfarm, execution, *more):
    argv = ("executions", "approve", execution, *more, "--reason", "looks right")
    status, _, err = opsfarm(*argv, role=Role.APPROVER)
    assert status == 0, err


def end_of(opsfarm, execution):
    status, out, _ = opsfarm("executions", "watch", execution, "--json")
    return status, json.loads(out)


def wipe(file):
    return (
        "steps: [{tool: wipe, targets: web-01, confirm: web-01,"
        f" parameters: {{file: {file}}}}}]"
    )  # fmt: skip


def test_static_steps_wait_together_and_a_dynamic_one_when_it_is_due(opsfarm, submit, tmp_path):
    file, late = tmp_path / "file", tmp_path / "file-succeeded"
    execution = submit(
        f"""
steps:
- {{tool: df, id: disk, parameters: {{path: /}}}}
- {{tool: wipe, id: first, targets: web-01, confirm: web-01, parameters: {{file: {file}}}}}
- {{tool: wipe, id: late, targets: web-01, confirm: web-01,
    parameters: {{file: "{file}-{{{{ steps.disk.state }}}}"}}}}
""",
        "--reason",
        "to see it wait",
    )
    status, _, err = opsfarm("executions", "approve", execution, "--reason", "sure")
    assert status == 2
    assert "it is your own plan" in err
    shown = opsfarm("approvals", "show", execution, role=Role.APPROVER)[1]
    assert f'echo wiped >> "$0"\' {file}' in shown
    assert "credential login-web-01 as " in shown
    assert "late" not in shown
    assert not file.exists()
    approve(opsfarm, execution)
    status, shown = end_of(opsfarm, execution)
    assert (status, [step["state"] for step in shown["steps"]]) == (
        3,
        ["succeeded", "succeeded", "waiting"],
    )
    assert file.read_text() == "wiped\n"
    assert not late.exists()
    approve(opsfarm, execution, "late")
    assert end_of(opsfarm, execution)[0] == 0
    assert (file.read_text(), late.read_text()) == ("wiped\n", "wiped\n")


def test_a_no_leaves_the_world_as_it_is(opsfarm, submit, tmp_path):
    execution = submit(wipe(tmp_path / "file"))
    argv = ("executions", "reject", execution, "--reason", "not before six")
    assert opsfarm(*argv, role=Role.APPROVER)[0] == 0
    status, shown = end_of(opsfarm, execution)
    assert (status, shown["cancel_reason"]) == (4, "not approved: not before six")
    assert not (tmp_path / "file").exists()


def test_nobodys_answer_in_time_is_a_no(opsfarm, submit, tmp_path):
    execution = submit("approval_timeout_s: 1\n" + wipe(tmp_path / "file"))
    wait_until(lambda: '"cancelled"' in opsfarm("executions", "show", execution, "--json")[1])
    out = opsfarm("approvals", "show", execution)[1]
    assert "expired: nobody answered in time" in out
    assert not (tmp_path / "file").exists()


def test_a_login_that_changes_behind_the_yes_keeps_the_step_from_running(
    farm, host, opsfarm, submit, tmp_path
):
    execution = submit(wipe(tmp_path / "file"))
    farm.kill("automation")
    approve(opsfarm, execution)
    given = {
        "name": "another-login",
        "assets": ["web-01"],
        "username": host.credential.username,
        "private_key": host.credential.private_key.reveal(),
    }
    assert farm.call("POST", "/credentials", json=given).status_code == 201
    farm.start("automation")
    try:
        status, shown = end_of(opsfarm, execution)
    finally:
        farm.call("DELETE", "/credentials/another-login")
    [row] = shown["steps"][0]["results"]
    assert (status, row["reason"]) == (1, "refused_by_policy")
    assert "the credential of web-01 is another-login as" in row["summary"]
    assert not (tmp_path / "file").exists()


def test_a_tool_file_that_changes_behind_the_yes_keeps_the_step_from_running(
    farm, tools, opsfarm, submit, tmp_path
):
    execution = submit(wipe(tmp_path / "file"))
    farm.kill("automation")
    approve(opsfarm, execution)
    (tools / "wipe.yaml").write_text(WIPE % "something-else")
    farm.start("automation")
    try:
        status, shown = end_of(opsfarm, execution)
    finally:
        (tools / "wipe.yaml").write_text(WIPE % "wiped")
    [row] = shown["steps"][0]["results"]
    assert (status, row["reason"]) == (1, "refused_by_policy")
    assert (
        "the file of wipe on worker automation@test-host is not what was approved"
        in (row["summary"])
    )
    assert not (tmp_path / "file").exists()
