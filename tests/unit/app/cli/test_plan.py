"""`opsfarm plan` without a farm, and what it prints of an answer."""

import json
import re

import pytest
from click.testing import CliRunner

from app.cli import main as cli
from app.cli.plan import print_check, print_dry_run

STEP = {
    "position": 2,
    "id": "each",
    "tool": "df",
    "operation": "usage",
    "effect": "read",
    "queue": "automation",
    "dynamic": False,
    "skipped": None,
    "approval": None,
    "lasts": False,
    "targets": ["web-01", "web-02", "web-03"],
    "batches": [["web-01", "web-02"], ["web-03"]],
    "run_as": "root",
    "workers": ["w-1"],
    "commands": [
        {
            "batch": 2,
            "target": "web-03",
            "item": "/a",
            "command": {"kind": "argv", "argv": ["df", "/a"], "line": "df /a"},
        },
    ],
}


@pytest.fixture
def opsfarm(monkeypatch, tmp_path):
    """No farm is there."""
    monkeypatch.setenv("OPSFARM_STATE_DIR", str(tmp_path))
    return lambda *argv: CliRunner().invoke(cli.opsfarm, argv)


def test_the_schema_needs_no_farm(opsfarm, tmp_path):
    printed = opsfarm("plan", "schema")
    assert printed.exit_code == 0
    schema = json.loads(printed.stdout)
    assert "tool.df" in schema["$defs"]
    file = tmp_path / "plan.schema.json"
    assert opsfarm("plan", "schema", "--output", str(file)).exit_code == 0
    assert json.loads(file.read_text()) == schema


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "web-01, web-02 | web-03"),
        ({"dynamic": True}, "web-01, web-02 | web-03"),
        ({"batches": None}, "web-01, web-02, web-03"),
        ({"batches": None, "targets": []}, "the farm"),
        ({"batches": [[], []], "targets": []}, "the farm"),
        ({"batches": None, "targets": [], "dynamic": True}, "when due"),
        ({"skipped": "when: inputs.go is false"}, "skipped: when: inputs.go is false"),
    ],
)
def test_a_check_says_whom_a_step_acts_on(capsys, members, said):
    print_check({"steps": [STEP | members], "warnings": ["step 2 (df) leaves out web-04"]})
    out, err = capsys.readouterr()
    assert said in re.split(r" {2,}", out.splitlines()[-1])
    assert err == "warning: step 2 (df) leaves out web-04\n"


def test_a_dry_run_tells_batches_items_and_who_it_becomes(capsys):
    print_dry_run({"steps": [STEP], "warnings": []})
    head, row, command = capsys.readouterr().out.splitlines()
    assert head == "step 2 each: df usage (read) as root, queue automation, w-1"
    assert row == "  batch 2, web-03, item /a"
    assert command.split() == ["run", "df", "/a"]


def test_a_dry_run_says_what_cannot_be_undone(capsys):
    needs = {"who": "other", "groups": {"approver": 1}}
    print_dry_run({"steps": [STEP | {"lasts": True, "approval": needs}], "warnings": []})
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "  needs an approver before it runs",
        "  cannot be undone: its tool declares no undo",
    ]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"skipped": "no targets"}, "  skipped: no targets"),
        ({"dynamic": True}, "  holds expressions: rendered, checked and judged when it is due"),
    ],
)
def test_a_dry_run_says_why_there_is_no_command(capsys, members, said):
    print_dry_run({"steps": [STEP | {"commands": []} | members], "warnings": []})
    assert capsys.readouterr().out.splitlines()[1] == said
