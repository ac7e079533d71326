import pytest
from hypothesis import given
from hypothesis import strategies as st

from tool_catalog.model import Parameter
from tool_catalog.scalars import BadValue, kind_of, plain
from tool_catalog.values import check_value


def check(value, **parameter):
    return check_value(Parameter.model_validate(parameter), value)


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ({"type": "string"}, "a b", "a b"),
        ({"type": "string", "pattern": "[a-z]+"}, "abc", "abc"),
        ({"type": "string", "min": 0}, "", ""),
        ({"type": "word"}, "ext4:@x/+y-", "ext4:@x/+y-"),
        ({"type": "text"}, "-a\nb\t", "-a\nb\t"),
        ({"type": "text"}, "", ""),
        ({"type": "integer"}, 5.0, 5),
        ({"type": "integer"}, "-17", -17),
        ({"type": "number"}, "0.2", 0.2),
        ({"type": "number"}, 3, 3),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean"}, True, True),
        ({"type": "choice", "choices": ["on", "5"]}, 5, "5"),
        ({"type": "path"}, "/var//log/", "/var/log"),
        ({"type": "path"}, "//etc", "/etc"),
        ({"type": "duration"}, "1.5m", 90.0),
        ({"type": "duration"}, "250ms", 0.25),
        ({"type": "duration"}, 30, 30.0),
    ],
)
def test_values_are_normalised(parameter, value, expected):
    assert check(value, **parameter) == expected
    assert type(check(value, **parameter)) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ({"type": "string"}, 5, "wrong_type"),
        ({"type": "string"}, {"$secret": "x"}, "wrong_type"),
        ({"type": "string"}, "", "out_of_range"),
        ({"type": "string"}, "a\nb", "bad_format"),
        ({"type": "string"}, "a\x00b", "bad_format"),
        ({"type": "string"}, "\ud800", "bad_format"),
        ({"type": "string"}, "-rf", "bad_format"),
        ({"type": "string"}, "x" * 10_000_000, "out_of_range"),
        ({"type": "string", "max": 3}, "abcd", "out_of_range"),
        ({"type": "string", "min": 3}, "ab", "out_of_range"),
        ({"type": "string", "pattern": "[a-z]+"}, "abc1", "bad_format"),
        ({"type": "word"}, "a b", "bad_format"),
        ({"type": "word"}, "$(id)", "bad_format"),
        ({"type": "text"}, "a\x00", "bad_format"),
        ({"type": "text"}, "x" * 65_537, "out_of_range"),
        ({"type": "text", "min": 1}, "", "out_of_range"),
        ({"type": "integer"}, True, "wrong_type"),
        ({"type": "integer"}, 5.5, "wrong_type"),
        ({"type": "integer"}, "5 ", "wrong_type"),
        ({"type": "integer"}, 2**63, "out_of_range"),
        ({"type": "integer", "min": 1}, 0, "out_of_range"),
        ({"type": "number", "max": 1}, 1.1, "out_of_range"),
        ({"type": "number"}, float("nan"), "out_of_range"),
        ({"type": "number"}, float("inf"), "out_of_range"),
        ({"type": "number"}, False, "wrong_type"),
        ({"type": "boolean"}, 1, "wrong_type"),
        ({"type": "boolean"}, "yes", "wrong_type"),
        ({"type": "boolean"}, [], "wrong_type"),
        ({"type": "choice", "choices": ["on", "off"]}, "On", "not_allowed"),
        ({"type": "choice", "choices": ["on", "off"]}, True, "wrong_type"),
        ({"type": "choice", "choices": ["on", "off"]}, ["on"], "wrong_type"),
        ({"type": "path"}, "var/log", "bad_format"),
        ({"type": "path"}, "/var/../etc", "bad_format"),
        ({"type": "path"}, "/a\nb", "bad_format"),
        ({"type": "duration"}, "5 minutes", "bad_format"),
        ({"type": "duration"}, True, "wrong_type"),
        ({"type": "duration"}, -1, "out_of_range"),
        ({"type": "duration", "max": 60}, "2m", "out_of_range"),
    ],
)
def test_what_does_not_fit_is_refused(parameter, value, code):
    with pytest.raises(BadValue) as refused:
        check(value, **parameter)
    assert refused.value.code == code


def test_a_near_choice_is_suggested():
    with pytest.raises(BadValue) as refused:
        check("activ", type="choice", choices=["active", "retired"])
    assert refused.value.hint == "did you mean 'active'?"


@given(st.text())
def test_a_string_never_becomes_an_option_or_two_lines(value):
    try:
        kept = check(value, type="string")
    except BadValue:
        return
    assert not kept.startswith("-")
    assert "\n" not in kept
    assert "\x00" not in kept
    kept.encode()


@given(st.text(alphabet="/.ab", max_size=12))
def test_a_path_is_absolute_and_leads_where_it_says(value):
    try:
        path = check(value, type="path")
    except BadValue:
        return
    assert path.startswith("/")
    assert not {"..", "."} & set(path.split("/"))
    assert check(path, type="path") == path


def test_words_for_kinds_and_bounds():
    assert [kind_of(v) for v in (True, None, "", 1, [], {})] == [
        "true or false",
        "nothing",
        "text",
        "a number",
        "a list",
        "an object",
    ]
    assert [plain(v) for v in (None, 3.0, 0.5)] == ["", "3", "0.5"]
