"""`opsfarm tools check` reads what a tool file says as expressions, too."""

import pytest
from click.testing import CliRunner

from app.cli.tools import tools
from tool_catalog.model import CatalogError

TOOL = """
summary: A site's own
operations:
  look:
    summary: Looks
    effect: read
    argv: [look]
    output: {parser: json, fields: {state: text}}
    examples: [{parameters: {}}]
  turn:
    summary: Turns
    effect: change
    repeat: never
    argv: [turn]
    verify: {operation: look, until: output.%s == 'on'}
    examples: [{parameters: {}}]
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSFARM_TOOL_PATH", str(tmp_path))

    def run(field):
        (tmp_path / "switch.yaml").write_text(TOOL % field)
        return CliRunner().invoke(tools, ["check"])

    return run


def test_a_bad_expression_is_named_with_its_key(check):
    refused = check("sate").exception
    assert isinstance(refused, CatalogError)
    assert "switch" in str(refused)
    words = "operations.turn.verify.until: output.sate: no 'sate'; did you mean 'state'?"
    assert words in str(refused)


def test_a_good_one_is_no_fault(check):
    assert check("state").exception is None
