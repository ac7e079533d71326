"""Plans that fail and reverse what they did: real processes, real tools, the world looked at."""

import stat

import pytest

from app.cli.interrupted import tell_evidence
from app.decide import Decider, RowName
from app.errors import Conflict
from app.store.deadletters import Wanted
from app.store.decisions import Resolution
from tests.lab.farm import Farm, hold, lines_of, mark

#: A site's tool whose effects are lines of a file, so that their order can be seen.
LOG = """
summary: Lines of a file
execution_location: automation-service
parameters:
  file: {type: path, required: true, example: /tmp/x}
  line: {type: string, default: line, example: line}
operations:
  look:
    summary: All lines
    effect: read
    takes: [file]
    argv: [sh, -c, 'printf "lines="; cat "$0" 2>/dev/null | tr "\\n" ","', "{file}"]
    output: {parser: key_value, fields: {lines: text}}
    examples: [{parameters: {file: /tmp/x}}]
  add:
    summary: Add a line
    effect: change
    repeat: never
    takes: [file, line]
    before: look
    argv: [tee, -a, {operands: file}]
    stdin: "{line}\\n"
    undo: {operation: strike, with: {line: "not {line}"}, if: parameters.line != 'kept'}
    examples: [{parameters: {file: /tmp/x}}]
  strike:
    summary: Add a line that says no
    effect: change
    repeat: never
    takes: [file, line]
    argv: [sh, -c, 'case "$1" in *stuck) exit 7;; esac; echo "$1" >> "$0"', "{file}", "{line}"]
    examples: [{parameters: {file: /tmp/x}}]
  fail:
    summary: Never works
    effect: change
    repeat: never
    takes: [file]
    argv: ["false"]
    examples: [{parameters: {file: /tmp/x}}]
"""


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "log.yaml").write_text(LOG)
    farm = Farm(database_url, redis_server, tmp_path)
    farm.start("dispatcher")
    farm.start("automation")
    farm.wait_until(lambda: any("chmod" in each.programs for each in farm.parts.roster.offers(9)))
    yield farm
    farm.close()


def step(operation, file, **members):
    line = {"line": members.pop("line")} if "line" in members else {}
    return {
        "tool": "log",
        "operation": operation,
        "targets": "local",
        "parameters": {"file": str(file), **line},
        **members,
    }


def decide(farm):
    return Decider(farm.principal, "looked at it", farm.parts)


def section(execution, name):
    return [each for each in execution["steps"] if each["section"] == name]


def test_two_modes_are_put_back_when_the_third_step_fails(farm, tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file, mode in zip(files, (0o640, 0o400), strict=True):
        file.touch(mode=mode)
    steps = [
        {
            "tool": "chmod",
            "operation": "set",
            "id": file.name,
            "targets": "local",
            "parameters": {"path": str(file), "mode": "0755"},
        }
        for file in files
    ]
    missing = {**steps[0], "id": "missing", "on_failure": "undo"}
    missing["parameters"] = {"path": str(tmp_path / "none"), "mode": "0755"}
    late = step("add", tmp_path / "late", id="late")
    last = step("add", tmp_path / "last", id="last")
    accepted = farm.submit(*steps, missing, late, **{"finally": [last]})
    assert accepted.warnings == ()
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "failed"
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o640, 0o400]
    states = {each["id"]: each["state"] for each in execution["steps"]}
    assert states == {
        "a": "succeeded",
        "b": "succeeded",
        "missing": "failed",
        "late": "skipped",
        "last": "succeeded",
        "undo:b": "succeeded",
        "undo:a": "succeeded",
    }
    undone = section(execution, "undo")
    assert [each["id"] for each in undone] == ["undo:b", "undo:a"]
    rows = {each["id"]: each["results"][0]["step_id"] for each in execution["steps"]}
    assert [each["results"][0]["undoes"] for each in undone] == [rows["b"], rows["a"]]
    assert lines_of(tmp_path / "last") == ["line"], "finally runs behind the reversal"
    assert not (tmp_path / "late").exists()


def test_each_end_of_a_reversal_is_told(farm, tmp_path):
    file = tmp_path / "f"
    accepted = farm.submit(
        step("add", file, id="one", line="one"),
        step("add", file, id="kept", line="kept"),
        step("strike", file, id="plain", line="plain"),
        step("look", file, id="read"),
        step("fail", file, id="bad", on_failure="undo", retries={"max": 1, "backoff_s": 0}),
    )
    assert accepted.warnings == (
        "step 3 (log strike) cannot be undone: its tool declares no undo, so what it did stays",
    )
    execution = farm.wait_for(accepted.execution_id)
    assert lines_of(file) == ["one", "kept", "plain", "not one"]
    told = {each["id"]: (each["state"], each["summary"]) for each in section(execution, "undo")}
    assert list(told) == ["undo:plain", "undo:kept", "undo:one"]
    assert told["undo:plain"] == ("skipped", "log strike declares no undo: what it did stays")
    assert told["undo:kept"] == ("skipped", "nothing to undo: not parameters.line != 'kept'")
    assert told["undo:one"][0] == "succeeded"


