import json

import pytest

from app.errors import PlanRejected
from app.plan_reader import read_request
from app.validate import validate

HOSTILE = "{{ steps.df.summary }} {% for x in y %}"

DEEP = {"tool": "df", "parameters": {"depth": "{{ inputs.n }}"}}


def text_of(inputs, given, *steps):
    return json.dumps({"plan": {"inputs": inputs, "steps": list(steps)}, "inputs": given})


def mail(**parameters):
    return {
        "tool": "sendmail",
        "parameters": {"to": "a@example.com", "subject": "x"} | parameters,
    }


def only_fault(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


def test_what_an_input_holds_is_never_read_as_a_template(check):
    text = text_of({"a": {"type": "text"}}, {"a": HOSTILE}, mail(body="{{ inputs.a }}"))
    (step,) = check(text).steps
    assert not step.dynamic
    assert step.rows[0].parameters["body"] == HOSTILE


def test_nor_is_it_when_the_step_waits_for_others(check, serve):
    text = text_of(
        {"a": {"type": "text"}},
        {"a": HOSTILE},
        {"tool": "df"},
        mail(body="{{ inputs.a }}", subject="{{ steps.df.summary }}"),
    )
    template = check(text).steps[1].template
    (step,) = serve(template, {"df": {"summary": "fine"}})
    assert step.rows[0].parameters["body"] == HOSTILE


@pytest.mark.parametrize("value", [HOSTILE, "web-01,db-01", "tags.role=web"])
def test_an_input_names_targets_and_selects_none(check, value):
    step = {"tool": "df", "targets": "{{ inputs.a }}"}
    with pytest.raises(PlanRejected):
        check(text_of({"a": {"type": "text"}}, {"a": value}, step))
    assert check(text_of({"a": {"type": "text"}}, {"a": "web-01"}, step)).steps[0].rows


def test_a_secret_goes_where_the_plan_puts_an_input(check):
    inputs = {"login": {"type": "secret", "required": True}}
    step = mail(password="{{ inputs.login }}")
    (checked,) = check(text_of(inputs, {"login": {"$secret": "smtp"}}, step)).steps
    assert checked.rows[0].parameters["password"] == {"$secret": "smtp"}
    assert checked.secrets == ("smtp",)
    fault = only_fault(check, text_of(inputs, {"login": {"$secret": "smpt"}}, step))
    assert (fault.code, fault.path) == ("unknown_secret", "steps[0].parameters.password")


def test_an_input_cannot_carry_a_secret_anywhere_else(check):
    inputs = {"a": {"type": "object"}}
    text = text_of(inputs, {"a": {"b": {"$secret": "smtp"}}}, mail(extra="{{ inputs.a.b }}"))
    assert only_fault(check, text).code == "expression"


def test_an_input_without_a_value_is_as_if_not_given(check):
    text = text_of({"n": {"type": "integer"}}, {}, DEEP)
    assert check(text).steps[0].rows[0].parameters == {}


def test_a_bad_value_of_an_input_is_told_where_it_is_used(check):
    text = text_of({"n": {"type": "integer"}}, {"n": 99}, DEEP)
    fault = only_fault(check, text)
    assert (fault.code, fault.path, fault.given) == (
        "out_of_range",
        "steps[0].parameters.depth",
        "99",
    )


def test_a_plan_that_is_only_kept_is_checked_around_its_open_inputs(catalog, farm, rules):
    from_text = json.dumps(
        {
            "inputs": {"n": {"type": "integer", "required": True}},
            "steps": [{"tool": "df", "parameters": {"depth": "{{ inputs.n }}", "pth": "/x"}}],
        }
    )
    plan = read_request(from_text.encode()).plan
    with pytest.raises(PlanRejected) as caught:
        validate(plan, catalog, farm, rules, unfilled=True)
    assert [fault.code for fault in caught.value.faults] == ["unknown_parameter"]
    good = read_request(from_text.replace(', "pth": "/x"', "").encode()).plan
    assert validate(good, catalog, farm, rules, unfilled=True).steps[0].dynamic
    with pytest.raises(PlanRejected) as caught:
        validate(good, catalog, farm, rules)
    assert [fault.code for fault in caught.value.faults] == ["missing_input"]
