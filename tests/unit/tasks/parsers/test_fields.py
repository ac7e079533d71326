"""Declared field types."""

import pytest

from tasks.parsers.base import ParseError
from tasks.parsers.fields import FIELD_TYPES, convert, pick_fields


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        (7, "text", "7"),
        (True, "text", "true"),
        ("12", "integer", 12),
        (12.0, "integer", 12),
        (" -3 ", "integer", -3),
        ("1.50", "number", 1.5),
        ("2", "number", 2),
        (2.5, "number", 2.5),
        ("YES", "boolean", True),
        ("disabled", "boolean", False),
        (True, "boolean", True),
        ("off", "on_off", False),
        ("45%", "percent", 45),
        ("0.5%", "percent", 0.5),
        (12, "percent", 12),
        (0, "time", "1970-01-01T00:00:00Z"),
        ("1700000000.5", "time", "2023-11-14T22:13:20.500000Z"),
        ("2024-05-01T12:00:00+02:00", "time", "2024-05-01T10:00:00Z"),
        ("2024-05-01 12:00:00", "time", "2024-05-01T12:00:00Z"),
        ("1700000000500001", "time_us", "2023-11-14T22:13:20.500001Z"),
        (0, "time_us", "1970-01-01T00:00:00Z"),
        ([104, 195, 188, 255], "text", "hü\ufffd"),
        ([300], "text", "[300]"),
        ("a, b c", "list", ["a", "b", "c"]),
        ([1, "x"], "list", [1, "x"]),
        ({"a": 1}, "object", {"a": 1}),
        ([1], "object", [1]),
    ],
)
def test_values_get_their_type(given, kind, value):
    assert convert(given, kind, "f") == value
    assert type(convert(given, kind, "f")) is type(value)


@pytest.mark.parametrize("kind", sorted(FIELD_TYPES))
@pytest.mark.parametrize("given", ["-", "", "  ", None])
def test_nothing_is_null_in_every_type(given, kind):
    assert convert(given, kind, "f") is None


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("1.5", "integer"),
        (1.5, "integer"),
        (True, "integer"),
        (True, "number"),
        ("inf", "number"),
        ("1_000", "number"),
        ("maybe", "boolean"),
        ("x%", "percent"),
        ("yesterday", "time"),
        (1e40, "time"),
        ("soon", "time_us"),
        ("9" * 30, "time_us"),
        (3, "list"),
        ("x", "object"),
    ],
)
def test_values_of_another_type_are_refused(given, kind):
    with pytest.raises(ParseError, match=f"^size is not an? {kind}: "):
        convert(given, kind, "size")


def test_only_declared_fields_stay():
    row = {"a": "1", "b": 2}
    assert pick_fields(row, {"a": "integer", "c": "text"}) == {"a": 1, "c": None}
    assert pick_fields(row, {}) == row


def test_a_value_may_stand_under_another_name_or_deeper():
    row = {"_PID": "7", "metadata": {"name": "web", "labels": []}, "a.b": 1}
    fields = {"pid": "integer", "name": "text", "dotted": "integer", "none": "text", "off": "text"}
    sources = {
        "pid": "_PID",
        "name": "metadata.name",
        "dotted": "a.b",
        "none": "metadata.labels.x",
        "off": "nowhere.at.all",
    }
    picked = pick_fields(row, fields, sources)
    assert picked == {"pid": 7, "name": "web", "dotted": 1, "none": None, "off": None}
