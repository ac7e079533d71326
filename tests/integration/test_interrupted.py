"""A probe that itself fails: it settles nothing, and a person sees what there is."""

import pytest

from app.cli.interrupted import tell_evidence
from app.decide import Decider, RowName
from app.errors import Conflict
from app.step import State, StepResult
from app.store.decisions import Found, Resolution
from tests.lab.farm import Farm

TOOL = """
summary: What can only be looked at with luck
execution_location: automation-service
operations:
  look:
    summary: Fails
    effect: read
    argv: [sh, -c, 'echo cannot look >&2; exit 4']
    output: {parser: key_value, fields: {state: text}}
    examples: [{parameters: {}}]
  act:
    summary: Takes longer than it may
    effect: change
    repeat: probe
    verify: {operation: look, until: output.state == 'done', within_s: 0.5}
    argv: [sh, -c, 'echo begun; exec sleep 60']
    examples: [{parameters: {}}]
"""


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "luck.yaml").write_text(TOOL)
    farm = Farm(database_url, redis_server, tmp_path)
    farm.start("dispatcher")
    farm.start("automation")
    yield farm
    farm.close()


def test_a_probe_that_itself_fails_leaves_the_step_to_a_person(farm):
    luck = {"tool": "luck", "operation": "act", "targets": "local", "id": "luck", "timeout_s": 1}
    accepted = farm.submit(luck)
    execution = farm.wait_for(accepted.execution_id, "attention")
    [row] = execution["steps"][0]["results"]
    assert (row["state"], row["reason"]) == ("interrupted", "timeout")
    assert "look: " in row["summary"]
    assert list(tell_evidence(row["evidence"]))[-1] == "its probe:      no answer"
    # Asked by anybody else it says no more, and changes nothing.
    nothing = StepResult(State.FAILED, "cannot look")
    refused = farm.parts.decisions.probe_interrupted(row["step_id"], Found.UNKNOWN, nothing, send=1)
    assert (refused.accepted, refused.state) == (False, "interrupted")
    assert farm.read(accepted.execution_id) == execution
    with pytest.raises(Conflict, match="it is attention"):
        decide(farm).resume(accepted.execution_id, only_failed=False)
    decide(farm).resolve(accepted.execution_id, RowName("luck"), Resolution.FAILED)
    assert farm.wait_for(accepted.execution_id)["state"] == "failed"


def decide(farm):
    return Decider(farm.principal, "looked at it", farm.parts)
