"""Expressions of tool files: refused at start where they cannot work, true where they should be."""

import pytest

from app.errors import ExpressionError
from app.promises import check_promises, has_changed, is_reached, is_undoable
from tool_catalog.loader import Catalog, load_catalog, load_tool
from tool_catalog.model import CatalogError

TOOL = """
summary: A test's tool
operations:
  show:
    summary: Looks
    effect: read
    parameters: {{unit: {{type: string, required: true, example: a}}}}
    argv: [look, '{{unit}}']
    output: {{parser: json, fields: {{State: text, MainPID: integer}}}}
    examples: [{{parameters: {{unit: a}}}}]
  act:
    summary: Acts
    effect: change
    repeat: never
    parameters: {{unit: {{type: string, required: true, example: a}}}}
    argv: [act, '{{unit}}']
    before: show
    changed_if: "{changed}"
    verify: {{operation: show, until: "{until}"}}
    undo: {{operation: act, if: "{undo}"}}
    examples: [{{parameters: {{unit: a}}}}]
"""
GOOD = {
    "until": "output.MainPID != before.MainPID and output == previous and parameters.unit",
    "changed": "before != after and output",
    "undo": "before.State == 'on' and after.State != before.State",
}


def catalog(tmp_path, **expressions):
    path = tmp_path / "tried.yaml"
    path.write_text(TOOL.format(**{**GOOD, **expressions}))
    return Catalog({"tried": load_tool(path)})


def test_good_expressions_load(tmp_path):
    check_promises(catalog(tmp_path))


def test_our_own_tools_keep_their_promises():
    check_promises(load_catalog())


@pytest.mark.parametrize(
    ("expressions", "words"),
    [
        ({"until": "output.MainPID =="}, "verify.until"),
        ({"until": "outptu.MainPID"}, "did you mean 'output'"),
        ({"until": "output.MainPdi"}, "did you mean 'MainPID'"),
        ({"until": "before.Stat"}, "did you mean 'State'"),
        ({"until": "previous[0].Stat"}, "did you mean 'State'"),
        ({"until": "parameters.untt"}, "did you mean 'unit'"),
        ({"until": "after.State"}, "no name 'after'"),
        ({"until": "{{{{ output.State }}}}"}, "without braces"),
        ({"until": "open('/etc/passwd')"}, "cannot be called"),
        ({"changed": "previous.State"}, "changed_if"),
        ({"undo": "steps.a.ok"}, "undo.if"),
    ],
)
def test_a_bad_expression_names_file_and_key(tmp_path, expressions, words):
    with pytest.raises(CatalogError, match=r"tried: operations\.act\.") as refused:
        check_promises(catalog(tmp_path, **expressions))
    assert words in str(refused.value)


def test_each_expression_sees_its_facts():
    facts = {"output": {"n": 2}, "before": {"n": 1}, "previous": None, "parameters": {"n": 2}}
    assert is_reached("output.n == parameters.n and before.n == 1 and previous == none", facts)
    assert not is_reached("output == previous", facts)
    seen = {"output": [], "before": 1, "after": 2, "parameters": {}}
    assert has_changed("before != after", seen)
    assert not has_changed("output | length > 0", seen)
    assert is_undoable("before == 1", seen)


def test_what_is_missing_is_an_error_not_an_answer():
    with pytest.raises(ExpressionError, match="MainPID"):
        is_reached("output.MainPID == 1", {"output": {}, "before": None, "previous": None})
