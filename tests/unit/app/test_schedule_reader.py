import json
from datetime import UTC, datetime

import pytest

from app.errors import Fault, Malformed, PlanRejected
from app.plan_name import PlanName
from app.schedule_reader import join_faults, read_schedule

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = {"steps": [{"tool": "df"}]}


def read(**members):
    given = {"name": "nightly", "plan": PLAN, "cron": "30 2 * * *"} | members
    return read_schedule(json.dumps(given).encode(), NOW)


def refuse(**members):
    with pytest.raises(PlanRejected) as caught:
        read(**members)
    return caught.value.faults


def test_a_request_reads_with_its_defaults():
    new = read()
    assert new.faults == ()
    assert new.plan.steps[0].tool == "df"
    request = new.request
    assert (request.overlap, request.catch_up, request.grace_s) == ("skip", "none", 3600)
    assert request.timing.timezone == "UTC"


def test_yaml_is_read_too():
    new = read_schedule(b"name: a\ninterval_s: 60\nplan: {steps: [{tool: df}]}\n", NOW)
    assert new.request.interval_s == 60
    assert new.plan.steps[0].tool == "df"


@pytest.mark.parametrize(
    ("members", "path", "code"),
    [
        ({"name": "no spaces"}, "name", "bad_format"),
        ({"name": "-first"}, "name", "bad_format"),
        ({"overlap": "always"}, "overlap", "not_allowed"),
        ({"catch_up": "all"}, "catch_up", "not_allowed"),
        ({"grace_s": -1}, "grace_s", "out_of_range"),
        ({"grace_s": 1e9}, "grace_s", "out_of_range"),
        ({"interval_s": "60"}, "interval_s", "wrong_type"),
        ({"cron": 5}, "cron", "wrong_type"),
        ({"plan": [1]}, "plan", "wrong_type"),
        ({"inputs": [1]}, "inputs", "wrong_type"),
        ({"limit": 3}, "limit", "wrong_type"),
        ({"limit": "x" * 9000}, "limit", "too_large"),
    ],
)
def test_a_wrong_member_is_named(members, path, code):
    assert (path, code) in {(fault.path, fault.code) for fault in refuse(**members)}


def test_every_wrong_member_is_named_at_once():
    assert {fault.path for fault in refuse(name="", overlap="x", grace_s=-1)} == {
        "name",
        "overlap",
        "grace_s",
    }


def test_an_unknown_key_is_answered_with_the_nearest():
    (fault,) = refuse(time_zone="UTC")
    assert (fault.path, fault.code) == ("time_zone", "unknown_key")
    assert "did you mean 'timezone'?" in fault.message


def test_a_missing_plan_is_named_without_showing_the_rest():
    with pytest.raises(PlanRejected) as caught:
        read_schedule(b'{"name": "a", "cron": "* * * * *"}', NOW)
    (fault,) = caught.value.faults
    assert (fault.path, fault.code, fault.given) == ("plan", "missing_parameter", None)


def test_faults_of_timing_and_plan_come_together_and_lines_are_those_of_the_plan():
    new = read(cron="61 * * * *", plan="steps:\n  - tool: df\n    parametres: {}\n")
    timing, plan = new.faults
    assert (timing.path, timing.line) == ("cron", None)
    assert plan.path == "plan.steps[0].parametres"
    assert (plan.line, plan.step) == (3, "1 (df)")
    assert new.plan is None


def test_a_plan_given_as_a_mapping_has_no_lines():
    (fault,) = read(plan={"steps": [{"tool": "df", "parametres": {}}]}).faults
    assert (fault.path, fault.line) == ("plan.steps[0].parametres", None)


def test_an_envelope_is_no_plan():
    faults = read(plan=json.dumps({"execution_id": "x", "plan": PLAN})).faults
    assert {fault.path for fault in faults} >= {"plan.execution_id", "plan.plan"}


def test_a_stored_plan_is_named_with_what_it_is_run_with():
    new = read(plan="health@3", inputs={"path": "/var", "none": None}, limit="web-01")
    assert (new.faults, new.plan, new.stored) == ((), None, PlanName("health", 3))
    assert (new.beside.inputs, new.beside.limit) == ({"path": "/var"}, "web-01")
    assert read(plan="health").stored == PlanName("health")


def test_a_plan_that_is_brought_is_run_with_it_too():
    plan = read(inputs={"path": "/var"}, limit="web-01").plan
    assert (plan.given, plan.limit) == ({"path": "/var"}, "web-01")
    assert plan.document["given"] == {"path": "/var"}
    assert plan.document["limit"] == "web-01"


@pytest.mark.parametrize("plan", ["Health", "health@0", "", "./health"])
def test_what_can_be_no_stored_plan(plan):
    (fault,) = read(plan=plan).faults
    assert (fault.path, fault.code) == ("plan", "bad_format")
    assert "NAME@VERSION" in fault.allowed


def test_a_plan_that_is_brought_needs_a_name_to_be_stored_under():
    (fault,) = read(name="Nightly.1").faults
    assert (fault.path, fault.code, fault.given) == ("name", "bad_format", "Nightly.1")
    assert "opsfarm plans save" in fault.hint
    assert read(name="Nightly.1", plan="health").faults == ()


def test_what_a_check_found_joins_the_timings_faults():
    found = PlanRejected([Fault("steps[0].tool", "unknown_tool", "no")], "health@3")
    error = join_faults(read(cron="61 * * * *"), found)
    assert [fault.path for fault in error.faults] == ["cron", "plan.steps[0].tool"]
    assert error.plan == "health@3"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"name": "a", "name": "b"}', b'{"interval_s": NaN}', b"\xff", b""]
)
def test_what_cannot_be_read_is_malformed(body):
    with pytest.raises(Malformed):
        read_schedule(body, NOW)
