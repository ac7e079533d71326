import json

import pytest

from app.errors import PlanRejected
from tool_catalog.model import Effect


def faults_of(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    return caught.value.faults


def only_fault(check, text):
    (fault,) = faults_of(check, text)
    return fault


def each(items, **members):
    step = {"tool": "df", "target": "web-01", "parameters": {"path": "{{ item }}"}} | members
    return json.dumps({"steps": [step | {"for_each": items}]})


def test_a_literal_list_gives_a_row_for_each_item(check):
    (step,) = check(each(["/a", "/b"])).steps
    assert not step.dynamic
    assert [(row.item, row.parameters) for row in step.rows] == [
        ("/a", {"path": "/a"}),
        ("/b", {"path": "/b"}),
    ]


def test_items_and_targets_multiply(check):
    (step,) = check(each(["/a", "/b"], target="tags.role=web")).steps
    assert [(row.item, row.target.name) for row in step.rows] == [
        ("/a", "web-01"),
        ("/a", "web-02"),
        ("/b", "web-01"),
        ("/b", "web-02"),
    ]


def test_items_may_name_targets(check):
    text = each([{"host": "web-01"}, {"host": "db-01"}], target="{{ item.host }}", parameters={})
    assert [row.target.name for row in check(text).steps[0].rows] == ["web-01", "db-01"]


def test_an_operation_on_a_worker_has_a_row_for_each_item(check):
    step = {
        "tool": "sendmail",
        "for_each": ["a@example.com", "b@example.com"],
        "parameters": {"to": "{{ item }}", "subject": "x"},
    }
    (checked,) = check(json.dumps({"steps": [step]})).steps
    assert [row.parameters["to"] for row in checked.rows] == [["a@example.com"], ["b@example.com"]]


def test_items_of_an_input_are_known_at_submit(check):
    text = (
        "inputs: {paths: {type: list, of: path, default: [/a, /b]}}\n"
        "steps: [{tool: df, for_each: '{{ inputs.paths }}', parameters: {path: '{{ item }}'}}]"
    )
    (step,) = check(text).steps
    assert [row.item for row in step.rows] == ["/a", "/b"]


def test_the_worst_item_gives_the_effect(check):
    step = {
        "tool": "chmod",
        "target": "web-01",
        "for_each": ["0644", "4755"],
        "parameters": {"path": "/x", "mode": "{{ item }}"},
        "confirm": "web-01",
    }
    (checked,) = check(json.dumps({"steps": [step]})).steps
    assert checked.effect is Effect.DESTROY
    assert only_fault(check, json.dumps({"steps": [step | {"confirm": None}]})).code == (
        "missing_confirm"
    )


@pytest.mark.parametrize("confirm", ["{{ item }}", ["web-01", "web-02"]])
def test_items_are_confirmed_one_by_one_or_together(check, confirm):
    step = {
        "tool": "systemctl",
        "operation": "stop",
        "for_each": ["web-01", "web-02"],
        "target": "{{ item }}",
        "parameters": {"unit": "x"},
    }
    (checked,) = check(json.dumps({"steps": [step | {"confirm": confirm}]})).steps
    assert len(checked.rows) == 2
    fault = only_fault(check, json.dumps({"steps": [step | {"confirm": "web-01"}]}))
    assert (fault.code, fault.allowed) == ("not_confirmed", "[web-01, web-02]")


def test_a_run_time_by_item_widens_the_time_limit(check):
    step = {
        "tool": "tcpdump",
        "for_each": [10, 600],
        "parameters": {"interface": "eth0", "duration_s": "{{ item }}"},
    }
    (checked,) = check(json.dumps({"steps": [step]})).steps
    assert checked.timeout_s == 630
    assert checked.needs["interface"] == "eth0"


@pytest.mark.parametrize(
    ("text", "code", "path", "step"),
    [
        (each(["/a", 7, 8]), "wrong_type", "steps[0].parameters.path", "1 (df), item 2"),
        (each([]), "no_targets", "steps[0].for_each", "1 (df)"),
        (each("{{ 7 }}"), "expression", "steps[0].for_each", "1 (df)"),
        (each("{{ {'a': 1} }}"), "expression", "steps[0].for_each", "1 (df)"),
        (each("{{ range(1001) | list }}"), "too_many", "steps[0].for_each", "1 (df)"),
        (each(["/a"] * 1001), "too_many", "steps[0].for_each", "1 (df)"),
        (each(["/a"] * 501, target="tags.role=web"), "too_many", "steps[0].for_each", "1 (df)"),
        (each([{"a": 1}], parameters={"path": "{{ item.b }}"}), "expression",
         "steps[0].parameters", "1 (df), item 1"),
        (each(["gone"], target="{{ item }}", parameters={}), "unknown_asset", "steps[0].targets",
         "1 (df), item 1"),
        (each([{"x": 1}], target="{{ item }}", parameters={}), "expression", "steps[0].targets",
         "1 (df), item 1"),
        (each([{"$secret": "smtp"}], tool="sendmail", target=None,
              parameters={"to": "a@example.com", "subject": "x", "password": "{{ item }}"}),
         "expression", "steps[0].parameters", "1 (sendmail), item 1"),
    ],
)  # fmt: skip
def test_bad_items_are_one_clear_fault(check, text, code, path, step):
    fault = only_fault(check, text)
    assert (fault.code, fault.path, fault.step) == (code, path, step)


def test_no_items_may_mean_to_skip(check):
    (step,) = check(each([], on_empty="skip")).steps
    assert step.skipped == "for_each gives no items"
    assert len(step.rows) == 1


def test_a_thousand_items_are_checked(check):
    (step,) = check(each([f"/{number}" for number in range(1000)])).steps
    assert len(step.rows) == 1000
