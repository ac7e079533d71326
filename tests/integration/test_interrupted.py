"""A probe that itself fails: it settles nothing, and a person sees what there is."""

import pytest

from app.cli.interrupted import tell_evidence
from app.decide import Decider, RowName
from app.errors import Conflict
from app.store.decisions import Resolution
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
    told = list(tell_evidence(row["evidence"]))[-1]
    assert told.startswith("its probe:      no answer, asked next at "), "its worker did first"
    decide(farm).ask_probe(accepted.execution_id, RowName("luck"))
    farm.wait_until(lambda: is_left(farm.result(accepted.execution_id)["evidence"]["probe"]))
    [row] = farm.read(accepted.execution_id)["steps"][0]["results"]
    told = list(tell_evidence(row["evidence"]))[-1]
    assert "its probe:      no answer at 20" in told
    assert "cannot look" in told
    with pytest.raises(Conflict, match="it is attention"):
        decide(farm).resume(accepted.execution_id, only_failed=False)
    decide(farm).resolve(accepted.execution_id, RowName("luck"), Resolution.FAILED)
    assert farm.wait_for(accepted.execution_id)["state"] == "failed"


def is_left(probe):
    return probe.get("at") and not (probe["asked_at"] or probe["next_at"] or probe["due"])


def decide(farm):
    return Decider(farm.principal, "looked at it", farm.parts)
