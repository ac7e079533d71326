"""teams-cli against doubles of a Power Automate workflow and of an older connector."""

import pytest

from app.errors import StepError
from app.step import State
from tasks.operations.comms import delivery, teams
from tests.lab.operation import Surroundings, checked
from tests.lab.receivers import Receiver
from tests.lab.receivers import teams as teams_double
from tool_catalog.model import Reason

WORKFLOW = "/workflows/abc/triggers/manual/paths/{token}?api-version=1&sig=s3cret%252F"
CARD = {
    "title": "Disk is nearly full",
    "message": "web-03 has **3%** left",
    "colour": "warning",
    "sections": [
        {"title": "Details", "text": "since noon", "facts": {"host": "web-03", "used": 97}}
    ],
    "actions": [{"title": "Dashboard", "url": "https://grafana.example.com/d/disk"}],
}


@pytest.fixture(autouse=True)
def _quick_and_tidy(monkeypatch):
    monkeypatch.setattr(delivery, "BACKOFF_S", 0.02)
    yield
    delivery.KEPT.close()


@pytest.fixture
def hooks():
    with Receiver(teams_double) as receiver:
        yield receiver
        delivery.KEPT.close()


def send(hooks, given, path=None, token="invoke"):
    url = hooks.url + (path or WORKFLOW.format(token=token))
    surroundings = Surroundings({"TEAMS_WEBHOOK_URL": url, "allow_private": "127.0.0.1"})
    return teams.send(checked("comms/teams-cli", given), surroundings.context())


@pytest.mark.proves("teams-cli", "send")
def test_a_workflow_gets_an_adaptive_card_and_its_query_untouched(hooks):
    result = send(hooks, CARD)
    assert (result.state, result.output) == (State.SUCCEEDED, {"status": 202, "tries": 1})
    [request] = hooks.received
    assert request.path == WORKFLOW.format(token="invoke")
    [attachment] = request.json["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    title, message, section = card["body"]
    assert (title["text"], title["color"]) == ("Disk is nearly full", "Warning")
    assert message["text"] == "web-03 has **3%** left"
    assert [item.get("text") for item in section["items"][:2]] == ["Details", "since noon"]
    assert section["items"][2]["facts"] == [
        {"title": "host", "value": "web-03"},
        {"title": "used", "value": "97"},
    ]
    assert card["actions"] == [
        {
            "type": "Action.OpenUrl",
            "title": "Dashboard",
            "url": "https://grafana.example.com/d/disk",
        }
    ]


def test_a_connector_gets_a_message_card(hooks):
    result = send(hooks, {**CARD, "format": "message_card"}, "/webhookb2/a@b/IncomingWebhook/x/y")
    assert result.output == {"status": 200, "tries": 1}
    [request] = hooks.received
    card = request.json
    assert (card["@type"], card["themeColor"]) == ("MessageCard", "DAA038")
    assert (card["title"], card["text"]) == (CARD["title"], CARD["message"])
    assert card["sections"] == [
        {
            "startGroup": True,
            "activityTitle": "Details",
            "text": "since noon",
            "facts": [{"name": "host", "value": "web-03"}, {"name": "used", "value": "97"}],
        }
    ]
    assert card["potentialAction"] == [
        {
            "@type": "OpenUri",
            "name": "Dashboard",
            "targets": [{"os": "default", "uri": "https://grafana.example.com/d/disk"}],
        }
    ]


def test_a_connector_that_fails_with_status_200_has_failed(hooks):
    given = {"message": "m", "format": "message_card"}
    result = send(hooks, given, "/webhookb2/a/IncomingWebhook/toolarge")
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_PARAMETER)
    assert "too large" in result.summary
    assert len(hooks.received) == 1


def test_a_connector_that_is_throttled_with_status_200_is_tried_again(hooks):
    given = {"message": "m", "format": "message_card"}
    result = send(hooks, given, "/webhookb2/a/IncomingWebhook/throttled")
    assert (result.state, result.output["tries"]) == (State.SUCCEEDED, 2)


def test_an_adaptive_card_to_a_connector_is_refused_by_it(hooks):
    result = send(hooks, {"message": "m"}, "/webhookb2/a/IncomingWebhook/x")
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_PARAMETER)
    assert "Bad payload received" in result.summary


def test_a_flow_that_is_off_and_a_wrong_signature(hooks):
    result = send(hooks, {"message": "m"}, token="off")
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert "its flow is off" in result.summary
    result = send(hooks, {"message": "m"}, "/workflows/abc/invoke?sig=wrong-4711")
    assert (result.state, result.reason) == (State.FAILED, Reason.AUTH_FAILED)
    assert "wrong-4711" not in repr(result)
    assert len(hooks.received) == 2


def test_throttling_is_waited_out(hooks):
    result = send(hooks, {"message": "m"}, token="limited")
    assert result.output == {"status": 202, "tries": 2}


def test_no_answer_in_time_leaves_the_outcome_unknown(hooks, monkeypatch):
    monkeypatch.setattr(delivery, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(StepError) as caught:
        send(hooks, {"message": "m"}, token="slow")
    assert (caught.value.reason, caught.value.sent) == (Reason.TIMEOUT, True)
    assert "sig" not in caught.value.message
    assert len(hooks.received) == 1


def test_a_card_that_is_too_large_is_not_sent(hooks):
    with pytest.raises(StepError, match="Teams takes 28672") as caught:
        send(hooks, {"message": "ä" * 15000})
    assert caught.value.reason is Reason.INVALID_PARAMETER
    assert hooks.received == []
