"""The door of a worker: only headers that our publisher writes."""

import pytest

from queues import RUN_STEP
from workers.intake import has_our_headers, is_our_body

OURS = {"task": RUN_STEP, "id": "a" * 32, "root_id": "a" * 32, "retries": 0, "shadow": "df"}


def test_our_own_headers_are_let_in():
    assert has_our_headers(OURS)
    assert has_our_headers(OURS | {"timelimit": [None, None], "eta": None, "stamps": {}})


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
    assert not has_our_headers(OURS | {name: value})


@pytest.mark.parametrize("headers", [None, [], "text", 7])
def test_headers_that_are_none_are_refused(headers):
    assert not has_our_headers(headers)


def test_a_body_of_ours_is_let_in():
    assert is_our_body([[1, 0], {}, {"chain": None}])


@pytest.mark.parametrize(
    "body", [None, 7, "text", [], {}, [[1, 0]], [[1, 0], {"a": 1}, {}], [1, {}, {}]]
)
def test_another_body_is_refused(body):
    assert not is_our_body(body)
