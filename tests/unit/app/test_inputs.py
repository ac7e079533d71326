import json
import time

import pytest

from app.errors import PlanRejected
from app.faults import Faults
from app.inputs import check_given, fill_references
from app.plan_reader import fill_plan, read_plan, read_request

DF = {"tool": "df"}


def plan_of(inputs, given=None):
    return fill_plan(
        read_plan({"inputs": inputs, "steps": [DF]}),
        read_request(json.dumps({"plan": "x", "inputs": given or {}}).encode()),
    )


def values_of(inputs, given=None, **options):
    faults = Faults()
    values = check_given(plan_of(inputs, given), faults, **options)
    return values, faults.found


def only_fault(inputs):
    with pytest.raises(PlanRejected) as caught:
        read_plan({"inputs": inputs, "steps": [DF]})
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("definition", "given", "value"),
    [
        ({"type": "string", "default": "x"}, {}, "x"),
        ({"type": "string", "default": "x"}, {"a": "y"}, "y"),
        ({"type": "string"}, {}, None),
        ({"type": "integer", "min": 1, "max": 9}, {"a": "3"}, 3),
        ({"type": "duration"}, {"a": "5m"}, 300.0),
        ({"type": "choice", "choices": ["a", "b"]}, {"a": "b"}, "b"),
        ({"type": "list", "of": "ip"}, {"a": ["192.0.2.1"]}, ["192.0.2.1"]),
        ({"type": "string", "pattern": "v[0-9]+"}, {"a": "v12"}, "v12"),
        ({"type": "list", "of": "string", "pattern": "v[0-9]+"}, {"a": ["v1", "v2"]}, ["v1", "v2"]),
        ({"type": "boolean", "default": False}, {"a": "true"}, True),
        ({"type": "secret", "default": {"$secret": "smtp"}}, {}, {"$secret": "smtp"}),
        ({"type": "asset"}, {"a": "web-01"}, "web-01"),
    ],
)
def test_values_are_those_of_the_catalogues_types(definition, given, value):
    assert values_of({"a": definition}, given) == ({"a": value}, [])


@pytest.mark.parametrize(
    ("definition", "given", "code", "path", "part"),
    [
        ({"type": "integer", "max": 5}, {"a": 9}, "out_of_range", "inputs.a", "at most 5"),
        ({"type": "integer"}, {"a": "x"}, "wrong_type", "inputs.a", "whole number"),
        ({"type": "choice", "choices": ["on", "off"]}, {"a": "onn"}, "not_allowed", "inputs.a",
         "did you mean 'on'?"),
        ({"type": "string", "pattern": "v[0-9]+"}, {"a": "x"}, "bad_format", "inputs.a", "v[0-9]+"),
        ({"type": "list", "of": "ip"}, {"a": ["192.0.2.1", "x"]}, "bad_format", "inputs.a[1]",
         "list of ip"),
        ({"type": "string", "required": True, "example": "x"}, {}, "missing_input", "inputs.a",
         "--set a=x"),
        ({"type": "string"}, {"aa": "x"}, "unknown_input", "inputs.aa", "did you mean 'a'?"),
        ({"type": "secret"}, {"a": "hunter2"}, "wrong_type", "inputs.a", "{$secret: name}"),
        ({"type": "text"}, {"a": "x" * 65_530}, "too_large", "inputs", "65,536"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_clear_fault(definition, given, code, path, part):
    _, (fault,) = values_of({"a": definition}, given)
    assert (fault.code, fault.path) == (code, path)
    assert part in " ".join(str(value) for value in fault.as_json().values())
    assert "hunter2" not in str(fault)


def test_a_plan_without_inputs_takes_none():
    _, (fault,) = values_of({}, {"a": 1})
    assert (fault.code, fault.allowed) == ("unknown_input", "no inputs")


def test_a_plan_that_is_only_kept_may_lack_values():
    assert values_of({"a": {"type": "string", "required": True}}, unfilled=True) == ({}, [])


@pytest.mark.parametrize(
    ("name", "definition", "path", "part"),
    [
        ("a", {"type": "strng"}, "inputs.a.type", "did you mean 'string'?"),
        ("a", {}, "inputs.a.type", "missing"),
        ("a", {"type": "string", "patern": "x"}, "inputs.a.patern", "did you mean 'pattern'?"),
        ("a", {"type": "string", "aliases": ["b"]}, "inputs.a.aliases", "no key 'aliases'"),
        ("a", {"type": "string", "required": "yes"}, "inputs.a.required", "boolean"),
        ("a", {"type": "integer", "default": "x"}, "inputs.a.default", "whole number"),
        ("a", {"type": "string", "required": True, "default": "x"}, "inputs.a.default", "required"),
        ("a", {"type": "string", "pattern": "v1", "default": "x"}, "inputs.a.default", "v1"),
        ("a", {"type": "integer", "min": 9, "max": 1}, "inputs.a.min", "larger than max"),
        ("a", {"type": "choice"}, "inputs.a.choices", "choice"),
        ("a", {"type": "integer", "pattern": "x"}, "inputs.a.pattern", "no pattern"),
        ("a", {"type": "string", "pattern": "(x"}, "inputs.a.pattern", "missing )"),
        ("a", {"type": "string", "pattern": "(?=x)"}, "inputs.a.pattern", "RE2"),
        ("a", {"type": "string", "pattern": "x" * 1001}, "inputs.a.pattern", "1,000"),
        ("a", {"type": "list", "of": "lst"}, "inputs.a.of", "lst"),
        ("a", "string", "inputs.a", "mapping"),
        ("A", {"type": "string"}, "inputs.A", "lower-case"),
        ("a-b", {"type": "string"}, "inputs.a-b", "lower-case"),
    ],
)
def test_a_bad_definition_is_one_clear_fault(name, definition, path, part):
    fault = only_fault({name: definition})
    assert fault.path == path
    assert part in " ".join(str(value) for value in fault.as_json().values())


def test_too_many_inputs_are_refused():
    assert only_fault({f"a{n}": {"type": "string"} for n in range(101)}).code == "too_many"


def test_faults_stand_where_the_value_stands():
    text = b"plan:\n  inputs:\n    a: {type: integer}\n  steps: [{tool: df}]\ninputs:\n  a: x\n"
    plan = read_request(text).plan
    faults = Faults(plan.places)
    check_given(plan, faults)
    assert [(fault.line, fault.column) for fault in faults] == [(6, 3)]


def test_a_pattern_cannot_keep_the_farm_busy():
    slow = {"a": {"type": "string", "pattern": "(a+)+b"}}
    began = time.process_time()
    _, faults = values_of(slow, {"a": "a" * 8000})
    assert [fault.code for fault in faults] == ["bad_format"]
    assert time.process_time() - began < 1


def test_an_input_that_holds_a_reference_goes_where_the_plan_puts_it():
    inputs = {"login": {"$secret": "smtp"}, "name": "x", "file": {"$artifact": "a-1"}}
    parameters = {
        "password": "{{ inputs.login }}",
        "files": ["{{inputs.file}}", "{{ inputs.name }}"],
        "body": "{{ inputs.login }} again",
        "other": "{{ inputs.gone }}",
    }
    assert fill_references(parameters, inputs) == {
        "password": {"$secret": "smtp"},
        "files": [{"$artifact": "a-1"}, "{{ inputs.name }}"],
        "body": "{{ inputs.login }} again",
        "other": "{{ inputs.gone }}",
    }
