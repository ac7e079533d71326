import json

import pytest

from app.cli.output import cell, print_fields, print_output, print_records


def test_records_keep_the_declared_order_and_cut_nothing(capsys):
    print_records([{"b": "x" * 150, "a": 1, "z": None}, {"a": 2, "c": [1]}], order=["a", "b"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["a", "b", "z", "c"]
    assert lines[2].split() == ["1", "x" * 150]
    assert lines[3].split() == ["2", "[1]"]


def test_markup_is_text(capsys):
    print_records([{"a": "[red]no[/red] :smile:"}])
    assert "[red]no[/red] :smile:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "shown"), [("a\n  b\n", "a\n  b\n"), ("a", "a\n"), ([1, 2], "[\n  1,\n  2\n]\n")]
)
def test_text_and_the_rest(capsys, output, shown):
    print_output(output)
    assert capsys.readouterr().out == shown


def test_fields(capsys):
    print_fields({"name": "x", "tags": {"a": 1}})
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[1].split(maxsplit=1)[1]) == {"a": 1}


def test_a_cell_is_cut_and_steers_nothing():
    assert cell("x" * 300).endswith("…")
    assert len(cell("x" * 300)) == 200
    assert "\x1b" not in cell("\x1b[2J")
