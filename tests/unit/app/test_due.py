import json

import pytest

from app.due import DueFailure, Skip, name_references
from app.principal import Principal, Role
from tool_catalog.model import Reason

NODES = [f"node-{number}" for number in range(1, 8)]


def shown(steps):
    """Each step as (stage, key, names of its rows' targets); "?" for a placeholder."""
    return [
        (
            step.stage,
            step.key,
            "?" if step.dynamic else [row.target.name if row.target else None for row in step.rows],
        )
        for step in steps
    ]


ITEMS = (
    "steps:\n- {tool: df, id: scan, target: web-01}\n"
    "- {tool: df, for_each: '{{ steps.scan.output }}', targets: '{{ item.hosts }}',"
    " parameters: {path: '/data/{{ item.name }}'}}\n"
)


def test_items_of_an_earlier_step_give_rows(due):
    found = [{"name": "a", "hosts": ["web-01", "web-02"]}, {"name": "b", "hosts": "db-01"}]
    step = due(ITEMS, {"scan": {"output": found}})
    assert [(row.target.name, row.parameters["path"], row.item) for row in step.rows] == [
        ("web-01", "/data/a", found[0]),
        ("web-02", "/data/a", found[0]),
        ("db-01", "/data/b", found[1]),
    ]


@pytest.mark.parametrize(
    ("output", "reason", "said"),
    [
        ({"name": "a"}, Reason.EXPRESSION, "not a list"),
        ("ab", Reason.EXPRESSION, "not a list"),
        (None, Reason.EXPRESSION, "not a list"),
        ([], Reason.NO_TARGETS, "no items"),
        ([{"name": "a"}], Reason.EXPRESSION, "hosts"),
        ([{"name": "a", "hosts": "nobody"}], Reason.NO_TARGETS, "nobody"),
        ([{"name": "a", "hosts": "web-01"}] * 1001, Reason.INVALID_PARAMETER, "1,001 items"),
        ([{"name": "a", "hosts": NODES}] * 143, Reason.INVALID_PARAMETER, "too many rows"),
    ],
)
def test_items_that_give_no_rows_fail_the_step(due, output, reason, said):
    failure = due(ITEMS, {"scan": {"output": output}})
    assert isinstance(failure, DueFailure)
    assert failure.reason is reason
    assert said in failure.message


def test_what_an_item_holds_is_never_read_again(due):
    text = (
        "steps:\n- {tool: df, id: scan, target: web-01}\n- tool: sendmail\n"
        "  for_each: '{{ steps.scan.output }}'\n"
        "  parameters: {to: a@example.com, subject: '{{ item }}', extra: {given: '{{ item }}'}}\n"
    )
    hostile = "{{ steps.scan.output }}"
    (row,) = due(text, {"scan": {"output": [hostile]}}).rows
    assert (row.parameters["subject"], row.parameters["extra"]) == (hostile, {"given": hostile})
    failure = due(text, {"scan": {"output": [{"$secret": "smtp"}]}})
    assert failure.reason is Reason.EXPRESSION


def test_no_items_may_mean_to_skip(due):
    text = ITEMS.replace("for_each", "on_empty: skip, for_each")
    assert due(text, {"scan": {"output": []}}) == Skip("for_each gives no items")


EMPTY = (
    "steps:\n- {tool: df, id: a, target: web-01}\n"
    "- {tool: df, on_empty: skip, targets: '{{ steps.a.failed_targets }}'}\n"
)


def test_no_targets_may_mean_to_skip(due):
    assert due(EMPTY, {"a": {"failed_targets": []}}) == Skip("the targets match no asset")
    failure = due(EMPTY.replace("skip", "fail"), {"a": {"failed_targets": []}})
    assert failure.reason is Reason.NO_TARGETS


