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


def only_fault(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("step", "code", "path", "said"),
    [
        ("parameters: {path: '{{ inputs.pth }}'}", "unknown_input", "parameters.path",
         "did you mean 'path'?"),
        ("when: inputs.pth", "unknown_input", "when", "did you mean 'path'?"),
        ("targets: '{{ inputs.pth }}'", "unknown_input", "targets", "did you mean 'path'?"),
        ("parameters: {path: '{{ inputs | string }}'}", "expression", "parameters.path",
         "name the input"),
        ("parameters: {path: '{{ inputs[execution.id] }}'}", "expression", "parameters.path",
         "name the input"),
        ("parameters: {path: '{{ item }}'}", "item_outside", "parameters.path", "for_each"),
        ("when: item == 1, for_each: [1]", "item_outside", "when", "all items"),
        ("for_each: '{{ item }}'", "item_outside", "for_each", "all items"),
        ("for_each: ['{{ item }}']", "item_outside", "for_each[0]", "all items"),
        ("for_each: '{{ steps.a.results }}{{ 1 }}'", "expression", "for_each", "more than one"),
        ("for_each: '{{ steps.gone.results }}'", "unknown_step", "for_each", "gone"),
        ("confirm: '{{ steps.a.failed_targets }}'", "expression", "confirm", "another step"),
        ("confirm: '{{ execution.name }}'", "expression", "confirm", "another step"),
        ("when: itm == 1", "expression", "when", "did you mean 'item'?"),
        ("when: input.path", "expression", "when", "did you mean 'inputs'?"),
    ],
)  # fmt: skip
def test_a_bad_name_is_one_clear_fault(check, step, code, path, said):
    text = (
        "inputs: {path: {type: path, default: /var}}\n"
        f"steps: [{{tool: df, id: a}}, {{tool: df, id: b, {step}}}]\n"
    )
    fault = only_fault(check, text)
    assert (fault.code, fault.path) == (code, f"steps[1].{path}")
    assert said in f"{fault.message} {fault.hint}"


def test_a_plan_without_inputs_says_how_to_declare_one(check):
    fault = only_fault(check, "steps: [{tool: df, when: inputs.deep}]")
    assert fault.hint == "inputs: {deep: {type: string}} declares it"


def test_steps_side_by_side_do_not_know_each_other(check):
    text = (
        "steps: [{tool: df, id: a}, {parallel: [{tool: df, id: b, when: steps.a.ok},"
        " {tool: df, id: c, when: steps.a.ok}]}, {tool: df, id: d, when: steps.c.ok}]"
    )
    assert len(check(text).steps) == 4
    fault = only_fault(check, text.replace("id: c, when: steps.a.ok", "id: c, when: steps.b.ok"))
    assert (fault.code, fault.path) == ("parallel_reference", "steps[1].parallel[1].when")
    fault = only_fault(check, text.replace("id: b, when: steps.a.ok", "id: b, when: steps.c.ok"))
    assert fault.code == "parallel_reference"
    fault = only_fault(check, text.replace("id: b, when: steps.a.ok", "id: b, when: steps.b.ok"))
    assert fault.code == "self_reference"


def test_a_step_after_a_block_may_use_what_is_in_it(check):
    text = (
        "steps: [{targets: web-01, steps: [{tool: df, id: a}, {tool: df, id: b,"
        " when: steps.a.ok}]}, {tool: df, id: c, when: steps.b.ok}]"
    )
    assert len(check(text).steps) == 3


@pytest.mark.parametrize(
    ("members", "fanned_out"),
    [
        ("for_each: [/a]", False),
        ("for_each: [/a, /b]", True),
        ("target: tags.role=web", True),
        ("target: tags.role=web, when: execution.name", True),
        ("target: web-01, when: execution.name", False),
        ("when: execution.name", False),
        ("for_each: '{{ execution.name }}'", False),
        ("target: '{{ execution.name }}'", False),
    ],
)
def test_single_members_are_those_of_a_single_row(check, members, fanned_out):
    text = f"steps: [{{tool: df, id: a, {members}}}, {{tool: df, id: b, when: steps.a.exit_code}}]"
    if fanned_out:
        assert only_fault(check, text).code == "fanned_out"
    else:
        assert len(check(text).steps) == 2
