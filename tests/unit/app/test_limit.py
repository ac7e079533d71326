import json

import pytest

from app.errors import PlanRejected

DF = {"tool": "df", "targets": "tags.role=web"}


def text_of(limit, *steps):
    return json.dumps({"plan": {"steps": list(steps)}, "limit": limit})


def only_fault(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


def names(step):
    return [row.target.name if row.target else None for row in step.rows]


def test_no_step_acts_outside_of_the_limit(check):
    mail = {"tool": "sendmail", "parameters": {"to": "a@example.com", "subject": "x"}}
    local = {"tool": "df", "id": "own", "target": "local"}
    plan = check(text_of("web-02,db-01", DF, mail, local))
    assert [names(step) for step in plan.steps] == [["web-02"], [None], ["local"]]


def test_a_step_without_a_target_left_is_skipped(check):
    other = {"tool": "df", "id": "other", "target": "db-01"}
    plan = check(text_of("web-02", DF, other))
    assert plan.steps[1].skipped == "the limit leaves none of its targets"
    assert "step 2 (df) is skipped: the limit leaves none of its targets" in plan.warnings


def test_a_block_is_batched_within_the_limit(check):
    block = {"targets": "tags.role=node", "batch": 2, "steps": [{"tool": "df"}]}
    plan = check(text_of("node-2;node-4;node-6", block))
    assert [names(step) for step in plan.steps] == [["node-2", "node-4"], ["node-6"]]


def test_a_confirmation_may_name_what_the_limit_leaves_out(check):
    stop = {
        "tool": "systemctl",
        "operation": "stop",
        "parameters": {"unit": "x"},
        "targets": ["web-01", "web-02"],
        "confirm": ["web-01", "web-02"],
    }
    assert names(check(text_of("web-01", stop)).steps[0]) == ["web-01"]
    fault = only_fault(check, text_of("web-01", stop | {"confirm": "web-02"}))
    assert fault.code == "not_confirmed"


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("db-01", "no_targets"),
        ("nobody", "unknown_asset"),
        ("enviroment=x", "bad_selector"),
        ("tags.role=none", "no_targets"),
        ("local", "no_targets"),
    ],
)
def test_a_limit_that_leaves_nothing_is_refused(check, limit, code):
    fault = only_fault(check, text_of(limit, DF))
    assert (fault.code, fault.path, fault.line) == (code, "limit", 1)


@pytest.mark.parametrize(
    "other",
    [
        {"tool": "df", "id": "b"},
        {"tool": "df", "id": "b", "target": "db-01"},
        {"tool": "df", "id": "b", "targets": "{{ steps.df.failed_targets }}"},
        {"targets": "{{ steps.df.failed_targets }}", "steps": [{"tool": "df", "id": "b"}]},
    ],
)
def test_a_step_that_may_still_act_is_enough(check, other):
    first, *_ = check(text_of("db-01", DF, other)).steps
    assert first.skipped == "the limit leaves none of its targets"


def test_mail_alone_is_not_enough(check):
    told = {"to": "a@example.com", "subject": "{{ steps.df.summary }}"}
    mail = {"tool": "sendmail", "parameters": told}
    assert only_fault(check, text_of("db-01", DF, mail)).path == "limit"
    block = {"targets": "tags.role=web", "steps": [DF | {"targets": None}]}
    assert only_fault(check, text_of("db-01", block, mail)).path == "limit"


def test_a_limit_of_local_is_content_with_what_needs_no_asset(check):
    mail = {"tool": "sendmail", "parameters": {"to": "a@example.com", "subject": "x"}}
    first, second = check(text_of("local", DF, mail)).steps
    assert (first.skipped is None, second.skipped) == (False, None)
