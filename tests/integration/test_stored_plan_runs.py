"""A stored plan through real processes: its inputs reach the tools, a rerun repeats them."""

import json

import pytest

from app.plan_reader import read_request
from app.rerun import Rerun, rerun
from app.stored_plans import open_request, save_plan
from app.submit import submit
from tests.lab.farm import Farm, lines_of

TEXT = """\
# Marks a file for each name of a roll, with a word that is asked for
name: roll-call
inputs:
  roll: {type: path, required: true}
  marks: {type: path, required: true}
  word: {type: string, default: here}
steps:
  - tool: roll
    id: names
    targets: local
    parameters: {file: "{{ inputs.roll }}"}
  - tool: mark
    operation: change
    id: marks
    targets: local
    for_each: "{{ steps.names.output }}"
    parameters: {file: "{{ inputs.marks }}", line: "{{ item }} is {{ inputs.word }}"}
"""


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    farm.start("automation")
    farm.start("dispatcher")
    yield farm
    farm.close()


def test_inputs_reach_the_tools_and_a_rerun_repeats_them(farm, tmp_path):
    saved = save_plan(json.dumps({"plan": TEXT}).encode(), farm.principal, farm.parts)
    assert (saved["name"], saved["version"]) == ("roll-call", 1)
    assert set(saved["tools"]) == {"roll", "mark"}
    roll, marks = tmp_path / "roll.json", tmp_path / "marks"
    envelope = {
        "plan": "roll-call@1",
        "inputs": {"roll": str(roll), "marks": str(marks), "word": "late"},
    }
    request = read_request(json.dumps(envelope).encode())
    plan = open_request(request, farm.principal, farm.parts)
    first = submit(plan, farm.principal, farm.parts).execution_id
    assert farm.wait_for(first)["state"] == "failed"  # there is no roll yet
    assert lines_of(marks) == []

    roll.write_text('["ann", "bob"]')
    again = rerun(Rerun(first, failed_only=True), farm.principal, farm.parts).execution_id
    shown = farm.wait_for(again)
    assert shown["state"] == "succeeded", shown
    assert sorted(lines_of(marks)) == ["ann is late", "bob is late"]
    assert [row["item"] for row in shown["steps"][1]["results"]] == ["ann", "bob"]
    assert shown["plan"] == {"name": "roll-call", "version": 1}
    assert shown["rerun_of"] == str(first)
    assert farm.read(first)["reruns"] == [str(again)]
