import pytest

from tasks.http_status import reason_of, show_status
from tool_catalog.model import Reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, Reason.INVALID_PARAMETER),
        (401, Reason.AUTH_FAILED),
        (403, Reason.AUTH_FAILED),
        (404, Reason.NOT_FOUND),
        (409, Reason.CONFLICT),
        (500, Reason.REFUSED_BY_DEVICE),
        (999, Reason.REFUSED_BY_DEVICE),
    ],
)
def test_statuses_have_reasons(status, reason):
    assert reason_of(status) is reason


@pytest.mark.parametrize(
    ("status", "headers", "body", "shown"),
    [
        (404, {}, "", "answered 404 Not Found"),
        (500, {}, "first\nsecond", "answered 500 Internal Server Error: first second"),
        (799, {}, "x", "answered 799: x"),
        (
            302,
            {"location": "https://cam/"},
            "moved",
            "answered 302 Found: redirects are not followed (https://cam/)",
        ),
        (
            403,
            {"content-type": "text/html"},
            "<html><head><title>403 Forbidden</title><style>p {}</style></head><p>Not you</p>",
            "answered 403 Forbidden: Not you",
        ),
    ],
)
def test_an_answer_in_a_few_words(status, headers, body, shown):
    assert show_status(status, headers, body) == shown


def test_a_long_answer_is_cut():
    assert len(show_status(500, {}, "x" * 100_000)) < 250