def test_inputs_come_with_the_template(check, serve):
    text = (
        "inputs: {path: {type: path, default: /srv}, other: {type: string, default: x}}\n"
        "steps:\n- {tool: df, id: a}\n- tool: df\n  when: steps.a.ok\n"
        "  parameters: {path: '{{ inputs.path }}'}\n"
    )
    template = check(text).steps[1].template
    assert template["inputs"] == {"path": "/srv"}
    (step,) = serve(json.loads(json.dumps(template)), {"a": {"ok": True}})
    assert step.rows[0].parameters["path"] == "/srv"


def test_a_limit_holds_when_a_step_is_due(check, serve):
    text = json.dumps(
        {
            "plan": {
                "steps": [
                    {"tool": "df", "id": "a", "targets": "tags.role=web"},
                    {"tool": "df", "id": "b", "targets": "{{ steps.a.failed_targets }}"},
                ]
            },
            "limit": "web-02",
        }
    )
    template = check(text).steps[1].template
    (step,) = serve(template, {"a": {"failed_targets": ["web-01", "web-02"]}})
    assert [row.target.name for row in step.rows] == ["web-02"]
    skipped = serve(template, {"a": {"failed_targets": ["web-01"]}})
    assert skipped == Skip("the limit leaves none of its targets")


def test_a_step_that_was_skipped_at_submit_says_so(check, serve):
    text = "inputs: {n: {type: integer, default: 1}}\nsteps: [{tool: df, when: inputs.n > 1}]"
    (step,) = check(text).steps
    assert (step.skipped, step.dynamic) == ("when: inputs.n > 1 is false", True)
    assert serve(step.template) == Skip("when: inputs.n > 1 is false")
    assert name_references(step.template) == []


def test_a_due_step_tells_of_its_block(check, serve):
    text = (
        "steps: [{targets: tags.role=web, batch: 1, max_failures: 1, on_failure: continue, steps:"
        " [{tool: df, id: a}, {tool: df, id: b, when: steps.a.ok, run_as: web}]}]"
    )
    template = check(text).steps[3].template
    assert name_references(template) == ["a"]
    (step,) = serve(template, {"a": {"ok": True}})
    assert shown([step]) == [(0, "b", ["web-02"])]
    assert (step.block, step.max_failures, step.block_on_failure) == (1, 1, "continue")
    assert step.run_as == "web"


BLOCK = """
inputs: {path: {type: path, default: /srv}}
run_as: root
steps:
- {tool: df, id: disk, targets: tags.role=node}
- when: steps.disk.failed
  targets: "{{ steps.disk.failed_targets }}"
  batch: 50%
  max_failures: 1
  steps:
  - {tool: df, id: first, parameters: {path: "{{ inputs.path }}"}}
  - batch: 1
    steps:
    - {tool: systemctl, id: second, operation: restart, when: steps.first.ok,
       parameters: {unit: x}}
  - parallel:
    - {tool: df, id: third}
    - {tool: sendmail, id: fourth, parameters: {to: a@example.com, subject: done}}
"""


def failed(*names):
    return {"disk": {"failed": bool(names), "failed_targets": list(names)}}


def test_a_due_block_gives_all_its_batches(check, serve):
    template = check(BLOCK).steps[1].template
    assert name_references(template) == ["disk"]
    steps = serve(json.loads(json.dumps(template)), failed("node-1", "node-2", "node-3"))
    assert shown(steps) == [
        (0, "first", ["node-1", "node-2"]),
        (1, "second", "?"),
        (2, "second", "?"),
        (3, "third", ["node-1", "node-2"]),
        (3, "fourth", [None]),
        (4, "first", ["node-3"]),
        (5, "second", "?"),
        (6, "third", ["node-3"]),
        (6, "fourth", [None]),
    ]
    assert {(step.block, step.max_failures) for step in steps} == {(1, 1)}
    assert {step.position for step in steps} == {2, 3, 4, 5}
    assert steps[0].rows[0].parameters["path"] == "/srv"
    assert (steps[0].run_as, steps[4].run_as) == ("root", None)


