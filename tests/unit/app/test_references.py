import json
import time

import pytest

from app.errors import PlanRejected
from app.known_steps import KnownStep, KnownSteps
from app.plan import PlanStep
from app.references import collect_references


def test_a_circle_is_told_step_by_step(check):
    text = (
        "steps:\n- {tool: df, id: a, when: steps.c.ok}\n- {tool: df, id: b, when: steps.a.ok}\n"
        "- {tool: df, id: c, parameters: {path: '{{ steps.b.summary }}'}}\n"
    )
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    assert fault.message == "steps refer to each other in a circle: a -> c -> b -> a"


def test_paths_between_steps():
    known = KnownSteps(
        {
            "a": KnownStep(1, None, frozenset({"b", "gone"})),
            "b": KnownStep(2, None, frozenset({"c", "a"})),
            "c": KnownStep(3, None, frozenset()),
        }
    )
    assert known.path_between("a", "c") == ["a", "b", "c"]
    assert known.path_between("a", "a") == ["a"]
    assert known.path_between("c", "a") is None


def test_references_of_a_step_are_the_ids_it_names():
    step = PlanStep(
        "df",
        parameters={"a": "{{ steps.x.ok }}", "b": ["{{ steps.y.ok }}"], "c": "{{ broken"},
        when="execution.id and steps.z.ok",
    )
    assert collect_references(step, "{{ steps.t.failed_targets }}") == {"x", "y", "z", "t"}


def test_a_thousand_forward_references_are_refused_in_time(check):
    steps = [{"tool": "df", "id": f"s{n}", "when": f"steps.s{n + 1}.ok"} for n in range(999)]
    steps.append({"tool": "df", "id": "s999"})
    start = time.process_time()
    with pytest.raises(PlanRejected) as caught:
        check(json.dumps({"steps": steps}))
    assert len(caught.value.faults) == 999
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "expression",
    [
        "steps.disk.output[0].used > 90",
        "steps.disk.output | length > 1",
        "steps.disk.output.count(1)",
        "steps.unit.output.MainPID > 1 and steps.unit.output.get('ActiveState')",
        "steps.unit.results[0].output.ActiveState == 'active'",
        "steps.unit.artifacts | length",
        "steps.web.results | map(attribute='exit_code') | sum",
        "steps.web.failed_targets",
        "execution.id and execution.name and execution.state",
    ],
)
def test_what_the_result_contract_holds_may_be_read(check, expression):
    check(
        "steps:\n- {tool: df, id: disk}\n- {tool: systemctl, id: unit, parameters: {unit: x}}\n"
        "- {tool: df, id: web, targets: tags.role=web}\n"
        f"- tool: df\n  when: {json.dumps(expression)}\n"
    )


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("steps", "expression"),
        ("steps.disk", "expression"),
        ("steps[execution.id].ok", "expression"),
        ("execution", "expression"),
        ("steps.disk[0]", "unknown_member"),
        ("steps.disk.results[0].outptu", "unknown_member"),
        ("steps.disk.results[0].output.used", "unknown_field"),
        ("steps.disk.output[0].usd", "unknown_field"),
        ("steps.disk.get('output')", "expression"),
    ],
)
def test_what_it_does_not_hold_may_not(check, expression, code):
    text = f"steps:\n- {{tool: df, id: disk}}\n- tool: df\n  when: {json.dumps(expression)}\n"
    with pytest.raises(PlanRejected) as caught:
        check(text)
    assert [fault.code for fault in caught.value.faults] == [code]
