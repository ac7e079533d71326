import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tool_catalog.document import DocumentError, find_place, read_document

TEXT_CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"])
TEXT = st.text(TEXT_CHARACTERS)
#: As it is written out, with six characters for each, YAML reads a key of 1024.
KEYS = st.text(TEXT_CHARACTERS, max_size=100)
NUMBERS = st.integers(-(10**18) + 1, 10**18 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def read(text, **options):
    return read_document(text, source="plan.yaml", **options)


@given(VALUES)
def test_json_reads_as_json(value):
    whole = {"value": value}
    assert read(json.dumps(whole)).value == whole
    assert read(json.dumps(whole, ensure_ascii=False, indent=2)).value == whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0644", "0644"),
        ("12:30", "12:30"),
        ("on", "on"),
        ("yes", "yes"),
        ("00:16:3e:00:00:01", "00:16:3e:00:00:01"),
        ("2026-11-20", "2026-11-20"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("22,80", "22,80"),
        ("<<", "<<"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("-17", -17),
        ("1.5e3", 1500.0),
        ("'5'", "5"),
        ("nano", "nano"),
        ("Information", "Information"),
        ("-", [None]),
    ],
)
def test_only_core_types_are_typed(text, value):
    assert read(text).value == value
    assert type(read(text).value) is type(value)


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("", "empty", (1, 1)),
        ("# only this", "empty", (2, 1)),
        ("a: 1\na: 2", "'a' stands here twice", (2, 1)),
        ('{"a": 1,\n "a": 2}', "'a' stands here twice", (2, 2)),
        ("a: &x 1", "anchors and aliases", (1, 4)),
        ("a: 1\nb: *x", "anchors and aliases", (2, 4)),
        ("&x a: 1", "plain text", (1, 1)),
        ("a: !!python/object:os.system 1", "tag", (1, 4)),
        ("a: ! x", "tag", (1, 4)),
        ("a: NaN", "not a number", (1, 4)),
        ("[1, -Infinity]", "not a number", (1, 5)),
        ("a: .inf", "not a number", (1, 4)),
        ("a: 1e999", "too large", (1, 4)),
        ("a: 12345678901234567890", "20 digits", (1, 4)),
        ("1: a", "not text", (1, 1)),
        ("true: a", "not text", (1, 1)),
        ("? [a]\n: b", "plain text", (1, 3)),
        ("a: {{ x }}", "put the expression in quotes", (1, 5)),
        ("a: [{{ x.y | length }}]", "put the expression in quotes", (1, 6)),
        ("a: {{ 'x' | upper }}", "put the expression in quotes", (1, 11)),
        ("a: 1\n---\nb: 2", "second document", (2, 1)),
        ("[" * 21 + "]" * 21, "deeper than 20", (1, 21)),
        ("a: [1", "did not find", (2, 1)),
        ("a: 1\nb: 'x\x00'", "control character", (2, 6)),
        ('{"a": "\\ud800"}', "Unicode", (1, 10)),
        (b"a: 1\nb: \xff", "not UTF-8", (2, 1)),
        ("a: \ud800", "not UTF-8", (1, 1)),
    ],
)
def test_what_could_hide_something_is_refused(text, words, place):
    with pytest.raises(DocumentError, match=words) as refused:
        read(text)
    assert "plan.yaml" not in refused.value.message
    place_words = f"plan.yaml:{refused.value.line}:{refused.value.column}: "
    assert str(refused.value) == place_words + refused.value.message
    assert abs(refused.value.column - place[1]) <= 1
    assert refused.value.line == place[0]


def test_characters_beyond_the_first_plane_are_read_from_json():
    assert read('{"a": "\\ud83d\\ude00", "b": "\\\\ud83d\\\\ude00"}').value == {
        "a": "😀",
        "b": "\\ud83d\\ude00",
    }


def test_integer_keys_where_they_are_asked_for():
    assert read("exit_codes: {0: ok, 1: empty}", int_keys=True).value == {
        "exit_codes": {0: "ok", 1: "empty"}
    }


def test_every_part_has_its_place():
    document = read("name: x\nsteps:\n  - tool: df\n    parameters: {depth: 1}\n")
    assert document.places["steps[0].parameters.depth"] == (4, 18)
    assert document.places["steps[0]"] == (3, 5)
    assert document.places[""] == (1, 1)


def test_a_part_that_is_not_there_is_placed_by_what_is_around_it():
    places = read("steps:\n  - tool: df\n    parameters: {to: [a]}\n").places
    assert find_place(places, "steps[0].parameters.to[7].x") == places["steps[0].parameters.to"]
    assert find_place(places, "steps[3].tool") == places["steps"]
    assert find_place(places, "targets") == (1, 1)
    assert find_place({}, "targets") is None


def test_the_largest_and_the_deepest_that_is_read():
    assert read("a: " + "9" * 19).value["a"] == int("9" * 19)
    assert read("[" * 20 + "]" * 20).value
    assert math.isclose(read("1.7976931348623157e308").value, 1.7976931348623157e308)
