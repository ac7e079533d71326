import json
import time

import pytest

from app import staging
from app.errors import PlanRejected
from app.plan_reader import read_request
from app.selector import Selection
from app.step import Target
from app.validate import validate

NODES = [f"node-{number}" for number in range(1, 8)]


def shown(plan):
    """Each step as (stage, key, names of its rows' targets)."""
    return [
        (step.stage, step.key, [row.target.name if row.target else None for row in step.rows])
        for step in plan.steps
    ]


def only_fault(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


ROLLING = """
targets: tags.role=node
steps:
- {tool: df, id: before, target: web-01}
- batch: 3
  max_failures: 1
  on_failure: continue
  steps:
  - {tool: systemctl, id: restart, operation: restart, parameters: {unit: nginx}}
  - parallel:
    - {tool: df, id: disk}
    - {tool: sendmail, id: told, parameters: {to: a@example.com, subject: done}}
- {tool: df, id: after}
finally:
- {tool: df, id: last, target: local}
"""


def test_each_batch_passes_through_all_steps_before_the_next(check):
    plan = check(ROLLING)
    assert shown(plan) == [
        (0, "before", ["web-01"]),
        (1, "restart", NODES[:3]),
        (2, "disk", NODES[:3]),
        (2, "told", [None]),
        (3, "restart", NODES[3:6]),
        (4, "disk", NODES[3:6]),
        (4, "told", [None]),
        (5, "restart", NODES[6:]),
        (6, "disk", NODES[6:]),
        (6, "told", [None]),
        (7, "after", NODES),
        (8, "last", ["local"]),
    ]
    assert (plan.stages, plan.finally_stage, plan.name) == (9, 8, "df and 5 more")


def test_a_step_has_one_position_and_counts_its_rows_on(check):
    restart = [step for step in check(ROLLING).steps if step.key == "restart"]
    assert {step.position for step in restart} == {2}
    assert {step.path for step in restart} == {"steps[1].steps[0]"}
    assert [step.first_index for step in restart] == [0, 3, 6]
    assert [row.mutex for row in restart[2].rows] == ["asset:10"]


def test_steps_tell_of_the_outermost_block(check):
    steps = check(ROLLING).steps
    inside = {step.key for step in steps if step.block is not None}
    assert inside == {"restart", "disk", "told"}
    for step in steps:
        told = (step.block, step.max_failures, step.block_on_failure, step.on_failure)
        wanted = (1, 1, "continue", "stop") if step.key in inside else (None, None, None, "stop")
        assert told == wanted


def test_the_inventory_is_asked_once_for_a_block(check, farm):
    check(ROLLING)
    assert farm.asked == 3


def test_a_step_in_a_block_may_act_elsewhere(check):
    text = (
        "steps: [{targets: tags.role=web, batch: 1, steps:"
        " [{tool: df, id: own}, {tool: df, id: other, target: db-01}]}]"
    )
    assert shown(check(text)) == [
        (0, "own", ["web-01"]),
        (1, "other", ["db-01"]),
        (2, "own", ["web-02"]),
        (3, "other", ["db-01"]),
    ]


def test_a_block_without_targets_only_groups(check):
    text = "steps: [{run_as: web, steps: [{tool: df, id: a}, {tool: df, id: b, target: web-01}]}]"
    plan = check(text)
    assert shown(plan) == [(0, "a", ["local"]), (1, "b", ["web-01"])]
    assert [step.run_as for step in plan.steps] == ["web", "web"]


def test_items_follow_one_another_within_a_batch(check):
    text = (
        "steps: [{targets: tags.role=web, batch: 1, steps: [{tool: df, for_each: [/a, /b],"
        " parameters: {path: '{{ item }}'}}]}]"
    )
    rows = [
        (row.target.name, row.item, row.parameters["path"])
        for step in check(text).steps
        for row in step.rows
    ]
    assert rows == [
        ("web-01", "/a", "/a"),
        ("web-01", "/b", "/b"),
        ("web-02", "/a", "/a"),
        ("web-02", "/b", "/b"),
    ]


def test_a_destroying_step_names_the_whole_block_once(check):
    text = (
        "steps: [{targets: tags.role=web, batch: 1, steps: [{tool: systemctl, operation: stop,"
        " parameters: {unit: x}, confirm: [web-01, web-02]}]}]"
    )
    assert shown(check(text)) == [(0, "systemctl", ["web-01"]), (1, "systemctl", ["web-02"])]
    fault = only_fault(check, text.replace("[web-01, web-02]", "web-01"))
    assert fault.hint == "write `confirm: [web-01, web-02]`"


WAITING = (
    "steps: [{targets: tags.role=web, batch: 1, steps: [{tool: df, id: a},"
    " {tool: systemctl, id: b, operation: stop, when: steps.a.ok, parameters: {unit: x},"
    " confirm: [web-01, web-02]}]}]"
)


def test_a_dynamic_step_has_a_template_for_each_batch(check):
    templates = [step.template for step in check(WAITING).steps if step.dynamic]
    assert [template["targets"] for template in templates] == [
        {"names": ["web-01"]},
        {"names": ["web-02"]},
    ]
    assert [template["batch"] for template in templates] == [["web-01"], ["web-02"]]
    assert [template["confirm"] for template in templates] == [["web-01"], ["web-02"]]
    assert [template["inside"] for template in templates] == [["a"], ["a"]]
    within = {"number": 1, "max_failures": 0, "on_failure": "stop"}
    assert [template["within"] for template in templates] == [within, within]


BLOCK_DUE = """
inputs: {size: {type: integer, default: 2}}
steps:
- {tool: df, id: disk, targets: tags.role=node}
- targets: "{{ steps.disk.failed_targets }}"
  batch: 2
  steps:
  - {tool: df, id: first}
  - steps:
    - {tool: df, id: second}
  - parallel: [{tool: df, id: third}]
- {tool: df, id: after}
"""


def test_a_dynamic_block_has_a_placeholder_for_each_step(check):
    plan = check(BLOCK_DUE)
    assert shown(plan)[1:] == [
        (1, "first", [None]),
        (2, "second", [None]),
        (3, "third", [None]),
        (4, "after", ["local"]),
    ]
    first, second, third = plan.steps[1:4]
    assert [step.dynamic for step in (first, second, third)] == [True, True, True]
    assert first.template["placeholders"] == 3
    assert first.template["block"]["batch"] == 2
    assert first.template["inputs"] == {"size": 2}
    assert json.loads(json.dumps(first.template)) == first.template
    for step in (second, third):
        assert {"block", "placeholders"} & set(step.template) == set()


def test_only_the_first_of_a_rendered_block_in_each_batch_holds_it(check):
    text = (
        "steps: [{tool: df, id: a}, {targets: tags.role=web, batch: 1, steps:"
        " [{tool: df, id: b}, {when: steps.a.ok, steps: [{tool: df, id: c}, {tool: df, id: d}]}]}]"
    )
    plan = check(text)
    held = [(step.stage, step.key) for step in plan.steps if "block" in (step.template or {})]
    assert held == [(2, "c"), (5, "c")]
    templates = [step.template for step in plan.steps if "block" in (step.template or {})]
    assert [template["batch"] for template in templates] == [["web-01"], ["web-02"]]
    assert templates[0]["within"]["number"] == 1


def test_a_step_of_one_row_in_each_batch_has_a_single_output_inside(check):
    text = (
        "steps: [{targets: tags.role=web, batch: 1, steps: [{tool: df, id: a}, {tool: df, id: b,"
        " when: steps.a.exit_code == 0}]}, {tool: df, id: c, when: steps.a.ok}]"
    )
    assert len(check(text).steps) == 5
    fault = only_fault(check, text.replace("when: steps.a.ok", "when: steps.a.exit_code == 0"))
    assert (fault.code, fault.path) == ("fanned_out", "steps[1].when")
    fault = only_fault(check, text.replace("batch: 1", "batch: 2"))
    assert (fault.code, fault.path) == ("fanned_out", "steps[0].steps[1].when")


def test_too_many_rows_are_one_fault(check, monkeypatch):
    monkeypatch.setattr(staging, "MAX_ROWS", 12)
    text = "steps: [{tool: df, targets: tags.role=node, for_each: [/a, /b],"
    fault = only_fault(check, text + " parameters: {path: '{{ item }}'}}]")
    assert (fault.code, fault.allowed) == ("too_many", "at most 12")


def test_batches_cost_what_their_rows_cost(catalog, farm, rules):
    fleet = Selection(tuple(Target(f"n{n}", n, f"n{n}", "ssh") for n in range(1, 1001)))
    farm.select = lambda _selector: fleet
    steps = [{"tool": "df", "id": f"s{n}"} for n in range(20)]
    block = {"targets": "tags.role=web", "batch": 1, "steps": steps}
    plan = read_request(json.dumps({"steps": [block]}).encode()).plan
    began = time.process_time()
    checked = validate(plan, catalog, farm, rules)
    assert len(checked.steps) == 20_000
    assert time.process_time() - began < 3  # a tenth of it; were it quadratic, minutes
