"""The line that a remote login shell is given."""

import shlex
from dataclasses import replace

import pytest

from app.command import Command
from app.errors import StepError
from app.filling import SecretText
from app.step import Credential, Secret
from tasks.runners.remote import (
    Become,
    become_by,
    is_refused,
    read_stop,
    signal_argv,
    stdin_text,
    stop_argv,
    wrap,
)

LOGIN = Credential(name="c", username="u", private_key=Secret("key"))
NOBODY = Become()
SUDO = Become("app", Secret("pw"))


def test_the_argv_is_quoted_once_and_comes_last():
    command = Command(kind="argv", argv=("echo", "a b", "$(id)", "it's"))
    words = shlex.split(NOBODY.command_line(wrap(command, "m4rk", 30.5)))
    assert words[:3] == ["exec", "env", "-i"]
    assert words[-6:] == ["m4rk", "40", "echo", "a b", "$(id)", "it's"]
    assert "OPSFARM_STEP=m4rk" in words
    assert "LC_ALL=C" in words


def test_no_secret_is_in_the_line():
    hidden = SecretText((Secret("s3cret"),))
    command = Command(kind="argv", argv=("x",), stdin=hidden, env={"A": hidden, "B": "seen"})
    for become in (NOBODY, SUDO):
        line = become.command_line(wrap(command, "m", 1))
        assert "s3cret" not in line
        assert "pw" not in shlex.split(line)
        assert "B=seen" in line
    assert stdin_text(command, NOBODY, "m") == "m begin\nA=s3cret\nm end\ns3cret"
    assert stdin_text(command, SUDO, "m") == "pw\nm begin\nA=s3cret\nm end\ns3cret"


def test_sudo_asks_only_where_there_is_a_password():
    asked = shlex.split(SUDO.command_line(["x"]))
    assert asked == ["exec", "sudo", "-k", "-S", "-p", "", "-H", "-u", "app", "--", "x"]
    silent = shlex.split(Become("root").command_line(stop_argv("m")))
    assert silent[:6] == ["exec", "sudo", "-n", "-H", "-u", "root"]
    assert signal_argv("m", "INT")[-2:] == ["m", "INT"]
    assert NOBODY.argv(["x"]) == ["x"]


def test_the_passphrase_of_a_key_is_no_password_of_sudo():
    assert become_by("root", replace(LOGIN, password=Secret("passphrase"))).password is None
    both = replace(LOGIN, password=Secret("passphrase"), become_password=Secret("sudo"))
    assert become_by("root", both).password == Secret("sudo")
    by_password = Credential(name="c", username="u", password=Secret("login"))
    assert become_by("root", by_password).password == Secret("login")
    assert become_by(None, by_password).line == ""


def test_a_secret_of_several_lines_cannot_be_an_environment():
    command = Command(kind="argv", argv=("x",), env={"KEY": SecretText((Secret("a\nb"),))})
    with pytest.raises(StepError, match="the secret in KEY has several lines") as info:
        stdin_text(command, NOBODY, "m")
    assert "a\nb" not in str(info.value)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (b"sudo: a password is required\n", True),
        (
            b"Sorry, try again.\nsudo: 1 incorrect password attempt\n",
            True,
        ),
        (b"ops is not in the sudoers file.\n", True),
        (b"Sorry, user ops is not allowed to execute '/usr/bin/env' as root on web.\n", True),
        (b"sudo: unknown user nobody1\n", True),
        (b"grep: a password is required\n", False),
    ],
)
def test_what_sudo_says_when_it_refuses(said, refused):
    assert is_refused(said) is refused


@pytest.mark.parametrize(
    ("said", "remains"),
    [
        ("gone\n", ""),
        ("a line of the login shell's own\ngone", ""),
        ("left: 42(sleep) 43(sh)", "there is still 42(sleep) 43(sh)"),
        ("blind", "the host shows no environment of processes, so nobody could look"),
        ("", "the host did not say that it ended"),
        ("gone away", "the host did not say that it ended"),
    ],
)
def test_only_gone_means_that_nothing_is_left(said, remains):
    assert read_stop(said) == remains
