"""A dry run shows all that would run around an operation's own command, and whom it becomes."""

import pytest

from app.plan import CheckedRow
from app.preview import show_run
from app.privilege import KnownLogin
from app.step import LOCAL, Target
from tool_catalog.loader import load_catalog, load_tool

WEB = Target("web-01", 1, "192.0.2.1", "ssh")
SUDO = KnownLogin("key", "ops", {"method": "sudo", "user": "root"})
TOOLS = load_catalog().tools

CAMERA = """
summary: A camera
operations:
  position:
    summary: Where it looks
    effect: read
    parameters: {camera: {type: integer, default: 1}, pan: {type: number}}
    argv: [look, '{camera}', '{pan}']
    output: {parser: key_value, fields: {pan: number}}
    examples: [{parameters: {}}]
  move:
    summary: Moves it
    effect: change
    repeat: idempotent
    parameters:
      pan: {type: number, required: true, example: 1}
      key: {type: secret, required: true}
    argv: [move, '{pan}']
    env: {KEY: '{key}'}
    precheck: [ping, '{pan}']
    before: position
    verify: {operation: position, with: {pan: '{before.pan}'}, until: output.pan == parameters.pan}
    undo: {operation: move}
    examples: [{parameters: {pan: 1, key: {$secret: k}}}]
"""


def show(tool, operation, given, *, target=WEB, run_as=None, login=SUDO):
    row = CheckedRow(given, target)
    return show_run(tool, tool.operations[operation], row, run_as, login)


def test_a_restart_shows_its_reads_and_whom_it_becomes():
    shown = show(TOOLS["systemctl"], "restart", {"unit": "nginx.service"})
    assert shown["credential"] == "key"
    assert shown["command"]["argv"] == ["systemctl", "restart", "--", "nginx.service"]
    assert shown["command"]["run_as"] == "root"
    assert shown["command"]["become"] == ["sudo", "-n", "-H", "-u", "root", "--"]
    assert shown["before"]["operation"] == "show"
    assert shown["before"]["command"]["argv"][-2:] == ["--", "nginx.service"]
    assert "run_as" not in shown["before"]["command"]
    assert shown["verify"]["within_s"] == 30
    assert "InvocationID" in shown["verify"]["until"]
    assert shown["verify"]["command"] == shown["before"]["command"]


def test_what_is_run_as_somebody_is_read_as_somebody():
    shown = show(TOOLS["chmod"], "set", {"path": "/x", "mode": "600"}, run_as="root")
    assert shown["command"]["become"][-2:] == ["root", "--"]
    assert shown["before"]["command"]["run_as"] == "root"
    assert shown["undo"] == "set"


def test_a_worker_becomes_somebody_in_its_own_way():
    shown = show(TOOLS["chmod"], "show", {"path": "/x"}, target=LOCAL, run_as="root", login=None)
    assert shown["command"]["run_as"] == "root"
    assert "become" not in shown["command"]
    assert shown["credential"] is None


@pytest.fixture
def camera(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(CAMERA)
    return load_tool(path)


def test_secrets_are_masked_and_prechecks_shown(camera):
    shown = show(camera, "move", {"pan": 2.0, "key": {"$secret": "cam-key"}})
    assert shown["command"]["env"] == {"KEY": "***"}
    assert shown["command"]["precheck"] == ["ping", "2"]
    assert shown["before"]["command"]["argv"] == ["look", "1", "2"]


def test_what_depends_on_an_answer_is_shown_as_it_is_written(camera):
    shown = show(camera, "move", {"pan": 2.0, "key": {"$secret": "cam-key"}})
    assert shown["verify"] == {
        "operation": "position",
        "with": {"pan": "{before.pan}"},
        "until": "output.pan == parameters.pan",
        "within_s": 30,
    }


def test_a_step_that_would_be_refused_says_so():
    plain = KnownLogin("key", "ops")
    shown = show(TOOLS["systemctl"], "restart", {"unit": "x"}, login=plain)
    assert shown["command"]["kind"] == "refused"
    assert "no way to become another user" in shown["command"]["message"]