def test_a_reversal_that_fails_is_named_and_stops_those_of_its_target(farm, tmp_path):
    file = tmp_path / "f"
    accepted = farm.submit(
        step("add", file, id="one", line="one"),
        step("add", file, id="two", line="stuck"),
        step("add", file, id="three", line="three"),
        step("fail", file, id="bad", on_failure="undo"),
        **{"finally": [step("add", tmp_path / "last", id="last")]},
    )
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "failed"
    assert lines_of(file) == ["one", "stuck", "three", "not three"]
    assert lines_of(tmp_path / "last") == ["line"]
    three, two, one = section(execution, "undo")
    assert (three["state"], two["state"], one["state"]) == ("succeeded", "failed", "skipped")
    assert two["reason"] == "exit_code"
    assert one["summary"] == "left out: step undo:two failed on it"
    # It is at the desk, and goes on from there once it can.
    letters = farm.parts.dead_letters.list("default", Wanted())
    assert [letter["id"] for letter in letters] == ["undo:two", "bad"]
    assert (
        farm.parts.dead_letters.read("default", letters[0]["step_id"])["step"]["section"] == "undo"
    )
    with pytest.raises(Conflict, match="what it did was reversed"):
        decide(farm).resume(accepted.execution_id, only_failed=False)
    with pytest.raises(Conflict, match="what it did was reversed"):
        decide(farm).requeue(letters[1]["step_id"])
    with farm.parts.engine.begin() as connection:
        connection.exec_driver_sql(
            "update steps set parameters = jsonb_set(parameters, '{line}', '\"not two\"')"
            f" where id = {letters[0]['step_id']}"
        )
    decide(farm).requeue(letters[0]["step_id"])
    execution = farm.wait_for(accepted.execution_id)
    assert lines_of(file) == ["one", "stuck", "three", "not three", "not two", "not one"]
    assert lines_of(tmp_path / "last") == ["line"], "finally ran once"
    assert [each["state"] for each in section(execution, "undo")] == ["succeeded"] * 3


def test_a_success_is_undone_by_hand_once(farm, tmp_path):
    file = tmp_path / "f"
    accepted = farm.submit(
        step("add", file, id="one", line="one"), step("add", file, id="two", line="two")
    )
    with pytest.raises(Conflict, match="only a final one can be undone"):
        decide(farm).undo(farm.submit(hold("read", tmp_path / "h")).execution_id)
    farm.wait_for(accepted.execution_id)
    shown = decide(farm).undo(accepted.execution_id)
    assert (shown["state"], shown["run"]) == ("running", 2)
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert lines_of(file) == ["one", "two", "not two", "not one"]
    with pytest.raises(Conflict, match="nothing that changed anything is left to reverse"):
        decide(farm).undo(accepted.execution_id)
    assert lines_of(file) == ["one", "two", "not two", "not one"]


def test_what_changed_nothing_is_not_undone(farm, tmp_path):
    (tmp_path / "a").touch(mode=0o755)
    mode = {"path": str(tmp_path / "a"), "mode": "0755"}
    same = {"tool": "chmod", "operation": "set", "targets": "local", "parameters": mode}
    accepted = farm.submit(same, step("fail", tmp_path / "f", on_failure="undo"))
    [undone] = section(farm.wait_for(accepted.execution_id), "undo")
    told = "nothing to undo: chmod set changed nothing"
    assert (undone["state"], undone["summary"]) == ("skipped", told)
    # Nothing was reversed: the execution may go on where it failed.
    shown = decide(farm).resume(accepted.execution_id, only_failed=False)
    assert section(shown, "undo") == []
    assert [each["state"] for each in section(farm.wait_for(accepted.execution_id), "undo")] == [
        "skipped"
    ]


def test_what_has_no_undo_is_told_once(farm, tmp_path):
    accepted = farm.submit(step("strike", tmp_path / "f"))
    farm.wait_for(accepted.execution_id)
    decide(farm).undo(accepted.execution_id)
    [undone] = section(farm.wait_for(accepted.execution_id), "undo")
    told = "log strike declares no undo: what it did stays"
    assert (undone["state"], undone["summary"]) == ("skipped", told)
    with pytest.raises(Conflict, match="nothing that changed anything is left to reverse"):
        decide(farm).undo(accepted.execution_id)


def test_nothing_to_reverse_is_said(farm, tmp_path):
    accepted = farm.submit(step("fail", tmp_path / "f", on_failure="undo"))
    execution = farm.wait_for(accepted.execution_id)
    [undone] = section(execution, "undo")
    assert undone["state"] == "skipped"
    assert undone["summary"].startswith("nothing to undo: no step that changes anything was done")
    assert execution["state"] == "failed"


# Interrupted steps.


def test_a_killed_worker_leaves_a_never_step_to_a_person_who_lets_it_run_again(farm, tmp_path):
    """What an operator sees after kill -9 in the middle of a change, and what ends it well."""
    worker = farm.processes[-1]
    accepted = farm.submit(hold("change", tmp_path / "held", seconds="0.5"), mark(tmp_path / "g"))
    farm.wait_for_lines(tmp_path / "held")
    worker.kill()
    execution = farm.wait_for(accepted.execution_id, "attention")
    [row] = execution["steps"][0]["results"]
    assert (row["state"], row["reason"], row["attempt"]) == ("interrupted", "worker_lost", 1)
    assert row["evidence"]["armed_at"]
    assert lines_of(tmp_path / "held") == lines_of(tmp_path / "held")[:1], "it ran once"
    lines = list(tell_evidence(row["evidence"]))
    assert lines[0].startswith("may have acted: since 20")
    assert lines[1] == "last output:    none"
    farm.start("automation")
    decide(farm).resolve(accepted.execution_id, RowName("held"), Resolution.RETRY)
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert len(lines_of(tmp_path / "held")) == 2
    assert lines_of(tmp_path / "g") == ["ran"]
