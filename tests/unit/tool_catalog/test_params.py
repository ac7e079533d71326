import time

import pytest

from tool_catalog.model import Effect, Example, Operation, Repeat
from tool_catalog.params import check_names, check_parameters, show_value


def operation(parameters, **more):
    fields = {
        "name": "show",
        "summary": "For a test",
        "effect": Effect.READ,
        "repeat": Repeat.READ,
        "argv": ("true",),
        "examples": (Example(),),
        "parameters": parameters,
    }
    return Operation.model_validate({**fields, **more})


DEPTH = {"depth": {"type": "integer", "min": 0, "max": 6, "default": 1}}
TO = {"to": {"type": "list", "of": "email", "required": True, "aliases": ["recipients"]}}


def codes(faults):
    return [(fault.path, fault.code) for fault in faults]


def test_defaults_are_filled_and_aliases_resolved():
    values, faults = check_parameters(operation({**DEPTH, **TO}), {"recipients": "a@example.com"})
    assert faults == []
    assert values == {"depth": 1, "to": ["a@example.com"]}


def test_every_fault_is_told_at_once():
    given = {"dpeth": 3, "depth": 9, "to": ["a@example.com", "nobody"]}
    _values, faults = check_parameters(operation({**DEPTH, **TO}), given)
    assert codes(faults) == [
        ("dpeth", "unknown_parameter"),
        ("depth", "out_of_range"),
        ("to[1]", "bad_format"),
    ]
    unknown, too_deep, nobody = faults
    assert (unknown.message, unknown.hint) == ("no parameter 'dpeth'", "did you mean 'depth'?")
    assert (too_deep.given, too_deep.allowed) == ("9", "integer, 0 to 6")
    assert nobody.given == "nobody"


def test_null_is_not_given():
    values, faults = check_parameters(operation({**DEPTH, **TO}), {"depth": None, "to": None})
    assert values == {"depth": 1}
    assert codes(faults) == [("to", "missing_parameter")]


def test_an_alias_beside_its_name_is_refused():
    given = {"to": "a@example.com", "recipients": "b@example.com"}
    assert codes(check_parameters(operation(TO), given)[1]) == [("recipients", "rule")]


@pytest.mark.parametrize(
    ("rule", "given", "path"),
    [
        ({"exactly_one": ["a", "b"]}, {}, "b"),
        ({"exactly_one": ["a", "b"]}, {"a": "x", "b": "y"}, "b"),
        ({"at_least_one": ["a", "b"]}, {"c": "x"}, "b"),
        ({"at_most_one": ["a", "b"]}, {"a": "x", "b": "y"}, "b"),
        ({"requires": {"a": ["b", "c"]}}, {"a": "x", "c": "y"}, "a"),
    ],
)
def test_rules_over_several_parameters(rule, given, path):
    three = {name: {"type": "string"} for name in "abc"}
    assert codes(check_parameters(operation(three, rules=[rule]), given)[1]) == [(path, "rule")]


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ({"exactly_one": ["a", "b"]}, {"b": "x"}),
        ({"at_least_one": ["a", "b"]}, {"a": "x", "b": "y"}),
        ({"at_most_one": ["a", "b"]}, {}),
        ({"requires": {"a": ["b"]}}, {"b": "x"}),
    ],
)
def test_rules_that_hold(rule, given):
    three = {name: {"type": "string"} for name in "abc"}
    assert check_parameters(operation(three, rules=[rule]), given)[1] == []


def test_rules_wait_until_every_name_is_right():
    three = {name: {"type": "string"} for name in ("alpha", "beta")}
    rule = {"at_least_one": ["alpha", "beta"]}
    faults = check_parameters(operation(three, rules=[rule]), {"alhpa": "x"})[1]
    assert codes(faults) == [("alhpa", "unknown_parameter")]


def test_given_values_are_shown_as_they_were_written():
    given = {"depth": True, "to": ["a@example.com\nBcc: b@example.com"]}
    shown = {
        fault.path: fault.given for fault in check_parameters(operation({**DEPTH, **TO}), given)[1]
    }
    assert shown == {"depth": "true", "to[0]": "a@example.com\\nBcc: b@example.com"}


def test_secrets_are_never_shown():
    login = {
        "login": {"type": "secret"},
        "password": {"type": "integer"},
        "url": {"type": "url"},
    }
    given = {
        "login": "hunter2",
        "password": "hunter2",
        "url": "ftp://me:hunter2@example.com",
        "urls": ["hunter2"],
    }
    _values, faults = check_parameters(operation(login), given)
    assert len(faults) == 4
    assert "hunter2" not in repr(faults)


def test_ten_megabytes_are_answered_at_once_and_cut():
    big = "x" * 10_000_000
    given = {"depth": big, "to": [big], big: big}
    began = time.perf_counter()
    _values, faults = check_parameters(operation({**DEPTH, **TO}), given)
    assert time.perf_counter() - began < 0.5
    assert len(faults) == 3
    assert all(len(fault.given) <= 80 for fault in faults)
    assert len(repr(faults)) < 2000


def test_names_alone_can_be_checked_while_values_are_expressions():
    given = {"recipients": "{{ steps.find.output.owners }}", "subjct": "x"}
    named, faults = check_names(operation(TO), given)
    assert named == {"to": "{{ steps.find.output.owners }}"}
    assert codes(faults) == [("subjct", "unknown_parameter")]


def test_the_first_word_of_a_command_line_is_a_program():
    line = {"argv": {"type": "list", "of": "text"}}
    run = operation(line, argv=[{"program": "argv"}])
    assert check_parameters(run, {"argv": ["ls", "-la"]})[1] == []
    assert codes(check_parameters(run, {"argv": ["-la"]})[1]) == [("argv[0]", "bad_format")]
    assert codes(check_parameters(run, {"argv": []})[1]) == [("argv", "out_of_range")]


def test_shown_values_are_short():
    assert show_value("a", None, {"k": ["v"] * 1000}).startswith("{'k': [")
    assert show_value("api_key", None, "abc") == "***"
