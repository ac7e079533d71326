from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.step import Secret
from tasks.operations.comms.delivery import Message, seconds_asked, show_answer
from tasks.runners.http_transport import Answer


def answer(status=200, body=b"", **headers):
    return Answer(status, "Phrase", headers, body, truncated=False)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0", 0), ("", 0), ("soon", 0), ("-5", 0), ("٣", 0)]
)
def test_retry_after_as_a_number(header, seconds):
    assert seconds_asked(header) == seconds


def test_retry_after_as_a_date():
    soon = datetime.now(UTC) + timedelta(seconds=60)
    assert 55 < seconds_asked(format_datetime(soon, usegmt=True)) <= 60
    assert seconds_asked("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert seconds_asked("Wed, 21 Oct 2015 07:28:00 -0000") == 0


def test_an_answer_is_shown_on_one_line_and_cut():
    shown = show_answer(answer(400, b"first\nsecond\0third " + b"x" * 1000))
    assert shown.startswith("400 Phrase: first second third xxx")
    assert len(shown) < 220
    assert show_answer(answer(301)) == "301 Phrase: redirects are not followed"


def test_a_message_never_shows_its_address_or_content():
    message = Message("POST", Secret("https://h.example/s-1"), {"A": "s-2"}, b"s-3")
    assert "s-" not in repr(message)
    assert message.host == "h.example"
