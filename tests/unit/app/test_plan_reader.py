import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.block_reader import BLOCK_KEYS
from app.errors import Malformed, PlanRejected
from app.plan_reader import PLAN_KEYS, fill_plan, read_plan, read_request
from app.step_reader import STEP_KEYS

DF = {"tool": "df"}


def read(value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return read_request(body)


def faults_of(value):
    with pytest.raises(PlanRejected) as caught:
        read(value)
    return caught.value.faults


@pytest.mark.parametrize(
    "body",
    [
        {"steps": [{"tool": "sendmail", "parameters": {"to": "admin@example.com"}}]},
        {"steps": [{"tool": "slack_cli", "parameters": {"channel": "#deployments"}}]},
    ],
)
def test_the_bare_form_is_read_as_it_stands(body):
    request = read(body)
    assert request.key is None
    assert request.plan.document == body
    assert request.plan.steps[0].parameters == body["steps"][0]["parameters"]


def test_the_envelope_carries_the_callers_key():
    request = read({"execution_id": "deploy-7", "plan": {"steps": [DF]}})
    assert (request.key, request.plan.steps[0].tool) == ("deploy-7", "df")
    assert request.plan.document == {"steps": [DF]}


def test_every_key_of_a_step_is_read():
    text = b"""
name: nightly
targets: {tags: {role: web}}
steps:
- tool: df
  operation: usage
  id: disk
  parameters: {path: /var, mode: 0644}
  target: web-01
  when: execution.state == 'running'
  on_failure: continue
  timeout_s: 60
  queue_timeout_s: 90
  retries: {max: 2, backoff_s: 0.5}
  vantage: cap-1
  confirm: [web-01]
finally:
- tool: df
  when: false
  retries: 3
"""
    plan = read(text).plan
    step, last = plan.steps[0], plan.finally_steps[0]
    assert (plan.name, plan.targets) == ("nightly", {"tags": {"role": "web"}})
    assert (step.tool, step.operation, step.id) == ("df", "usage", "disk")
    assert (step.targets, step.when) == ("web-01", "execution.state == 'running'")
    assert step.parameters == {"path": "/var", "mode": "0644"}
    assert (step.on_failure, step.timeout_s, step.queue_timeout_s) == ("continue", 60, 90)
    assert (step.retries, step.backoff_s, step.vantage) == (2, 0.5, "cap-1")
    assert step.confirm == ["web-01"]
    assert (last.when, last.retries, last.backoff_s) == ("false", 3, 5)
    assert plan.document["steps"][0]["targets"] == "web-01"
    assert plan.places["steps[0].parameters.path"] == (8, 16)


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        (b"steps: [{tool: df", 2, "expected"),
        (b"steps:\n- &a {tool: df}\n- *a\n", 2, "alias"),
        (b"steps:\n- tool: df\n  tool: df\n", 3, "twice"),
        (b'{"steps": [{"tool": "df",\n "tool": "df"}]}', 2, "twice"),
        (b'{"steps": [{"tool": "df", "timeout_s": NaN}]}', 1, "NaN"),
        (b"steps: [{tool: df, timeout_s: .inf}]", 1, ".inf"),
        (b"steps: !!python/object:os.system x", 1, "tag"),
        (b"", 1, "empty"),
        (b"\xff\xfe", 1, "UTF-8"),
        (b"steps: [{tool: df}]\n---\nsteps: []\n", 2, "second"),
        (b"steps: [{tool: df, parameters: {a: " + b"[" * 30 + b"]" * 30 + b"}}]", 1, "deeper"),
    ],
    ids=[
        "no yaml",
        "alias",
        "duplicate key",
        "duplicate JSON key",
        "NaN",
        "infinity",
        "tag",
        "empty",
        "not UTF-8",
        "two documents",
        "too deep",
    ],
)
def test_a_text_that_cannot_be_read_names_its_place(body, line, words):
    with pytest.raises(Malformed) as caught:
        read(body)
    (fault,) = caught.value.faults
    assert fault.line == line
    assert fault.column
    assert words in fault.message


def test_a_body_beyond_the_limit_is_not_read():
    with pytest.raises(Malformed, match="262,144") as caught:
        read(b'{"steps": "' + b"x" * 262_144 + b'"}')
    assert caught.value.faults[0].code == "too_large"


