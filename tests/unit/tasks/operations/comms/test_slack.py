import pytest

from tasks.operations.comms.slack import REFUSALS, build_payload, escape, read_fault
from tasks.runners.http_transport import Answer
from tool_catalog.model import Reason


def answer(status, body):
    return Answer(status, "", {}, body, truncated=False)


def test_text_cannot_mention_or_hide_a_link():
    assert escape("<!here> a&b") == "&lt;!here&gt; a&amp;b"


def test_only_what_was_given_is_sent():
    assert build_payload({"message": "m", "markup": False}) == {"text": "m"}
    assert build_payload({"blocks": [{"type": "divider"}]}) == {"blocks": [{"type": "divider"}]}


def test_only_ok_with_status_200_is_success():
    assert read_fault(answer(200, b"ok")) is None
    assert read_fault(answer(200, b"okay")) is not None
    assert read_fault(answer(202, b"ok")) is not None


@pytest.mark.parametrize("body", REFUSALS)
def test_every_known_refusal_is_explained(body):
    reason, text = read_fault(answer(400, body.encode()))
    assert reason is REFUSALS[body][0]
    assert body in text
    assert REFUSALS[body][1] in text


def test_an_unknown_refusal_goes_by_its_status():
    assert read_fault(answer(404, b"new_word"))[0] is Reason.NOT_FOUND
    assert read_fault(answer(403, b"new_word"))[0] is Reason.AUTH_FAILED
