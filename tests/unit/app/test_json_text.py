import json

from hypothesis import given
from hypothesis import strategies as st

from app.json_text import make_storable, write_json


def test_what_jsonb_refuses_is_replaced():
    value = {"a\0": ["\ud800x", float("nan"), (float("-inf"), 1.5)], "b": {"c": "\udfff"}}
    assert json.loads(write_json(value)) == {
        "a\ufffd": ["\ufffdx", None, [None, 1.5]],
        "b": {"c": "\ufffd"},
    }


def test_everything_else_stays():
    for value in [
        "\U0001f600",
        "\\u0000",
        "\\ud800",
        "caf\u00e9 \u2028",
        None,
        True,
        2**70,
        [],
        {},
    ]:
        assert json.loads(write_json(value)) == value


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_what_was_made_storable_is_written_as_it_is(value):
    storable = make_storable(value)
    assert json.loads(write_json(value)) == storable
    assert make_storable(storable) == storable
