"""The line that a remote login shell is given."""

import shlex

import pytest

from app.command import Command
from app.errors import StepError
from app.filling import SecretText
from app.step import Credential, Secret
from tasks.runners.remote import command_line, signal_line, stdin_text, stop_line

PLAIN = Credential(name="c", username="u", private_key=Secret("key"))
SUDO = Credential(name="c", username="u", password=Secret("pw"), become={"user": "app"})


def test_the_argv_is_quoted_once_and_comes_last():
    command = Command(kind="argv", argv=("echo", "a b", "$(id)", "it's"))
    words = shlex.split(command_line(command, PLAIN, "m4rk", 30.5))
    assert words[:3] == ["exec", "env", "-i"]
    assert words[-6:] == ["m4rk", "40", "echo", "a b", "$(id)", "it's"]
    assert "OPSFARM_STEP=m4rk" in words
    assert "LC_ALL=C" in words


def test_no_secret_is_in_the_line():
    hidden = SecretText((Secret("s3cret"),))
    command = Command(kind="argv", argv=("x",), stdin=hidden, env={"A": hidden, "B": "seen"})
    for credential in (PLAIN, SUDO):
        line = command_line(command, credential, "m", 1)
        assert "s3cret" not in line
        assert "pw" not in shlex.split(line)
        assert "B=seen" in line
    assert stdin_text(command, PLAIN, "m") == "m begin\nA=s3cret\nm end\ns3cret"
    assert stdin_text(command, SUDO, "m") == "pw\nm begin\nA=s3cret\nm end\ns3cret"


def test_sudo_asks_only_where_there_is_a_password():
    command = Command(kind="argv", argv=("x",))
    asked = shlex.split(command_line(command, SUDO, "m", 1))
    assert asked[:10] == ["exec", "sudo", "-k", "-S", "-p", "", "-H", "-u", "app", "--"]
    silent = Credential(name="c", username="u", become={})
    assert shlex.split(stop_line(silent, "m"))[:6] == ["exec", "sudo", "-n", "-H", "-u", "root"]
    assert shlex.split(signal_line(silent, "m", "INT"))[-2:] == ["m", "INT"]


def test_a_secret_of_several_lines_cannot_be_an_environment():
    command = Command(kind="argv", argv=("x",), env={"KEY": SecretText((Secret("a\nb"),))})
    with pytest.raises(StepError, match="the secret in KEY has several lines") as info:
        stdin_text(command, PLAIN, "m")
    assert "a\nb" not in str(info.value)
