"""A tool file with one fault: refused by one line that says where, what, and what is allowed.

Each case is the good file with one change; its message is held word for word.
"""

from pathlib import Path

import pytest
import yaml

from app.promises import check_promises
from tool_catalog import loader
from tool_catalog.loader import load_catalog
from tool_catalog.model import CatalogError

FILE = "automation/linux/sample.yaml"
GOOD = """\
summary: For a test
default: show
parameters:
  path: {type: path, required: true, example: /etc}
operations:
  show:
    summary: Shows it
    effect: read
    takes: [path]
    parameters:
      depth: {type: integer, min: 0, max: 9}
      kind: {type: choice, choices: [a, b]}
      name: {type: string, pattern: '[a-z]+'}
      login: {type: secret}
    argv: [ls, {option: --depth, value: depth}, {operands: path}]
    output: {parser: json, fields: {size: integer}}
    examples: [{parameters: {path: /etc}}]
  set:
    summary: Sets it
    effect: change
    repeat: never
    takes: [path]
    parameters: {size: {type: integer, required: true}}
    argv: [truncate, '--size={size}', {operands: path}]
    before: show
    verify: {operation: show, until: output.size == parameters.size}
    undo: {operation: set, with: {size: '{before.size}'}}
    examples: [{parameters: {path: /etc, size: 1}}]
"""
CASES = yaml.safe_load(Path(__file__).with_name("bad_files.yaml").read_text())


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a tool file into a catalogue of the test's own."""
    folder = tmp_path / "tools"
    monkeypatch.setattr(loader, "TOOLS", folder)

    def write(text, place=FILE):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def load():
    """As every process does at its start."""
    catalog = load_catalog()
    check_promises(catalog)
    return catalog


def test_the_good_file_is_good(write):
    write(GOOD)
    assert list(load().tools["sample"].operations) == ["show", "set"]


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_refused_by_one_clear_line(write, name):
    case = CASES[name]
    if "old" in case:
        assert GOOD.count(case["old"]) == 1
    write(GOOD.replace(case["old"], case["new"]) if "old" in case else case["whole"])
    with pytest.raises(CatalogError) as refused:
        load()
    assert str(refused.value) == f"tools/{FILE}{case['says']}"


def test_rules_and_undo_may_go_in_circles(write):
    """Both or neither is a rule, and what undoes may itself be undone by the first."""
    rules = "    rules: [{requires: {depth: [kind], kind: [depth]}}]\n"
    write(GOOD.replace("  set:\n", rules + "  set:\n"))
    loaded = load().tools["sample"].operations
    assert loaded["set"].undo.operation == "set"
    assert loaded["show"].rules


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "automatio/linux/sample.yaml",
            ":1:1: the folder 'automatio' is no domain: use one of comms, ",
        ),
        ("sample.yaml", ":1:1: the folder '.' is no domain"),
        (
            "automation/linux/My_Tool.yaml",
            ":1:1: a tool's name is lower-case words joined by hyphens",
        ),
    ],
)
def test_a_file_in_no_place_is_refused(write, place, message):
    write(GOOD, place)
    with pytest.raises(CatalogError) as refused:
        load()
    assert str(refused.value).startswith(f"tools/{place}{message}")


def test_one_name_in_two_folders_is_refused(write):
    write(GOOD)
    write(GOOD, "network/scan/sample.yaml")
    with pytest.raises(CatalogError) as refused:
        load()
    assert str(refused.value) == (
        "tools/network/scan/sample.yaml:1:1: tool 'sample' stands in "
        f"tools/{FILE} too: give one another name"
    )
