"""slack-cli against a double that keeps to Slack's table of answers."""

import json

import pytest

from app.errors import StepError
from app.step import State
from tasks.operations.comms import delivery, slack
from tests.lab.operation import Surroundings, checked
from tests.lab.receivers import Receiver
from tests.lab.receivers import slack as slack_double
from tool_catalog.model import Reason


@pytest.fixture(autouse=True)
def _quick_and_tidy(monkeypatch):
    monkeypatch.setattr(delivery, "BACKOFF_S", 0.02)
    yield
    delivery.KEPT.close()


@pytest.fixture
def hooks():
    with Receiver(slack_double) as receiver:
        yield receiver
        delivery.KEPT.close()


def url_of(hooks, token):
    return f"{hooks.url}/services/T000/B000/{token}"


def send(hooks, given, token="right", **more):
    settings = {"SLACK_WEBHOOK_URL": url_of(hooks, token), "allow_private": "127.0.0.1"}
    surroundings = Surroundings(settings, **more)
    return slack.send(checked("comms/slack-cli", given), surroundings.context()), surroundings


@pytest.mark.proves("slack-cli", "send")
def test_the_plan_of_the_readme_arrives_as_it_was_written(hooks):
    result, surroundings = send(
        hooks, {"message": "Deployment completed", "channel": "#deployments"}
    )
    assert result.state is State.SUCCEEDED
    assert result.output == {"status": 200, "tries": 1}
    assert surroundings.armed == 1
    [request] = hooks.received
    assert (request.method, request.path) == ("POST", "/services/T000/B000/right")
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.json == {"text": "Deployment completed", "channel": "#deployments"}


def test_every_part_of_a_message_arrives(hooks):
    attachments = [{"color": "warning", "title": "web-03", "text": "97 %"}]
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*full* <!here>"}}]
    send(
        hooks,
        {
            "text": "Größe <!channel> & <https://evil.example|bank>",
            "username": "farm",
            "icon_emoji": ":rocket:",
            "attachments": attachments,
            "blocks": blocks,
            "thread_ts": "1700000000.000100",
            "unfurl": False,
        },
    )
    send(hooks, {"message": "<!here> now", "markup": True, "icon_url": "https://example.com/i.png"})
    first, second = (request.json for request in hooks.received)
    assert first == {
        "text": "Größe &lt;!channel&gt; &amp; &lt;https://evil.example|bank&gt;",
        "username": "farm",
        "icon_emoji": ":rocket:",
        "attachments": attachments,
        "blocks": blocks,
        "thread_ts": "1700000000.000100",
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert second == {"text": "<!here> now", "icon_url": "https://example.com/i.png"}


@pytest.mark.parametrize(
    ("token", "reason", "words"),
    [
        ("revoked", Reason.AUTH_FAILED, "the webhook was revoked"),
        ("archived", Reason.REFUSED_BY_DEVICE, "the channel is archived"),
        ("restricted", Reason.REFUSED_BY_DEVICE, "administrators"),
        ("nochannel", Reason.NOT_FOUND, "no such channel"),
        ("strange", Reason.REFUSED_BY_DEVICE, "Slack answered 200 OK: maybe"),
    ],
)
def test_a_refusal_says_what_to_do_and_is_not_tried_again(hooks, token, reason, words):
    result, _ = send(hooks, {"message": "m"}, token)
    assert (result.state, result.reason) == (State.FAILED, reason)
    assert words in result.summary
    assert url_of(hooks, token) not in repr(result)
    assert not result.transient
    assert len(hooks.received) == 1


def test_blocks_that_slack_refuses_are_a_wrong_parameter(hooks):
    result, _ = send(hooks, {"blocks": [{"no": "type"}]})
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_PARAMETER)
    assert "does not accept these blocks" in result.summary