@pytest.mark.parametrize(
    ("body", "code", "path", "part"),
    [
        ([DF], "wrong_type", "", "steps"),
        ({}, "missing", "steps", "tool"),
        ({"steps": []}, "missing", "steps", "tool"),
        ({"steps": {"tool": "df"}}, "wrong_type", "steps", "list"),
        ({"steps": ["df"]}, "wrong_type", "steps[0]", "tool"),
        ({"steps": [{}]}, "missing", "steps[0].tool", "tools list"),
        ({"steps": [{"tool": 7}]}, "wrong_type", "steps[0].tool", "7"),
        ({"steps": [{"tool": "d\nf"}]}, "wrong_type", "steps[0].tool", "\\n"),
        ({"stepz": [DF], "steps": [DF]}, "unknown_key", "stepz", "'steps'"),
        ({"steps": [{**DF, "paramters": {}}]}, "unknown_key", "steps[0].paramters", "'parameters'"),
        ({"steps": [{**DF, "parameters": []}]}, "wrong_type", "steps[0].parameters", "mapping"),
        ({"steps": [{**DF, "for_each": "x"}]}, "wrong_type", "steps[0].for_each", "expression"),
        ({"steps": [{**DF, "for_each": 3}]}, "wrong_type", "steps[0].for_each", "list"),
        ({"steps": [{**DF, "batch": 1}]}, "misplaced_key", "steps[0].batch", "block"),
        ({"steps": [{**DF, "item": 1}]}, "misplaced_key", "steps[0].item", "for_each"),
        ({"steps": [{**DF, "run_as": "-x"}]}, "bad_format", "steps[0].run_as", "letter"),
        ({"steps": [{**DF, "run_as": 7}]}, "bad_format", "steps[0].run_as", "letter"),
        ({"steps": [{**DF, "max_parallel": 0}]}, "out_of_range", "steps[0].max_parallel", "1,000"),
        ({"steps": [{**DF, "max_parallel": 1.5}]}, "wrong_type", "steps[0].max_parallel", "whole"),
        ({"steps": [{**DF, "max_parallel": True}]}, "wrong_type", "steps[0].max_parallel", "whole"),
        ({"steps": [{**DF, "max_failures": -1}]}, "out_of_range", "steps[0].max_failures", "-1"),
        ({"steps": [{**DF, "on_empty": "no"}]}, "not_allowed", "steps[0].on_empty", "skip"),
        ({"on_empty": [], "steps": [DF]}, "not_allowed", "on_empty", "skip"),
        ({"max_parallel": "2", "steps": [DF]}, "wrong_type", "max_parallel", "whole"),
        ({"run_as": "a b", "steps": [DF]}, "bad_format", "run_as", "a b"),
        ({"limit": "web-01", "steps": [DF]}, "misplaced_key", "limit", "beside the plan"),
        ({"on_failure": "undo", "steps": [DF]}, "misplaced_key", "on_failure", "step or a block"),
        ({"given": {}, "steps": [DF]}, "unknown_key", "given", "given"),
        ({"inputs": [], "steps": [DF]}, "wrong_type", "inputs", "mapping"),
        ({"plan": {"steps": [DF]}, "inputs": []}, "wrong_type", "inputs", "mapping"),
        ({"plan": {"steps": [DF]}, "limit": 7}, "wrong_type", "limit", "text"),
        ({"plan": "No Name"}, "bad_format", "plan", "NAME@VERSION"),
        ({"plan": "nightly@0"}, "bad_format", "plan", "nightly@0"),
        (
            {"steps": [DF], "finally": [{**DF, "on_failure": "undo"}]},
            "not_allowed",
            "finally[0].on_failure",
            "stop, continue",
        ),
        ({"steps": [{**DF, "on_failure": "go"}]}, "not_allowed", "steps[0].on_failure", "continue"),
        ({"steps": [{**DF, "timeout_s": 90_000}]}, "out_of_range", "steps[0].timeout_s", "86400"),
        ({"steps": [{**DF, "timeout_s": "1m"}]}, "wrong_type", "steps[0].timeout_s", "1m"),
        ({"steps": [{**DF, "timeout_s": True}]}, "wrong_type", "steps[0].timeout_s", "true"),
        ({"steps": [{**DF, "retries": 11}]}, "out_of_range", "steps[0].retries", "10"),
        ({"steps": [{**DF, "retries": {"max": 1.5}}]}, "wrong_type", "steps[0].retries.max", "1.5"),
        ({"steps": [{**DF, "retries": {"mx": 1}}]}, "unknown_key", "steps[0].retries.mx", "'max'"),
        ({"steps": [{**DF, "when": ["x"]}]}, "wrong_type", "steps[0].when", "bare"),
        (
            {"steps": [{**DF, "target": "a", "targets": "b"}]},
            "given_twice",
            "steps[0].target",
            "one",
        ),
        (
            {"steps": [{**DF, "parameters": {"a": ["x\0"]}}]},
            "bad_format",
            "steps[0].parameters.a[0]",
            "NUL",
        ),
        (
            {"steps": [{**DF, "parameters": {"a": "x" * 70_000}}]},
            "too_large",
            "steps[0].parameters.a",
            "artifact",
        ),
        ({"steps": [{**DF, "when": "x" * 9000}]}, "too_large", "steps[0].when", "8,192"),
        ({"steps": [DF], "finally": "df"}, "wrong_type", "finally", "list"),
        ({"execution_id": "a"}, "missing", "plan", "steps"),
        ({"execution_id": "", "plan": {"steps": [DF]}}, "bad_format", "execution_id", "200"),
        ({"execution_id": {}, "plan": {"steps": [DF]}}, "bad_format", "execution_id", "{}"),
        ({"execution_id": "a" * 201, "plan": {"steps": [DF]}}, "bad_format", "execution_id", "200"),
        ({"execution_id": "a", "plan": {"steps": ["df"]}}, "wrong_type", "steps[0]", "tool"),
        ({"plan": {"steps": [DF]}, "steps": [DF]}, "unknown_key", "steps", "plan"),
        ({"steps": [DF] * 1001}, "too_many", "steps", "1,000"),
        ({"steps": [DF] * 600, "finally": [DF] * 401}, "too_many", "steps", "1,001"),
    ],
)
def test_bad_form_is_one_clear_fault(body, code, path, part):
    (fault,) = faults_of(body)
    assert (fault.code, fault.path) == (code, path)
    assert fault.line == 1
    said = " ".join(str(value) for value in fault.as_json().values())
    assert part in said


