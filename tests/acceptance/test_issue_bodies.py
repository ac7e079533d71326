"""Three plans as users first write them, unchanged, through real workers to real receivers."""

import email
import email.policy
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab.real_farm import RealFarm, Servers
from tests.lab.receivers import Receiver, slack
from tests.lab.smtp import MailServer

MAIL = """{"steps": [{"tool": "sendmail", "parameters": {"to": "admin@example.com", "subject": "Alert", "body": "Server CPU usage is high"}}]}"""  # noqa: E501  # sent as it stands
CHAT = """{"steps": [{"tool": "slack_cli", "parameters": {"message": "Deployment completed", "channel": "#deployments"}}]}"""  # noqa: E501  # sent as it stands
ASSET = """{"steps": [{"tool": "asset-create", "parameters": {"hostname": "web-server-01", "ip_address": "192.168.1.100", "type": "server"}}]}"""  # noqa: E501  # sent as it stands
JSON = {"Content-Type": "application/json"}
HOOK = "/services/T000/B000/planted-token"


@pytest.fixture(scope="module")
def servers(server_folder):
    with Servers(server_folder / "bodies") as servers:
        yield servers


@pytest.fixture(scope="module")
def mail():
    with MailServer() as mail:
        yield mail


@pytest.fixture(scope="module")
def chat():
    with Receiver(slack) as chat:
        yield chat


@pytest.fixture(scope="module")
def farm(servers, mail, chat, server_folder):
    """The API with the pools that the three bodies need; senders are set by environment."""
    settings = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mail.port),
        "SMTP_USE_TLS": "off",
        "SMTP_FROM": "opsfarm@example.com",
        "SLACK_WEBHOOK_URL": chat.url + HOOK,
        "OPSFARM_ALLOW_PRIVATE": "127.0.0.1",
    }
    names = ("api", "dispatcher", "comms", "asset")
    with RealFarm(servers, server_folder / "bodies-farm", *names, settings=settings) as farm:
        yield farm
    assert farm.tracebacks() == []
    assert "planted-token" not in "".join(farm.logs().values())


def post(farm, body, query="?wait=30", **headers):
    path = "/execute-plan" + query
    return farm.call("POST", path, data=body.encode(), headers=JSON | headers)


def test_a_mail_arrives(farm, mail):
    response = post(farm, MAIL)
    assert response.status_code == 200, response.text
    execution = response.json()
    assert execution["state"] == "succeeded"
    [step] = execution["steps"]
    assert (step["tool"], step["state"], step["changed"]) == ("sendmail", "succeeded", True)
    [arrived] = [m for m in mail.mails if m.recipients == ["admin@example.com"]]
    message = email.message_from_bytes(arrived.content, policy=email.policy.default)
    assert message["Subject"] == "Alert"
    assert message["To"] == "admin@example.com"
    assert message.get_body(["plain"]).get_content().strip() == "Server CPU usage is high"
    assert step["results"][0]["worker"] == "comms@test-host"


def test_a_chat_message_arrives(farm, chat):
    response = post(farm, CHAT)
    assert response.status_code == 200, response.text
    assert response.json()["state"] == "succeeded"
    [step] = response.json()["steps"]
    assert step["output"]["status"] == 200
    [arrived] = [request for request in chat.received if request.path == HOOK]
    assert arrived.method == "POST"
    assert arrived.json["text"] == "Deployment completed"
    assert arrived.json["channel"] == "#deployments"
    assert "planted-token" not in response.text


def test_an_asset_is_in_the_inventory(farm, servers):
    response = post(farm, ASSET)
    assert response.status_code == 200, response.text
    [step] = response.json()["steps"]
    row = servers.ask(
        "select to_jsonb(a) from assets a where hostname = 'web-server-01' and tenant = 'default'"
    )
    assert row["id"] == step["output"]["id"]
    assert (row["ip_address"], row["type"], row["status"]) == ("192.168.1.100", "server", "active")
    assert step["results"][0]["worker"] == "asset@test-host"


def test_the_same_asset_again_fails_in_words(farm, servers):
    post(farm, ASSET)
    execution = post(farm, ASSET).json()
    assert execution["state"] == "failed"
    assert "web-server-01" in execution["steps"][0]["summary"]
    assert servers.ask("select count(*) from assets where hostname = 'web-server-01'") == 1


def test_without_waiting_the_answer_says_where_to_look(farm):
    response = post(farm, MAIL, query="")
    assert response.status_code == 202
    answer = response.json()
    assert {"execution_id", "state", "url", "events_url"} <= set(answer)
    assert response.headers["Location"] == answer["url"]
    path = answer["url"].removeprefix(farm.url)
    assert farm.call("GET", path + "?wait=30").json()["state"] == "succeeded"
    with farm.call("GET", answer["events_url"].removeprefix(farm.url), stream=True) as stream:
        assert "execution.finished" in stream.text


def test_one_key_is_one_execution_and_one_mail(farm, mail):
    body = json.loads(MAIL)
    body["steps"][0]["parameters"]["to"] = "once@example.com"
    text = json.dumps(body)
    first = post(farm, text, **{"Idempotency-Key": "deploy-7"})
    again = post(farm, text, **{"Idempotency-Key": "deploy-7"})
    envelope = post(farm, json.dumps({"execution_id": "deploy-7", "plan": body}))
    assert [r.status_code for r in (first, again, envelope)] == [200, 200, 200]
    ids = {r.json()["execution_id"] for r in (first, again, envelope)}
    assert len(ids) == 1
    assert first.json()["key"] == "deploy-7"
    assert len([m for m in mail.mails if m.recipients == ["once@example.com"]]) == 1


def test_the_same_key_with_another_plan_is_a_conflict(farm, servers, mail):
    envelope = {"execution_id": "deploy-8", "plan": json.loads(MAIL)}
    accepted = post(farm, json.dumps(envelope))
    arrived, count = len(mail.mails), servers.ask("select count(*) from executions")
    refused = post(farm, ASSET, **{"Idempotency-Key": "deploy-8"})
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:opsfarm:problem:conflict"
    assert accepted.json()["execution_id"] in refused.json()["detail"]
    assert "Idempotency-Key" in refused.json()["hint"]
    assert servers.ask("select count(*) from executions") == count
    assert len(mail.mails) == arrived


def test_ten_submits_of_one_key_at_once_send_one_mail(farm, mail):
    body = json.loads(MAIL)
    body["steps"][0]["parameters"]["to"] = "race@example.com"
    envelope = json.dumps({"execution_id": "race", "plan": body})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post(farm, envelope), range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["execution_id"] for answer in answers}) == 1
    assert len([m for m in mail.mails if m.recipients == ["race@example.com"]]) == 1
