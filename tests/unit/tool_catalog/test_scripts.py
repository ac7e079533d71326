"""Every pipeline of the catalogue is PowerShell, as far as a parser can tell without Windows."""

import pytest
import tree_sitter
import tree_sitter_powershell

from app.powershell import frame_script
from tool_catalog.loader import load_catalog

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
PIPELINES = {
    f"{tool.name} {operation.name}": operation.powershell
    for tool in load_catalog().tools.values()
    for operation in tool.operations.values()
    if operation.powershell is not None
}


def has_errors(script):
    """The parser knows a part of the language: write `-Property @('A', 'B')`, not `A, B`."""
    return PARSER.parse(script.encode()).root_node.has_error


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_can_be_read(name):
    assert not has_errors(frame_script(PIPELINES[name]))


@pytest.mark.parametrize(
    "broken", ["Get-Thing |", "Get-Thing 'open", "if ($x) { 1", "Select-Object @{n='a'; e={1}"]
)
def test_a_broken_one_cannot(broken):
    assert has_errors(frame_script(broken))
