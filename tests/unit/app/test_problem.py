import json

import pytest

from app import errors
from app.errors import Fault, Malformed, PlanRejected, Unavailable, UserError
from app.problem import read_problem, show_problem

FAULT = Fault(
    path="steps[2].parameters.dpeth",
    code="unknown_parameter",
    message="no parameter 'dpeth'",
    step="3 (df)",
    hint="did you mean 'depth'?",
    line=7,
    column=5,
)


def make(kind):
    return kind([FAULT]) if kind is PlanRejected else kind("what is wrong")


def kinds():
    found, open_kinds = [], [UserError]
    while open_kinds:
        kind = open_kinds.pop()
        found.append(kind)
        open_kinds += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", kinds())
def test_every_error_comes_back_as_itself(kind):
    problem = json.loads(json.dumps(show_problem(make(kind))))
    assert type(read_problem(problem)) is kind
    assert problem["status"] == kind.status


def test_faults_travel_whole():
    back = read_problem(json.loads(json.dumps(show_problem(PlanRejected([FAULT])))))
    assert back.faults == (FAULT,)
    assert read_problem(show_problem(Malformed("x", faults=[FAULT]))).faults == (FAULT,)


def test_the_stored_version_that_a_refusal_is_about_travels():
    error = PlanRejected([FAULT], "nightly@3")
    assert str(error) == "the plan nightly@3 has 1 fault"
    assert read_problem(json.loads(json.dumps(show_problem(error)))).plan == "nightly@3"
    assert "plan" not in show_problem(PlanRejected([FAULT]))


def test_hints_travel():
    problem = show_problem(errors.NotFound("no tool", hint="look at the list"))
    assert read_problem(problem).hint == "look at the list"


def test_unavailable_is_no_users_error():
    back = read_problem(show_problem(Unavailable("the ledger cannot be reached")))
    assert type(back) is Unavailable


def test_a_newer_farm_may_say_more():
    problem = show_problem(PlanRejected([FAULT]))
    problem["faults"][0]["severity"] = "new member"
    assert read_problem(problem).faults == (FAULT,)
    unknown = {"type": "urn:opsfarm:problem:new", "status": 418, "detail": "tea"}
    assert str(read_problem(unknown)) == "tea"