def test_a_step_of_a_due_block_is_rendered_in_its_turn(check, serve):
    steps = serve(check(BLOCK).steps[1].template, failed("node-1", "node-2", "node-3"))
    second = [step.template for step in steps if step.key == "second"]
    assert [template["targets"]["names"] for template in second] == [
        ["node-1"],
        ["node-2"],
        ["node-3"],
    ]
    assert second[1]["inside"] == ["first"]
    (step,) = serve(second[1], {"first": {"ok": True}})
    assert shown([step]) == [(0, "second", ["node-2"])]
    assert (step.position, step.run_as, step.block, step.max_failures) == (3, "root", 1, 1)


def test_a_due_block_is_skipped_or_fails_as_a_whole(check, serve):
    template = check(BLOCK).steps[1].template
    assert serve(template, failed()) == Skip("when: steps.disk.failed is false")
    failure = serve(template, {"disk": {"failed": True, "failed_targets": []}})
    assert failure.reason is Reason.NO_TARGETS
    failure = serve(template, failed("nobody"))
    assert "nobody" in failure.message
    failure = serve(template, {"disk": {"failed": True, "failed_targets": ["tags.role=web"]}})
    assert failure.reason is Reason.EXPRESSION
    failure = serve(template, {"disk": {"failed": True}})
    assert failure.reason is Reason.EXPRESSION
    viewer = Principal(2, "vic", Role.VIEWER)
    assert serve(template, failed("node-1"), viewer).reason is Reason.REFUSED_BY_POLICY


def test_a_due_block_may_be_skipped_without_targets(check, serve):
    template = check(BLOCK.replace("batch: 50%", "on_empty: skip")).steps[1].template
    empty = {"disk": {"failed": True, "failed_targets": []}}
    assert serve(template, empty) == Skip("the targets match no asset")


def test_a_fault_in_a_step_of_a_due_block_is_told(check, serve):
    text = BLOCK.replace("operation: restart, when: steps.first.ok", "operation: stop")
    failure = serve(check(text).steps[1].template, failed("node-1"))
    assert failure.reason is Reason.REFUSED_BY_POLICY
    assert "named once more" in failure.message


def test_an_inner_block_divides_its_batch_when_it_is_due(check, serve):
    text = (
        "steps: [{targets: tags.role=node, batch: 4, steps: [{tool: df, id: a},"
        " {when: steps.a.ok, batch: 2, steps: [{tool: df, id: b}, {tool: df, id: c}]}]}]"
    )
    templates = [s.template for s in check(text).steps if "block" in (s.template or {})]
    assert [template["placeholders"] for template in templates] == [2, 2]
    assert shown(serve(templates[1], {"a": {"ok": True}})) == [
        (0, "b", ["node-5", "node-6"]),
        (1, "c", ["node-5", "node-6"]),
        (2, "b", ["node-7"]),
        (3, "c", ["node-7"]),
    ]


def test_a_block_within_a_due_block_may_be_due_again(check, serve):
    text = (
        "steps: [{tool: df, id: a}, {targets: '{{ steps.a.failed_targets }}', batch: 2, steps:"
        " [{tool: df, id: b}, {when: steps.b.ok, batch: 1, steps: [{tool: df, id: c}]}]}]"
    )
    outer = serve(check(text).steps[1].template, {"a": {"failed_targets": NODES[:3]}})
    assert shown(outer) == [
        (0, "b", NODES[:2]),
        (1, "c", "?"),
        (2, "b", NODES[2:3]),
        (3, "c", "?"),
    ]
    template = outer[1].template
    assert (template["batch"], template["inside"], name_references(template)) == (
        NODES[:2],
        ["b", "c"],
        ["b"],
    )
    inner = serve(template, {"b": {"ok": True}})
    assert shown(inner) == [(0, "c", ["node-1"]), (1, "c", ["node-2"])]
    assert {(step.block, step.position) for step in inner} == {(1, 3)}
