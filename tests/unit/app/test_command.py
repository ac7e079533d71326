"""From operation and parameters to what will be run."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.command import Command, build_command, show_command
from app.errors import StepError
from app.filling import HIDDEN_SECRETS, PLACEHOLDER, SecretText, reveal
from app.step import Secret
from tool_catalog import operation_checks
from tool_catalog.model import CatalogError, Operation, Reason

ANY = {
    "text": {"type": "text"},
    "word": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "deep": {"type": "boolean"},
    "names": {"type": "list", "of": "word"},
    "login": {"type": "secret"},
    "file": {"type": "artifact", "of": "pcap"},
    "duration_s": {"type": "integer"},
    "max_bytes": {"type": "integer"},
}


def operation(*argv, **members):
    given = {
        "name": "show",
        "summary": "shows",
        "effect": "read",
        "repeat": "read",
        "parameters": ANY,
        "examples": [{"parameters": {}}],
    }
    if "python" not in members:
        given["argv"] = list(argv) or ["tool"]
    return Operation.model_validate({**given, **members})


def words(*argv, **parameters):
    return list(build_command(operation(*argv), parameters).argv)


@pytest.mark.parametrize(
    ("item", "parameters", "added"),
    [
        ("plain", {}, ["plain"]),
        ("--x={word}", {"word": "a b"}, ["--x=a b"]),
        ("--x={word}", {}, []),
        ("{word}:{count}", {"word": "a", "count": 2}, ["a:2"]),
        ("{word}:{count}", {"word": "a"}, []),
        ("{names}", {"names": ["a", "b"]}, ["a,b"]),
        ("{names}", {"names": []}, []),
        ("{count}", {"count": -5}, ["-5"]),
        ("{deep}", {"deep": False}, ["false"]),
        ("{ratio}", {"ratio": 2.0}, ["2"]),
        ("{ratio}", {"ratio": 2.5}, ["2.5"]),
        ("{word}", {"word": ""}, [""]),
        ("{{.ID}} %{http_code} {print $1}", {}, ["{{.ID}} %{http_code} {print $1}"]),
        ("%{word} ${word} {{word}}", {"word": "x"}, ["%{word} ${word} {{word}}"]),
        ({"flag": "-i", "if": "deep"}, {"deep": True}, ["-i"]),
        ({"flag": "-i", "if": "deep"}, {"deep": False}, []),
        ({"flag": "-i", "if": "deep"}, {}, []),
        ({"option": "--depth", "value": "count"}, {"count": 3}, ["--depth", "3"]),
        ({"option": "--depth", "value": "count"}, {"count": -3}, ["--depth", "-3"]),
        ({"option": "--depth=", "value": "count"}, {"count": 3}, ["--depth=3"]),
        ({"option": "--text=", "value": "text"}, {"text": "-x"}, ["--text=-x"]),
        ({"option": "--depth", "value": "count"}, {}, []),
        ({"option": "-x", "each": "names"}, {"names": ["a", "b"]}, ["-x", "a", "-x", "b"]),
        ({"option": "-x=", "each": "names"}, {"names": ["a", "b"]}, ["-x=a", "-x=b"]),
        ({"option": "-x", "each": "names"}, {"names": []}, []),
        ({"value": "word"}, {"word": "tcp port 80"}, ["tcp port 80"]),
        ({"value": "word"}, {}, []),
        ({"operands": "word"}, {"word": "a"}, ["--", "a"]),
        ({"operands": "names"}, {"names": ["a", "b"]}, ["--", "a", "b"]),
        ({"operands": "names"}, {}, []),
        ({"program": "names"}, {"names": ["ls", "-l", "--", "a b"]}, ["ls", "-l", "--", "a b"]),
    ],
)
def test_each_form_of_item(item, parameters, added):
    assert words("tool", item, **parameters) == ["tool", *added]


def test_operands_end_the_options_once():
    items = ("cp", {"operands": "word"}, {"operands": "names"})
    assert words(*items, word="a", names=["b"]) == ["cp", "--", "a", "b"]
    assert words(*items, names=["b"]) == ["cp", "--", "b"]


@pytest.mark.parametrize(
    "item",
    [
        {"value": "word"},
        "{word}",
        {"option": "-x", "value": "word"},
        {"option": "-x", "each": "names"},
    ],
)
def test_no_value_becomes_an_option(item):
    with pytest.raises(StepError, match="begins with '-'") as info:
        words("tool", item, word="-rf", names=["ok", "--exec=sh"])
    assert info.value.reason is Reason.INVALID_PARAMETER


@given(value=st.text(max_size=30))
def test_a_value_is_always_one_argument(value):
    got = words("tool", "--in={text}", {"operands": "text"}, text=value)
    assert got == ["tool", f"--in={value}", "--", value]


def test_values_that_look_like_placeholders_are_not_filled_again():
    assert words("tool", "x{word}{text}", word="{text}", text="{word}") == ["tool", "x{text}{word}"]


def test_the_catalogue_s_check_reads_placeholders_the_same_way():
    assert operation_checks._PLACEHOLDER.pattern == PLACEHOLDER.pattern


def test_an_item_that_is_no_item_names_the_operation():
    with pytest.raises(CatalogError, match="operation show: cannot read argv item"):
        words("tool", {"optoin": "-x"})


@pytest.mark.parametrize(
    "item",
    ["{login}", "--password={login}", {"option": "-p", "value": "login"}, {"operands": "login"}],
)
def test_argv_never_holds_a_secret(item):
    with pytest.raises(CatalogError, match="use stdin or env"):
        words("tool", item, login={"$secret": "db"})


def test_argv_does_not_know_the_login_of_the_target():
    assert words("tool", "{credential.password}") == ["tool", "{credential.password}"]


def with_secrets():
    return operation(
        "psql",
        stdin="login {login}\nuser {word}\n",
        env={
            "PGPASSWORD": "{credential.password}",
            "PGUSER": "{credential.username}",
            "X": "{word}",
        },
    )


SECRETS = {
    "db": Secret("s3cret$'"),
    "credential.password": Secret("pa ss"),
    "credential.username": Secret("app"),
}
PARAMETERS = {"login": {"$secret": "db"}, "word": "w"}


def test_stdin_and_env_hold_secrets():
    command = build_command(with_secrets(), PARAMETERS, SECRETS)
    assert reveal(command.stdin) == "login s3cret$'\nuser w\n"
    assert {name: reveal(value) for name, value in command.env.items()} == {
        "PGPASSWORD": "pa ss",
        "PGUSER": "app",
        "X": "w",
    }


def test_no_view_of_a_command_shows_a_secret():
    command = build_command(with_secrets(), PARAMETERS, SECRETS)
    shown = show_command(command)
    assert shown["stdin"] == "login ***\nuser w\n"
    assert shown["env"]["PGPASSWORD"] == "***"
    quoted = shlex.join([str(command.stdin), *(str(v) for v in command.env.values())])
    for view in (json.dumps(shown), repr(command), str(command), f"{command.stdin}", quoted):
        assert "s3cret" not in view
        assert "pa ss" not in view


def test_a_dry_run_shows_secrets_it_does_not_have():
    assert show_command(build_command(with_secrets(), PARAMETERS))["stdin"] == "login ***\nuser w\n"


@pytest.mark.parametrize(
    ("missing", "says"),
    [("db", "no secret named db"), ("credential.password", "the target has no password")],
)
def test_a_run_without_its_secret_is_refused(missing, says):
    present = {name: secret for name, secret in SECRETS.items() if name != missing}
    with pytest.raises(StepError, match=says):
        build_command(with_secrets(), PARAMETERS, present)


def test_text_whose_parameter_is_absent_disappears():
    command = build_command(operation("t", stdin="{word}", env={"A": "{word}", "B": "b"}), {})
    assert command.stdin is None
    assert command.env == {"B": "b"}


def test_secret_text_compares_raw_and_prints_masked():
    one, other = SecretText(("a", Secret("x"))), SecretText(("a", Secret("y")))
    assert one != other
    assert str(one) == str(other) == "a***"
    assert one == SecretText(("a", Secret("x")))
    assert HIDDEN_SECRETS["anything"].reveal() == "***"


def test_run_for_artifact_and_precheck():
    command = build_command(
        operation(
            "tcpdump",
            precheck=["tcpdump", "-d", {"value": "word"}],
            run_for="duration_s",
            stop_signal="INT",
            output={"artifact": "pcap", "max_bytes": "max_bytes"},
        ),
        {"word": "tcp", "duration_s": 5, "max_bytes": 4096},
    )
    assert command.precheck == ("tcpdump", "-d", "tcp")
    assert (command.run_for_s, command.stop_signal) == (5.0, "INT")
    assert (command.artifact, command.artifact_max_bytes) == ("pcap", 4096)
    assert show_command(command) == {
        "kind": "argv",
        "argv": ["tcpdump"],
        "line": "tcpdump",
        "precheck": ["tcpdump", "-d", "tcp"],
        "run_for_s": 5.0,
        "stop_signal": "INT",
        "artifact": "pcap",
        "artifact_max_bytes": 4096,
    }


def test_an_artifact_parameter_is_its_local_path():
    assert words("tcpdump", "-r", "{file}", file="/run/x.pcap") == ["tcpdump", "-r", "/run/x.pcap"]


def test_a_dry_run_names_an_artifact_by_its_id():
    assert words("tcpdump", "-r", "{file}", file={"$artifact": "a1"})[2] == "artifact:a1"


def test_python_operations_name_their_function():
    command = build_command(operation(python="comms.mail:send"), {"word": "x"})
    assert command == Command(kind="python", function="comms.mail:send")
    assert show_command(command) == {"kind": "python", "function": "comms.mail:send"}


def test_a_pipeline_becomes_a_script_and_its_parameters_its_input():
    shown = operation(argv=None, powershell="Get-Thing -Name $p.word -Login $p.login")
    command = build_command(shown, PARAMETERS, SECRETS)
    assert "Get-Thing -Name $p.word -Login $p.login" in command.script
    assert "s3cret" not in command.script
    assert json.loads(reveal(command.stdin)) == {"login": "s3cret$'", "word": "w"}
    view = show_command(command)
    assert view["kind"] == "powershell"
    assert view["script"] == command.script
    assert view["stdin"] == '{"login": "***", "word": "w"}'


@given(argv=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=5))
def test_the_line_reads_back_as_the_argv(argv):
    assert shlex.split(show_command(Command(kind="argv", argv=tuple(argv)))["line"]) == argv
