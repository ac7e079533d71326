from types import SimpleNamespace

import pytest

from app.api.sensitive import HIDDEN_NOTE, EventFilter, hide_output
from app.principal import Principal, Role
from tool_catalog.names import unknown


class Catalog:
    """`show` tells secrets, `df` does not."""

    def find(self, name):
        if name not in {"show", "df"}:
            raise unknown("tool", name, ["show", "df"])
        return name

    def operation(self, tool, _name):
        return SimpleNamespace(sensitive=tool == "show")


def step(tool, step_id):
    result = {
        "step_id": step_id,
        "output": {"canary": 1},
        "before": ["canary"],
        "after": "canary",
        "stdout_tail": "canary",
        "stderr_tail": "canary",
        "summary": "canary",
        "state": "succeeded",
        "exit_code": 0,
    }
    return {"tool": tool, "operation": "run", "results": [result], "output": 1, "summary": "canary"}


def interrupted(tool, step_id):
    """A step of which nobody saw the end."""
    found = step(tool, step_id)
    late = {"state": "succeeded", "summary": "canary", "at": "2026-01-01"}
    found["results"][0]["evidence"] = {
        "armed_at": "2026-01-01",
        "lines": [["stdout", "canary"]],
        "late": [late],
        "probe": {"found": "not done", "at": "2026-01-01", "evidence": ["canary"], "why": "canary"},
    }
    return found


EXECUTION = {"steps": [step("df", 1), step("show", 2), step("gone", 3)]}


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
def test_operators_see_all(role):
    assert hide_output(EXECUTION, Principal(1, "x", role), Catalog()) is EXECUTION


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_others_see_outcomes_of_what_is_sensitive(role):
    shown = hide_output(EXECUTION, Principal(1, "x", role), Catalog())
    assert shown["steps"][0] == EXECUTION["steps"][0]
    for hidden in shown["steps"][1:]:
        assert "canary" not in str(hidden)
        assert hidden["results"][0]["state"] == "succeeded"
        assert hidden["summary"] == HIDDEN_NOTE


def output_of(step_id):
    return {"step_id": step_id, "kind": "step.output", "data": {"lines": [["stdout", "canary"]]}}


def test_events_too():
    sieve = EventFilter(EXECUTION, Catalog())
    assert sieve.hide(output_of(1)) == output_of(1)
    assert sieve.hide(output_of(2))["data"] == {"lines": []}
    assert sieve.hide(output_of(3))["data"] == {"lines": []}
    end = {"step_id": 9, "kind": "step.succeeded", "data": {"summary": "canary", "key": "a"}}
    assert sieve.hide(end)["data"] == {"key": "a"}
    finished = {"step_id": None, "kind": "execution.finished", "data": {"state": "failed"}}
    assert sieve.hide(finished) == finished


@pytest.mark.parametrize(("tool", "seen"), [("df", True), ("show", False), ("gone", False)])
def test_rows_that_are_rendered_later_go_by_the_same_rule(tool, seen):
    sieve = EventFilter(EXECUTION, Catalog())
    assert "canary" not in str(sieve.hide(output_of(9)))
    names = {"position": 2, "tool": tool, "operation": "run", "summary": "canary"}
    for kind in ("step.queued", "step.running", "step.succeeded"):
        shown = sieve.hide({"step_id": 9, "kind": kind, "data": names})
        assert ("canary" in str(shown)) is seen
    assert ("canary" in str(sieve.hide(output_of(9)))) is seen


def test_evidence_tells_a_viewer_when_but_not_what():
    execution = {"steps": [interrupted("show", 2), interrupted("df", 3)]}
    hidden, seen = hide_output(execution, Principal(1, "eve", Role.VIEWER), Catalog())["steps"]
    evidence = hidden["results"][0]["evidence"]
    assert evidence["armed_at"] == "2026-01-01"
    assert [late["state"] for late in evidence["late"]] == ["succeeded"]
    assert "canary" not in str(hidden)
    assert seen == execution["steps"][1]


def test_what_a_probe_saw_is_hidden_and_that_it_was_asked_is_not():
    [shown] = hide_output(
        {"steps": [interrupted("show", 2)]}, Principal(1, "x", Role.VIEWER), Catalog()
    )["steps"]
    assert shown["results"][0]["evidence"]["probe"] == {"found": "not done", "at": "2026-01-01"}
    assert "canary" not in str(shown)
    told = {"probe": {"evidence": "canary"}, "resolved": {"evidence": "canary"}, "state": "x"}
    event = {"step_id": 2, "data": {"tool": "show", "operation": "run", **told}}
    assert "canary" not in str(EventFilter(EXECUTION, Catalog()).hide(event))
