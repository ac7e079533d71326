import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from app.block_reader import BLOCK_KEYS, PARALLEL_KEYS
from app.inputs import INPUT_KEYS
from app.plan_reader import PLAN_KEYS
from app.plan_schema import plan_schema
from app.step_reader import STEP_KEYS
from tool_catalog.document import read_document
from tool_catalog.loader import load_catalog

DOCS = Path(__file__).resolve().parents[3] / "docs"
CATALOG = load_catalog()
SCHEMA = plan_schema(CATALOG)
DF = {"tool": "df", "parameters": {"path": "/var"}}


@pytest.fixture(scope="module")
def faults_of():
    """`faults_of(plan)`: path and words of each fault."""
    Draft202012Validator.check_schema(SCHEMA)
    validator = Draft202012Validator(SCHEMA)

    def run(plan):
        return [(list(e.absolute_path), e.message) for e in validator.iter_errors(plan)]

    return run


def test_every_key_is_known_and_no_other():
    steps = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]) - {"target"} == set(PLAN_KEYS)
    assert set(steps["step"]["properties"]) - {"target"} == set(STEP_KEYS)
    assert set(steps["block"]["properties"]) - {"target"} == set(BLOCK_KEYS)
    assert set(steps["parallel"]["properties"]) == set(PARALLEL_KEYS)
    assert set(steps["input"]["properties"]) == set(INPUT_KEYS)


@pytest.mark.parametrize("tool", CATALOG.tools.values(), ids=lambda tool: tool.name)
def test_every_example_of_the_catalogue_passes(faults_of, tool):
    for operation in tool.operations.values():
        for example in operation.examples:
            step = {
                "tool": tool.name,
                "operation": operation.name,
                "parameters": dict(example.parameters),
            }
            assert faults_of({"steps": [step]}) == []


@pytest.mark.parametrize(
    "text",
    re.findall(r"^```yaml\n(.*?)^```", (DOCS / "plans.md").read_text(), re.MULTILINE | re.DOTALL),
)
def test_every_plan_of_the_documents_passes(faults_of, text):
    value = read_document(text, source="plans.md").value
    assert faults_of(value.get("plan", value) if "plan" in value else value) == []


@pytest.mark.parametrize(
    "entry",
    [
        DF,
        {"tool": "DF", "parameters": {"path": "/var"}},
        {"tool": "df", "parameters": {"path": "{{ inputs.path }}"}},
        {"tool": "df", "parameters": {"path": {"$literal": "/var"}}},
        {"tool": "df", "target": [1, "web-01", {"tags": {"role": "web"}, "not": "web-02"}]},
        {"tool": "df", "for_each": ["/a"], "retries": {"max": 2, "backoff_s": 1}, "when": True},
        {"tool": "df", "for_each": "{{ steps.a.output }}", "run_as": "root", "max_parallel": 3},
        {"parallel": [DF, DF]},
        {"targets": "web-01", "batch": "25%", "max_failures": 1, "steps": [DF]},
        {"batch": 2, "steps": [{"parallel": [DF]}, {"steps": [DF], "batch": 1}]},
    ],
)
def test_what_a_plan_may_hold_passes(faults_of, entry):
    assert faults_of({"steps": [entry], "finally": [entry]}) == []


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        ({"tool": "dff"}, ["tool"], "dff"),
        ({}, [], "'tool' is a required property"),
        ({"tool": "df", "parameters": {"pth": "/"}}, ["parameters"], "pth"),
        ({"tool": "df", "parameters": {"path": "var"}}, ["parameters", "path"], "var"),
        ({"tool": "df", "operation": "usagee"}, ["operation"], "usagee"),
        ({"tool": "df", "on_failure": "redo"}, ["on_failure"], "redo"),
        ({"tool": "df", "batch": 1}, [], "batch"),
        ({"tool": "df", "whne": "true"}, [], "whne"),
        ({"batch": 0, "steps": [DF]}, ["batch"], "0"),
        ({"batch": "0%", "steps": [DF]}, ["batch"], "0%"),
        ({"steps": []}, ["steps"], "[]"),
        ({"batch": 1}, [], "'steps' is a required property"),
        ({"steps": [{**DF, "max_failures": 1}]}, ["steps", 0], "False schema"),
        ({"steps": [{"steps": [{"steps": [DF]}]}]}, ["steps", 0, "steps", 0], "steps"),
        ({"parallel": [{"parallel": [DF]}]}, ["parallel", 0], "parallel"),
    ],
)
def test_what_a_plan_may_not_hold_is_told_at_its_place(faults_of, entry, path, said):
    found = faults_of({"steps": [entry]})
    assert (["steps", 0, *path], True) in [(at, said in words) for at, words in found]


def test_an_operation_chooses_its_parameters(faults_of):
    several = next(tool for tool in CATALOG.tools.values() if len(tool.operations) > 1)
    for operation in several.operations.values():
        part = SCHEMA["$defs"][f"parameters.{several.name}.{operation.name}"]
        assert set(operation.parameters) <= set(part["properties"])
    assert faults_of({"steps": [{"tool": "tcpdump", "operation": "capture"}]})


@pytest.mark.parametrize(
    ("inputs", "good"),
    [
        ({"a": {"type": "path", "default": "/var", "summary": "Where"}}, True),
        ({"a": {"type": "pth"}}, False),
        ({"A": {"type": "path"}}, False),
        ({"a": {}}, False),
        ({"a": {"type": "path", "aliases": ["b"]}}, False),
    ],
)
def test_inputs_are_described(faults_of, inputs, good):
    assert (faults_of({"inputs": inputs, "steps": [DF]}) == []) is good