def test_every_fault_of_the_form_comes_at_once():
    faults = faults_of(b"stepz: 1\nsteps:\n- tool: 7\n- {tool: df, whne: x}\nfinally: 3\n")
    assert [(fault.path, fault.line) for fault in faults] == [
        ("stepz", 1),
        ("steps[0].tool", 3),
        ("steps[1].whne", 4),
        ("finally", 5),
    ]
    assert faults[2].step == "2 (df)"


def test_faults_inside_an_envelope_keep_their_place():
    body = b"execution_id: x\nplan:\n  steps:\n  - tool: df\n    whne: x\n"
    (fault,) = faults_of(body)
    assert (fault.path, fault.line, fault.column) == ("steps[0].whne", 5, 5)


def test_a_thousand_steps_are_read():
    assert len(read({"steps": [DF] * 1000}).plan.steps) == 1000


def test_a_kept_document_reads_back_the_same():
    plan = read(b"steps: [{tool: df, target: web-01, retries: 2}]").plan
    again = read_plan(json.loads(json.dumps(plan.document)))
    assert (again.steps, again.document) == (plan.steps, plan.document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*PLAN_KEYS, *STEP_KEYS, *BLOCK_KEYS, "plan", "parallel", "$secret", "type", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_a_plan_or_a_clear_refusal(value):
    try:
        found = read(value).plan.steps
    except (PlanRejected, Malformed) as refused:
        found = refused.faults
    assert found


@given(st.binary(max_size=60))
def test_any_bytes_are_a_plan_or_a_clear_refusal(body):
    with pytest.raises((PlanRejected, Malformed)) as refused:
        read(body)
    assert refused.value.faults


def test_a_stored_plan_is_asked_for_by_its_name():
    request = read({"plan": "nightly@3", "inputs": {"a": 1, "b": None}, "limit": "web-01"})
    assert (request.plan, request.stored) == (None, "nightly@3")
    assert (request.inputs, request.limit) == ({"a": 1}, "web-01")


def test_what_stands_beside_a_plan_is_kept_with_it():
    request = read({"plan": {"steps": [DF]}, "inputs": {"a": 1}, "limit": "web-01"})
    plan = request.plan
    assert (plan.given, plan.limit) == ({"a": 1}, "web-01")
    assert plan.document == {"steps": [DF], "given": {"a": 1}, "limit": "web-01"}
    again = read_plan(json.loads(json.dumps(plan.document)))
    assert (again.given, again.limit, again.document) == (plan.given, plan.limit, plan.document)


def test_a_stored_plan_takes_what_its_request_gives():
    stored = read(b"name: nightly\nsteps: [{tool: df}]\n").plan
    request = read(b"plan: nightly\ninputs:\n  a: 1\nlimit: web-01\n")
    plan = fill_plan(stored, request, stored=("nightly", 3))
    assert (plan.given, plan.limit, plan.stored) == ({"a": 1}, "web-01", ("nightly", 3))
    assert plan.places["inputs.a"] == (3, 3)
    assert plan.places["steps[0].tool"] == (2, 10)


def test_every_key_of_a_plan_is_read():
    text = b"""
name: roll
inputs: {path: {type: path, default: /var}}
run_as: root
max_parallel: 5
max_failures: 2
on_empty: skip
steps:
- {tool: df, for_each: [1, 2], run_as: web, max_parallel: 1, max_failures: 0, on_empty: fail}
"""
    plan = read(text).plan
    assert plan.inputs["path"].default == "/var"
    assert (plan.run_as, plan.max_parallel, plan.max_failures) == ("root", 5, 2)
    assert plan.on_empty == "skip"
    (step,) = plan.steps
    assert (step.for_each, step.run_as) == ([1, 2], "web")
    assert (step.max_parallel, step.max_failures, step.on_empty) == (1, 0, "fail")
    assert read_plan(json.loads(json.dumps(plan.document))).steps == plan.steps
