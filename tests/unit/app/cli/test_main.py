"""The command line without a farm: help, completion, the catalogue, the shape of errors."""

import json

import click
import pytest
from click.testing import CliRunner

from app.cli import main as cli
from app.cli.exits import Exit, exit_of, fault_lines
from app.errors import Fault
from app.step import ExecutionState


@pytest.fixture
def opsfarm(monkeypatch, tmp_path):
    """No farm is there."""
    monkeypatch.setenv("OPSFARM_STATE_DIR", str(tmp_path))
    runner = CliRunner()
    return lambda *argv, **settings: runner.invoke(cli.opsfarm, argv, **settings)


def commands(group=cli.opsfarm, path=()):
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself(opsfarm, path):
    done = opsfarm(*path, "--help")
    assert done.exit_code == 0
    assert "Usage: " in done.output
    assert "\\b" not in done.output


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_an_example_of_its_own(opsfarm, path):
    examples = opsfarm(*path, "--help").output.partition("Examples:")[2]
    assert " ".join(("opsfarm", *path)) in examples


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_a_list_of_commands_is_not_cut(opsfarm, path):
    listed = opsfarm(*path, "--help").output.partition("Commands:")[2]
    assert "..." not in listed


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_option_says_what_it_does(path):
    command = cli.opsfarm
    for name in path:
        command = command.commands[name]
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize(
    "path",
    [path for path in commands() if path[-1] in {"list", "show", "check", "status", "workers"}],
    ids=" ".join,
)
def test_whatever_shows_something_can_show_it_as_json(opsfarm, path):
    assert "--json" in opsfarm(*path, "--help").output


def test_json_may_stand_before_or_behind(opsfarm):
    for argv in (("--json", "tools", "list"), ("tools", "list", "--json")):
        names = [tool["name"] for tool in json.loads(opsfarm(*argv).stdout)]
        assert "df" in names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(opsfarm, shell):
    script = opsfarm("completion", shell).output
    assert "_OPSFARM_COMPLETE" in script
    assert "opsfarm" in script


def test_completion_offers_tools(opsfarm):
    done = opsfarm(
        env={
            "_OPSFARM_COMPLETE": "bash_complete",
            "COMP_WORDS": "opsfarm run asset-",
            "COMP_CWORD": "asset-",
        },
        prog_name="opsfarm",
    )
    assert "plain,asset-create" in done.output.splitlines()


def test_completion_of_executions_is_silent_without_a_farm(opsfarm):
    done = opsfarm(
        env={
            "_OPSFARM_COMPLETE": "bash_complete",
            "COMP_WORDS": "opsfarm executions show ",
            "COMP_CWORD": "3",
        },
        prog_name="opsfarm",
    )
    assert (done.exit_code, done.output.strip()) == (0, "")


def test_without_a_farm_every_command_that_needs_one_says_so(opsfarm):
    for argv in (
        ["run", "df"],
        ["workers"],
        ["executions", "list"],
        ["assets", "list"],
        ["secrets", "list"],
        ["principals", "list"],
        ["schedules", "list"],
    ):
        done = opsfarm(*argv)
        assert done.exit_code == Exit.UNREACHABLE
        assert "no farm is running here; start one with 'opsfarm up'" in done.stderr
        assert done.stdout == ""


def test_tools_show(opsfarm):
    done = opsfarm("tools", "show", "SENDMAIL")
    assert done.exit_code == 0
    assert "sendmail (comms)" in done.stdout
    assert "opsfarm run sendmail" in done.stdout
    schema = json.loads(opsfarm("tools", "show", "df", "--json").stdout)["schemas"]["usage"]
    assert schema["type"] == "object"


def test_tools_show_guesses(opsfarm):
    done = opsfarm("tools", "show", "sendmial")
    assert done.exit_code == Exit.REFUSED
    assert "did you mean 'sendmail'?" in done.stderr


def test_a_bad_tool_file_is_named(opsfarm, tmp_path, monkeypatch):
    (tmp_path / "broken.yaml").write_text("summary: x\noperatons: {}\n")
    monkeypatch.setenv("OPSFARM_TOOL_PATH", str(tmp_path))
    done = opsfarm("tools", "list")
    assert done.exit_code == Exit.REFUSED
    assert "broken.yaml" in done.stderr
    assert "operatons" in done.stderr


def test_bad_settings_are_named(opsfarm, monkeypatch):
    monkeypatch.setenv("OPSFARM_API_PORT", "many")
    done = opsfarm("workers")
    assert done.exit_code == Exit.REFUSED
    assert "api_port" in done.stderr


def test_every_state_has_an_exit_status():
    assert {state: int(exit_of(state)) for state in ExecutionState} == {
        ExecutionState.SUCCEEDED: 0,
        ExecutionState.FAILED: 1,
        ExecutionState.WAITING: 3,
        ExecutionState.ATTENTION: 3,
        ExecutionState.CANCELLED: 4,
        ExecutionState.RUNNING: 124,
    }


def test_a_fault_in_one_line():
    fault = Fault(
        path="steps[2].parameters.dpeth",
        code="unknown_parameter",
        message="no parameter 'dpeth'",
        step="3 (df)",
        hint="did you mean 'depth'?",
        line=7,
        column=5,
    )
    said = "step 3 (df): no parameter 'dpeth'; did you mean 'depth'?"
    assert fault_lines([fault], "plan.yaml") == [f"plan.yaml:7:5 {said}"]
    assert fault_lines([fault], None) == [said]
    bare = Fault(path="steps", code="missing", message="a plan needs steps")
    assert fault_lines([bare], "plan.yaml") == ["plan.yaml steps: a plan needs steps"]
