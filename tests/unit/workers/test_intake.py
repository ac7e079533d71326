"""The door of a worker: only headers that our publisher writes."""

import pytest

from queues import RUN_STEP
from workers.intake import is_ours

OURS = {"task": RUN_STEP, "id": "a" * 32, "root_id": "a" * 32, "retries": 0, "shadow": "df"}
JSON = "application/json"


def test_our_own_headers_are_let_in():
    assert is_ours(OURS, JSON)
    assert is_ours(OURS | {"timelimit": [None, None], "eta": None, "stamps": {}}, JSON)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "os.system"),
        ("task", [RUN_STEP]),
        ("id", ["a"]),
        ("id", ""),
        ("id", "a" * 65),
        ("retries", 1),
        ("retries", [0]),
        ("timelimit", [1, 2]),
        ("eta", "2040-01-01T00:00:00"),
        ("expires", "yesterday"),
        ("group", "g"),
        ("parent_id", 7),
    ],
)
def test_a_header_that_we_never_write_is_refused(name, value):
    assert not is_ours(OURS | {name: value}, JSON)


@pytest.mark.parametrize("headers", [None, [], "text", 7])
def test_headers_that_are_none_are_refused(headers):
    assert not is_ours(headers, JSON)


def test_only_json_is_read():
    assert not is_ours(OURS, "application/x-python-serialize")
