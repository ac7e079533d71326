"""A worker is lost in the middle of a change that can be looked for: what the farm does then."""

import signal

import pytest
from sqlalchemy import text

from app.cli.interrupted import tell_evidence
from app.decide import Decider, RowName
from app.errors import Conflict
from app.store.decisions import Resolution
from tests.lab.farm import Farm, lines_of
from tests.lab.running import is_alive

#: The script that turns the switch may be anything; each start leaves its process id.
TOOL = """
summary: A switch in a file
execution_location: automation-service
parameters:
  file: {type: path, required: true, example: /tmp/x}
operations:
  look:
    summary: How it stands
    effect: read
    takes: [file]
    argv: [cat, {operands: file}]
    output: {parser: json, fields: {state: text}}
    examples: [{parameters: {file: /tmp/x}}]
  turn:
    summary: Turn it
    effect: change
    repeat: probe
    takes: [file]
    parameters: {script: {type: string, required: true, example: "true"}}
    before: look
    argv: [sh, -c, 'echo $$ >> "$0.starts"; {script}', '{file}']
    verify: {operation: look, until: output.state != before.state, within_s: 1}
    examples: [{parameters: {file: /tmp/x, script: "true"}}]
"""
UP = 'mv "$0.up" "$0"'
#: The effect comes from what outlives the command.
LATER = f"""setsid sh -c 'while [ ! -e "$0.go" ]; do sleep 0.1; done; {UP}' "$0" & sleep 60"""
SECOND_TIME = f"""[ $(wc -l < "$0.starts") = 1 ] && exec sleep 60; {UP}"""


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "switch.yaml").write_text(TOOL)
    farm = Farm(database_url, redis_server, tmp_path)
    farm.start("dispatcher")
    yield farm
    farm.close()


@pytest.fixture
def switch(tmp_path):
    path = tmp_path / "switch.json"
    path.write_text('{"state": "down"}')
    path.with_name("switch.json.up").write_text('{"state": "up"}')
    return path


@pytest.fixture
def begin(farm, switch):
    """`begin(script)`: a step whose worker was killed right in it; the execution's id."""

    def run(script, **members):
        worker = farm.start("automation")
        accepted = farm.submit(turn(switch, script, **members))
        [pid] = farm.wait_for_lines(switch.with_name("switch.json.starts"))
        worker.kill()
        farm.wait_until(lambda: not is_alive(pid))
        return accepted.execution_id

    return run


def turn(switch, script, **members):
    given = {"file": str(switch), "script": script}
    return {"tool": "switch", "operation": "turn", "parameters": given, "targets": "local",
            "id": "turn", **members}  # fmt: skip


def starts(switch):
    return len(lines_of(switch.with_name("switch.json.starts")))


def probe_of(farm, execution_id):
    return farm.result(execution_id).get("evidence", {}).get("probe", {})


def let_its_time_pass(farm):
    """As if the step had armed an hour ago, and its probe were due now."""
    with farm.parts.autocommit.connect() as connection:
        connection.execute(text("update steps set armed = armed - interval '1 hour',"
                                " probe_at = clock_timestamp()"))  # fmt: skip
        connection.execute(text("notify opsfarm_dispatch"))


def test_an_effect_that_happened_ends_the_step(farm, switch, begin, tmp_path):
    execution_id = begin(LATER)
    (tmp_path / "switch.json.go").touch()
    farm.wait_until(lambda: "up" in switch.read_text())
    farm.start("automation")
    assert farm.wait_for(execution_id)["state"] == "succeeded"
    row = farm.result(execution_id)
    assert (row["state"], row["reason"], row["attempt"]) == ("succeeded", "resolved", 1)
    assert (row["before"], row["after"], row["changed"]) == (
        {"state": "down"},
        {"state": "up"},
        True,
    )
    assert starts(switch) == 1


def test_an_effect_that_did_not_happen_is_begun_again_and_not_too_early(farm, switch, begin):
    execution_id = begin(SECOND_TIME, timeout_s=30)
    farm.start("automation")
    farm.wait_until(lambda: probe_of(farm, execution_id).get("found") == "not done")
    probe = probe_of(farm, execution_id)
    assert probe["evidence"] == {"state": "down"}
    assert probe["next_at"] == probe["counts_at"]
    [told] = [line for line in tell_evidence(farm.result(execution_id)["evidence"])
              if line.startswith("its probe:")]  # fmt: skip
    assert "may still be at work until" in told
    assert (farm.result(execution_id)["state"], starts(switch)) == ("interrupted", 1)
    let_its_time_pass(farm)
    assert farm.wait_for(execution_id)["state"] == "succeeded"
    assert (farm.result(execution_id)["attempt"], starts(switch)) == (2, 2)


def test_a_probe_without_an_answer_leaves_it_to_a_person_who_may_ask_again(farm, switch, begin):
    execution_id = begin("sleep 60")
    switch.unlink()
    farm.start("automation")
    farm.wait_until(lambda: is_left(probe_of(farm, execution_id)))
    probe = probe_of(farm, execution_id)
    assert probe["found"] == "no answer"
    assert "No such file" in probe["why"]
    assert starts(switch) == 1
    decider = Decider(farm.principal, "the switch is back", farm.parts)
    switch.write_text('{"state": "up"}')
    decider.ask_probe(execution_id, RowName("turn"))
    assert farm.wait_for(execution_id)["state"] == "succeeded"
    with pytest.raises(Conflict, match="is succeeded"):
        decider.ask_probe(execution_id, RowName("turn"))


def is_left(probe):
    return probe.get("at") and not (probe["asked_at"] or probe["next_at"] or probe["due"])


def test_a_worker_that_is_told_to_go_leaves_the_look_to_the_next(farm, switch):
    worker = farm.start("automation", OPSFARM_DRAIN_S="0.2")
    accepted = farm.submit(turn(switch, f"{UP}; sleep 60"))
    farm.wait_until(lambda: "up" in switch.read_text())
    worker.stop()
    farm.start("automation")
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert starts(switch) == 1


def test_what_was_cancelled_does_not_begin_again(farm, begin, switch):
    execution_id = begin("sleep 60")
    farm.wait_for_row(execution_id, "interrupted")
    farm.parts.ledger.cancel_execution(execution_id, "ops", "enough", 0)
    let_its_time_pass(farm)
    farm.start("automation")
    assert farm.wait_for(execution_id)["state"] == "cancelled"
    assert starts(switch) == 1


def test_a_worker_that_thaws_brings_its_own_result(farm, switch):
    worker = farm.start("automation", OPSFARM_REAP_S="1")
    accepted = farm.submit(turn(switch, 'while [ ! -e "$0.go" ]; do sleep 0.1; done'))
    farm.wait_for_lines(switch.with_name("switch.json.starts"))
    worker.send(signal.SIGSTOP)
    farm.wait_for_row(accepted.execution_id, "interrupted")
    switch.write_text('{"state": "up"}')
    switch.with_name("switch.json.go").touch()
    worker.send(signal.SIGCONT)
    assert farm.wait_for(accepted.execution_id)["state"] == "succeeded"
    assert farm.result(accepted.execution_id)["reason"] in {"late_result", "resolved"}
    assert starts(switch) == 1
    with pytest.raises(Conflict):
        Decider(farm.principal, "late", farm.parts).resolve(
            accepted.execution_id, RowName("turn"), Resolution.RETRY
        )
