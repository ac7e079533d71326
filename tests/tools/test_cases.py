"""Every case file, and what the whole catalogue must keep. A tool's proof is its cases."""

import re
from pathlib import Path

import pytest

from app.command import build_command, show_command
from app.filling import reveal
from app.safety import Policy, effect_of
from tasks.result import interpret
from tasks.runners.base import RawOutput
from tool_catalog.cases import Proof, find_cases
from tool_catalog.check import check_catalog
from tool_catalog.loader import load_catalog
from tool_catalog.params import check_parameters

CATALOG = load_catalog()
CASES = find_cases()
INTEGRATION = Path(__file__).parents[1] / "integration"
MARKER = re.compile(r"@pytest\.mark\.proves\(\s*\"([^\"]+)\",\s*\"([^\"]+)\"")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.tool}-{case.name}")
def test_case(case):
    operation = CATALOG.operation(CATALOG.find(case.tool), case.operation)
    values, faults = check_parameters(operation, case.parameters)
    if "fault" in case.claims:
        assert_fault(case.claims["fault"], faults)
        return
    assert faults == []
    if "effect" in case.claims:
        assert effect_of(operation, values, Policy()) == case.claims["effect"]
    assert_command(case.claims, build_command(operation, as_worker_gets(values)))
    if "run" in case.claims:
        assert_result(case.claims["result"], interpret(operation, values, raw(case.claims["run"])))


def as_worker_gets(values):
    """Artifacts are local paths by then."""
    return {
        name: f"/artifacts/{value['$artifact']}"
        if isinstance(value, dict) and "$artifact" in value
        else value
        for name, value in values.items()
    }


def raw(given):
    return RawOutput(
        exit_code=given.get("exit_code"),
        status=given.get("status"),
        stdout=given.get("stdout", "").encode(),
        stderr=given.get("stderr", "").encode(),
    )


def assert_fault(expected, faults):
    found = [{key: getattr(fault, key) for key in expected} for fault in faults]
    assert found == [expected]


def assert_command(claims, command):
    if "argv" in claims:
        assert list(command.argv) == claims["argv"]
    if "stdin" in claims:
        assert reveal(command.stdin) == claims["stdin"]
    if "masked" in claims:
        shown = show_command(command)
        assert {key: shown.get(key) for key in claims["masked"]} == claims["masked"]


def assert_result(expected, result):
    assert result.state == expected["state"], result.summary
    assert result.reason == expected.get("reason")
    parts = expected.get("summary", [])
    for part in [parts] if isinstance(parts, str) else parts:
        assert part in result.summary
    if isinstance(expected.get("output"), dict):
        assert {key: result.output[key] for key in expected["output"]} == expected["output"]
    elif "output" in expected:
        assert result.output == expected["output"]


def test_every_operation_has_a_case_and_every_tool_its_place():
    report = check_catalog(CATALOG)
    print("\n".join(report.lines()))
    assert report.faults == ()


def test_what_claims_to_have_been_run_was_run():
    claimed = {(case.tool, case.operation) for case in CASES if case.proven_by is not Proof.ARGV}
    assert claimed - markers() == set()


def test_a_marker_names_an_operation_and_that_has_a_claim():
    claimed = {(case.tool, case.operation) for case in CASES if case.proven_by is not Proof.ARGV}
    assert markers() - claimed == set()


def markers():
    """(tool, operation) of every `proves` marker in the tool's own integration test."""
    found = set()
    for path in INTEGRATION.glob("test_tool_*.py"):
        tool = path.stem.removeprefix("test_tool_").replace("_", "-")
        found |= {pair for pair in MARKER.findall(path.read_text()) if pair[0] == tool}
    return found
