"""Whom an operation runs as, and what is said where there is no way."""

import pytest

from app.errors import StepError
from app.privilege import find_user, sudo_prefix
from app.step import LOCAL, Credential, Target
from tool_catalog.loader import load_tool
from tool_catalog.model import Reason

TOOL = """
summary: A test's tool
operations:
  look:
    summary: Anybody may
    effect: read
    argv: [look]
    examples: [{parameters: {}}]
  restart:
    summary: Root must
    effect: change
    repeat: never
    root: needed
    argv: [restart]
    examples: [{parameters: {}}]
  change:
    summary: Root may have to
    effect: change
    repeat: never
    root: maybe
    argv: [change]
    examples: [{parameters: {}}]
  ask:
    summary: Over HTTP
    effect: read
    http: {method: GET, path: /}
    examples: [{parameters: {}}]
  carry:
    summary: Python over the login's SSH
    effect: read
    needs: {connection: ssh}
    python: automation.files:stat
    examples: [{parameters: {}}]
  compute:
    summary: Python that logs in by itself
    effect: read
    python: automation.host_check:reach
    examples: [{parameters: {}}]
"""
HOST = Target("web", asset_id=1, address="192.0.2.1", connection="ssh")
WINDOWS = Target("win", asset_id=2, address="192.0.2.2", connection="winrm")
PLAIN = Credential("key", "ops")
SUDO = Credential("key", "ops", become={"method": "sudo", "user": "root"})
DEPLOY = Credential("key", "ops", become={"method": "sudo", "user": "deploy"})
ANY = Credential("key", "ops", become={"method": "sudo"})
ROOT = Credential("key", "root")


@pytest.fixture
def operations(tmp_path):
    path = tmp_path / "thing.yaml"
    path.write_text(TOOL)
    return load_tool(path).operations


@pytest.mark.parametrize(
    ("operation", "asked", "user"),
    [
        ("look", (None, HOST, SUDO), None),
        ("change", (None, HOST, SUDO), None),
        ("restart", (None, HOST, SUDO), "root"),
        ("restart", (None, HOST, ANY), "root"),
        ("restart", (None, HOST, ROOT), None),
        ("restart", ("root", HOST, ROOT), None),
        ("look", ("ops", HOST, PLAIN), None),
        ("look", ("postgres", HOST, SUDO), "postgres"),
        ("look", ("deploy", HOST, DEPLOY), "deploy"),
        ("change", ("root", HOST, SUDO), "root"),
        ("restart", ("deploy", HOST, DEPLOY), "deploy"),
        ("restart", (None, HOST, None), "root"),
        ("restart", (None, LOCAL, None), "root"),
        ("look", (None, LOCAL, None), None),
        ("look", ("daemon", LOCAL, None), "daemon"),
        ("restart", (None, WINDOWS, PLAIN), None),
        ("ask", (None, HOST, PLAIN), None),
        ("carry", (None, HOST, PLAIN), None),
        ("carry", ("root", HOST, SUDO), "root"),
    ],
)
def test_whom_it_runs_as(operations, operation, asked, user):
    assert find_user(operations[operation], *asked) == user


@pytest.mark.parametrize(
    ("operation", "asked", "words"),
    [
        ("restart", (None, HOST, PLAIN), "this runs as root, but credential key of web logs in as"),
        ("restart", (None, HOST, PLAIN), "opsfarm credentials add key --user ops --become sudo"),
        ("restart", (None, HOST, DEPLOY), "credential key of web becomes deploy only"),
        ("look", ("postgres", HOST, DEPLOY), "this runs as postgres"),
        ("look", ("root", WINDOWS, PLAIN), "not for winrm"),
        ("ask", ("root", HOST, SUDO), "not for ask"),
        ("carry", ("root", HOST, PLAIN), "this runs as root, but credential key of web"),
        ("compute", ("root", HOST, SUDO), "not for compute"),
        ("look", ("-x", HOST, SUDO), "'-x' is no user's name"),
        ("look", ("#0", LOCAL, None), "is no user's name"),
        ("look", ("a b", LOCAL, None), "is no user's name"),
    ],
)
def test_where_there_is_no_way(operations, operation, asked, words):
    with pytest.raises(StepError) as refused:
        find_user(operations[operation], *asked)
    assert refused.value.reason is Reason.NO_PRIVILEGE
    assert words in str(refused.value)


def test_what_stands_before_an_argv():
    assert sudo_prefix("root", asks=False) == ("sudo", "-n", "-H", "-u", "root", "--")
    assert sudo_prefix("app", asks=True)[:5] == ("sudo", "-k", "-S", "-p", "")
