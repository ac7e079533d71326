import shlex

import pytest
import yaml

from app.cli.values import read_pairs
from tool_catalog import reference
from tool_catalog.document import read_document
from tool_catalog.loader import load_catalog
from tool_catalog.params import check_parameters
from tool_catalog.reference import REFERENCE, example_line, example_plan, write_reference
from tool_catalog.schema import operation_schema

CATALOG = load_catalog()
EXAMPLES = [
    pytest.param(tool, operation, example, id=f"{tool.name}-{operation.name}-{number}")
    for tool in CATALOG.tools.values()
    for operation in tool.operations.values()
    for number, example in enumerate(operation.examples)
]


def test_the_reference_is_what_the_tool_files_say(tmp_path):
    written = {path.name: path.read_text() for path in write_reference(CATALOG, tmp_path)}
    kept = {path.name: path.read_text() for path in REFERENCE.glob("*.md")}
    assert kept == written, "run `python -m tool_catalog.reference`"


def test_pages_of_tools_that_are_gone_are_removed(tmp_path):
    (tmp_path / "gone.md").write_text("old")
    write_reference(CATALOG, tmp_path)
    assert not (tmp_path / "gone.md").exists()
    assert (tmp_path / "df.md").read_text().startswith("# df\n")


def test_it_is_a_program(tmp_path, capsys):
    reference.main({0: "reference", 1: str(tmp_path)})
    assert capsys.readouterr().out == f"wrote {len(CATALOG.tools) + 1} pages to {tmp_path}\n"


@pytest.mark.parametrize(("tool", "operation", "example"), EXAMPLES)
def test_examples_read_back_as_they_were_meant(tool, operation, example):
    plan = example_plan(tool, operation, example)
    text = yaml.dump(plan, Dumper=reference._Dumper, sort_keys=False)
    assert read_document(text, source="docs").value == plan
    words = shlex.split(example_line(tool, operation, example))
    assert words[:3] == ["opsfarm", "run", tool.name]
    pairs = [word for word in words[3:] if "=" in word]
    given = read_pairs(pairs, operation_schema(operation))
    meant = check_parameters(operation, example.parameters)
    assert check_parameters(operation, given) == meant
