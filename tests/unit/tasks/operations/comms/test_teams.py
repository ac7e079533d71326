import pytest

from app.errors import StepError
from tasks.operations.comms import teams
from tasks.runners.http_transport import Answer
from tests.lab.operation import Surroundings, checked
from tool_catalog.model import Reason


def answer(status, body=b""):
    return Answer(status, "", {}, body, truncated=False)


def test_a_bare_message_is_one_block():
    card = teams.build_adaptive({"message": "m"})["attachments"][0]["content"]
    assert card["body"] == [{"type": "TextBlock", "text": "m", "wrap": True}]
    assert "actions" not in card


def test_a_bare_message_card_has_a_summary():
    card = teams.build_card({"message": "m" * 300})
    assert card["summary"] == "m" * 100
    assert "title" not in card
    assert "potentialAction" not in card


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"sections": [{}]}, r"sections\[0\] is empty"),
        ({"sections": [{"heading": "h"}]}, r"sections\[0\] has an unknown member heading"),
        (
            {"sections": [{"title": "t"}, {"facts": ["a"]}]},
            r"sections\[1\].facts must be a mapping",
        ),
        ({"actions": [{"title": "t"}]}, r"actions\[0\] has no url; it takes title, url"),
        ({"actions": [{"title": "t", "url": "javascript:x"}]}, r"actions\[0\].url must begin"),
    ],
)
def test_a_wrong_part_is_named_by_its_place(part, words):
    with pytest.raises(StepError, match=words) as caught:
        teams.build_adaptive({"message": "m", **part})
    assert caught.value.reason is Reason.INVALID_PARAMETER


def test_the_answers_of_workflows_and_connectors():
    assert teams.read_workflow_fault(answer(202)) is None
    assert teams.read_workflow_fault(answer(200, b"1")) is None
    late = b"Webhook message delivery failed with error: ... HTTP error 400"
    assert teams.read_workflow_fault(answer(200, late)) is not None
    assert teams.read_connector_fault(answer(200, b"1")) is None
    assert teams.read_connector_fault(answer(200, late)) is not None
    assert teams.read_connector_fault(answer(202)) is not None
    assert teams.read_workflow_fault(answer(413))[0] is Reason.INVALID_PARAMETER
    assert teams.read_workflow_fault(answer(410))[0] is Reason.NOT_FOUND


def test_a_message_card_is_not_sent_to_a_workflow():
    surroundings = Surroundings(
        {"TEAMS_WEBHOOK_URL": "https://prod-1.westeurope.logic.azure.com/workflows/1?sig=s-4711"}
    )
    given = checked("comms/teams-cli", {"message": "m", "format": "message_card"})
    with pytest.raises(StepError, match="leave `format` out") as caught:
        teams.send(given, surroundings.context())
    assert "s-4711" not in str(caught.value)
