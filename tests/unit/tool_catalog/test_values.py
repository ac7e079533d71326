import pytest

from tool_catalog.model import Parameter, ParameterType
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_program, check_value, describe


def check(value, **parameter):
    return check_value(Parameter.model_validate(parameter), value)


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ({"type": "list", "of": "port"}, [22, "80"], [22, 80]),
        ({"type": "list"}, "alone", ["alone"]),
        ({"type": "list", "of": "object"}, {"a": 1}, [{"a": 1}]),
        ({"type": "list", "of": "choice", "choices": ["a", "b"]}, ["a", "b"], ["a", "b"]),
        ({"type": "object"}, {"a": ["-x\n", None, 1]}, {"a": ["-x\n", None, 1]}),
        ({"type": "asset"}, "Web-01", "web-01"),
        ({"type": "asset"}, "17", 17),
        ({"type": "asset"}, {"id": 3, "hostname": "x"}, 3),
        ({"type": "asset"}, {"hostname": "x"}, "x"),
        ({"type": "credential"}, "web-01.key", "web-01.key"),
        ({"type": "secret"}, {"$secret": "db-password"}, {"$secret": "db-password"}),
        ({"type": "artifact"}, {"$artifact": "0190-a"}, {"$artifact": "0190-a"}),
    ],
)
def test_values_are_normalised(parameter, value, expected):
    assert check(value, **parameter) == expected


@pytest.mark.parametrize(
    ("parameter", "value", "code", "place"),
    [
        ({"type": "list", "of": "port"}, [22, "http"], "wrong_type", "[1]"),
        ({"type": "list"}, ["a", "-b"], "bad_format", "[1]"),
        ({"type": "list"}, ["a"] * 1001, "out_of_range", ""),
        ({"type": "list", "min": 1}, [], "out_of_range", ""),
        ({"type": "list", "max": 1}, ["a", "b"], "out_of_range", ""),
        ({"type": "object"}, "text", "wrong_type", ""),
        ({"type": "object"}, {"a": {"b": "\x00"}}, "bad_format", ""),
        ({"type": "object"}, {"a": [{"b\x00": 1}]}, "bad_format", ""),
        ({"type": "object"}, {1: 2}, "wrong_type", ""),
        ({"type": "asset"}, 0, "wrong_type", ""),
        ({"type": "credential"}, 7, "wrong_type", ""),
        ({"type": "credential"}, "../web", "bad_format", ""),
        ({"type": "asset"}, {"name": "x"}, "wrong_type", ""),
        ({"type": "asset"}, "a b", "bad_format", ""),
        ({"type": "secret"}, "hunter2", "wrong_type", ""),
        ({"type": "secret"}, {"$secret": 5}, "wrong_type", ""),
        ({"type": "secret"}, {"$secret": "a", "x": 1}, "wrong_type", ""),
        ({"type": "secret"}, {"$secret": "../x"}, "bad_format", ""),
        ({"type": "artifact"}, {"$secret": "a"}, "wrong_type", ""),
    ],
)
def test_what_does_not_fit_is_refused(parameter, value, code, place):
    with pytest.raises(BadValue) as refused:
        check(value, **parameter)
    assert (refused.value.code, refused.value.place) == (code, place)


def test_an_object_too_deep_is_refused():
    deep = {}
    for _ in range(30):
        deep = {"a": deep}
    with pytest.raises(BadValue, match="deeper than 20"):
        check(deep, type="object")


@pytest.mark.parametrize("argv", [["uptime"], ["/usr/bin/sort", "-u", ""], ["g++"], ["a.out"]])
def test_programs(argv):
    check_program(argv)


@pytest.mark.parametrize(
    "program", ["", "-rf", "a b", "../x", "bin/x", "/a/../b", "/usr//bin/x", "/", "x;y", "$(id)"]
)
def test_what_is_no_program(program):
    with pytest.raises(BadValue) as refused:
        check_program([program])
    assert refused.value.place == "[0]"


def test_every_type_has_words():
    for kind in ParameterType:
        assert describe(Parameter(type=kind, choices=("a",) if kind == "choice" else ()))
    bounded = Parameter(type=ParameterType.INTEGER, min=1, max=20)
    assert describe(bounded) == "integer, 1 to 20"