def test_a_limit_is_waited_out_as_long_as_asked(hooks):
    result, surroundings = send(hooks, {"message": "m"}, "limited")
    assert result.output == {"status": 200, "tries": 2}
    [line] = surroundings.lines
    assert line.startswith("127.0.0.1 answered 429; next try in 1.")
    assert surroundings.armed == 1


def test_a_limit_beyond_the_time_of_the_step_is_told(hooks):
    result, _ = send(hooks, {"message": "m"}, "limitedlong")
    assert result.state is State.FAILED
    assert result.transient
    assert "asks to wait 3600 s" in result.summary
    assert len(hooks.received) == 1


def test_a_failure_on_their_side_is_tried_again(hooks):
    result, _ = send(hooks, {"message": "m"}, "flaky")
    assert (result.state, result.output["tries"]) == (State.SUCCEEDED, 2)


def test_a_lost_answer_leaves_the_outcome_unknown_and_is_not_sent_again(hooks):
    with pytest.raises(StepError, match="closed the connection") as caught:
        send(hooks, {"message": "m"}, "reset")
    assert caught.value.sent
    assert "reset" not in caught.value.message
    assert len(hooks.received) == 1


def test_no_answer_in_time_leaves_the_outcome_unknown(hooks, monkeypatch):
    monkeypatch.setattr(delivery, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(StepError, match=r"no whole answer within 0.2 s") as caught:
        send(hooks, {"message": "m"}, "slow")
    assert (caught.value.reason, caught.value.sent) == (Reason.TIMEOUT, True)
    assert len(hooks.received) == 1


def test_nothing_listening_is_tried_again_and_was_never_sent():
    with Receiver() as gone:
        pass
    surroundings = Surroundings(
        {"SLACK_WEBHOOK_URL": url_of(gone, "right"), "allow_private": "127.0.0.1"}
    )
    with pytest.raises(StepError, match="Connection refused") as caught:
        slack.send(checked("comms/slack-cli", {"message": "m"}), surroundings.context())
    assert (caught.value.reason, caught.value.sent) == (Reason.UNREACHABLE, False)
    assert caught.value.transient
    assert len(surroundings.lines) == 3
    assert surroundings.armed == 0


def test_a_named_secret_chooses_another_webhook(hooks):
    surroundings = Surroundings(
        {"allow_private": "127.0.0.0/8"}, {"team-b": url_of(hooks, "team-b") + "\n"}
    )
    given = checked("comms/slack-cli", {"message": "m", "webhook": {"$secret": "team-b"}})
    slack.send(given, surroundings.context())
    assert hooks.received[0].path.endswith("/team-b")


def test_no_webhook_configured_names_both_ways():
    with pytest.raises(StepError, match=r"SLACK_WEBHOOK_URL.*\$secret"):
        slack.send(checked("comms/slack-cli", {"message": "m"}), Surroundings().context())


def test_a_private_address_is_refused_before_anything_is_sent(hooks):
    surroundings = Surroundings({"SLACK_WEBHOOK_URL": url_of(hooks, "right")})
    with pytest.raises(StepError, match="not reached by https") as caught:
        slack.send(checked("comms/slack-cli", {"message": "m"}), surroundings.context())
    assert caught.value.reason is Reason.REFUSED_BY_POLICY
    secure = url_of(hooks, "right").replace("http:", "https:")
    surroundings = Surroundings({"SLACK_WEBHOOK_URL": secure})
    with pytest.raises(StepError, match="not a public address") as caught:
        slack.send(checked("comms/slack-cli", {"message": "m"}), surroundings.context())
    assert caught.value.reason is Reason.REFUSED_BY_POLICY
    assert hooks.received == []
    assert hooks.connections == 0


def test_the_connection_is_kept_for_the_next_message(hooks):
    for number in range(3):
        send(hooks, {"message": f"number {number}"})
    assert [json.loads(request.body)["text"] for request in hooks.received] == [
        "number 0",
        "number 1",
        "number 2",
    ]
    assert hooks.connections == 1
