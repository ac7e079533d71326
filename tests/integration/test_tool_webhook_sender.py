"""webhook-sender against a real HTTP server that records what arrives."""

import base64
import hashlib
import hmac
import threading
import time

import pytest

from app.errors import StepError, Stopped
from app.step import State
from tasks.operations.comms import delivery, webhook
from tests.lab.certificates import make_certificates
from tests.lab.operation import EXECUTION, Surroundings, checked
from tests.lab.receivers import Received, Receiver, Reply
from tool_catalog.model import Reason

KEY = f"{EXECUTION}-42"


@pytest.fixture(autouse=True)
def _quick_and_tidy(monkeypatch):
    monkeypatch.setattr(delivery, "BACKOFF_S", 0.02)
    yield
    delivery.KEPT.close()


def send(hook, given, **more):
    settings = {"allow_private": "127.0.0.1", **more.pop("settings", {})}
    surroundings = Surroundings(settings, **more)
    given = given if "secret_url" in given else {"url": hook.url + "/hook", **given}
    return webhook.send(checked("comms/webhook-sender", given), surroundings.context())


def answer_json(_request: Received) -> Reply:
    return Reply(201, b'{"id": 4711, "tags": ["a"]}', {"Content-Type": "application/json"})


@pytest.mark.proves("webhook-sender", "send")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_each_method_arrives_and_its_answer_comes_back(method):
    with Receiver(answer_json) as hook:
        result = send(
            hook, {"method": method, "json": {"planted": "Ä-42"}, "headers": {"X-Team": "blue"}}
        )
    [request] = hook.received
    assert (request.method, request.path) == (method, "/hook")
    assert request.json == {"planted": "Ä-42"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-team"] == "blue"
    assert request.headers["idempotency-key"] == KEY
    assert result.state is State.SUCCEEDED
    assert result.changed is (method != "GET")
    assert result.output["status"] == 201
    assert result.output["headers"]["content-type"] == "application/json"
    assert result.output["body"] == {"id": 4711, "tags": ["a"]}
    assert result.output["idempotency_key"] == KEY


def test_a_form_and_a_raw_body():
    with Receiver() as hook:
        send(hook, {"form": {"a": "1 & 2", "b": ["x", "y"]}})
        send(hook, {"body": "<a/>", "headers": {"content-type": "application/xml"}})
        send(hook, {"method": "GET"})
    form, raw, bare = hook.received
    assert form.body == b"a=1+%26+2&b=x&b=y"
    assert form.headers["content-type"] == "application/x-www-form-urlencoded"
    assert (raw.body, raw.headers["content-type"]) == (b"<a/>", "application/xml")
    assert bare.body == b""
    assert "content-type" not in bare.headers


def test_a_signature_that_a_receiver_can_check():
    secret = b"twenty-four random bytes!"
    replies = iter([Reply(503), Reply(200)])
    with Receiver(lambda _request: next(replies)) as hook:
        send(
            hook,
            {"json": {"event": "deployed"}, "signing_secret": {"$secret": "signing"}},
            secrets={"signing": "whsec_" + base64.b64encode(secret).decode()},
        )
    first, second = hook.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == KEY
    for request in (first, second):
        signed = b".".join(
            (KEY.encode(), request.headers["webhook-timestamp"].encode(), request.body)
        )
        expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_a_lost_answer_is_tried_again_with_the_same_key():
    def script(request):
        return Reply(reset=True) if request.number == 1 else Reply(200, b"ok")

    with Receiver(script) as hook:
        result = send(hook, {"json": {"n": 1}, "idempotency_key": "order-7"})
    assert result.output["tries"] == 2
    assert result.output["body"] == "ok"
    assert [r.headers["idempotency-key"] for r in hook.received] == ["order-7", "order-7"]


def test_never_answered_the_outcome_is_unknown(monkeypatch):
    monkeypatch.setattr(delivery, "ANSWER_TIMEOUT_S", 0.1)
    with (
        Receiver(lambda _request: Reply(never=True)) as hook,
        pytest.raises(StepError) as caught,
    ):
        send(hook, {"json": {"n": 1}})
    assert (caught.value.reason, caught.value.sent) == (Reason.TIMEOUT, True)
    assert "/hook" not in caught.value.message
    assert len(hook.received) == 4


def test_an_answer_that_drips_is_cut_off_in_time(monkeypatch):
    monkeypatch.setattr(delivery, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(delivery, "TRIES", 1)
    with (
        Receiver(lambda _request: Reply(drip=True)) as hook,
        pytest.raises(StepError, match=r"no whole answer within 0.3 s"),
    ):
        send(hook, {"json": {"n": 1}})


def test_a_refusal_is_kept_and_not_tried_again():
    with Receiver(lambda _request: Reply(422, b"no field 'event'")) as hook:
        result = send(hook, {"json": {}})
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert result.summary == "127.0.0.1 answered 422 Unprocessable Entity: no field 'event'"
    assert result.output["body"] == "no field 'event'"
    assert len(hook.received) == 1


def test_statuses_that_the_caller_calls_good():
    with Receiver(lambda _request: Reply(404)) as hook:
        result = send(hook, {"method": "DELETE", "ok": [204, 404]})
    assert result.state is State.SUCCEEDED


def test_a_redirect_is_a_failure_and_is_not_followed():
    with Receiver(
        lambda _request: Reply(302, headers={"Location": "http://169.254.169.254/latest"})
    ) as hook:
        result = send(hook, {"method": "GET"})
    assert result.state is State.FAILED
    assert "redirects are not followed" in result.summary
    assert result.output["headers"]["location"] == "http://169.254.169.254/latest"
    assert len(hook.received) == 1


def test_an_answer_that_the_ledger_could_not_hold_is_made_plain():
    headers = {"ETag": "a\0b", "Content-Type": "application/json"}
    with Receiver(lambda _request: Reply(200, b'{"a": "\\u0000"}\0', headers)) as hook:
        result = send(hook, {"method": "GET"})
    assert result.output["headers"]["etag"] == "a b"
    assert result.output["body"] == '{"a": "\\u0000"}\ufffd'


def test_a_large_answer_is_capped_and_says_so():
    with Receiver(lambda _request: Reply(200, b"x" * 300_000)) as hook:
        result = send(hook, {"method": "GET"})
        again = send(hook, {"method": "GET"})
        delivery.KEPT.close()
    assert result.output["truncated"]
    assert len(result.output["body"]) == 64 * 1024
    assert again.output["status"] == 200


def test_no_cookie_of_one_step_reaches_another():
    with Receiver(lambda _request: Reply(200, headers={"Set-Cookie": "tenant=a"})) as hook:
        send(hook, {"method": "GET"})
        send(hook, {"method": "GET"})
        delivery.KEPT.close()
    assert all("cookie" not in request.headers for request in hook.received)


def test_a_proxy_or_login_of_the_environment_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password netrc-4711\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Receiver() as hook:
        result = send(hook, {"method": "GET"})
        delivery.KEPT.close()
    assert result.state is State.SUCCEEDED
    assert "authorization" not in hook.received[0].headers


def test_a_login_and_a_secret_url_travel_by_tls_only(tmp_path):
    certificates = make_certificates(tmp_path)
    secrets = {"token": "Bearer t-4711\n"}
    with Receiver(tls=certificates.server_context()) as hook:
        secrets["address"] = hook.url + "/hook/s-0815"
        result = send(
            hook,
            {"secret_url": {"$secret": "address"}, "auth": {"$secret": "token"}, "json": {}},
            secrets=secrets,
            settings={"http_ca_file": certificates.authority},
        )
        delivery.KEPT.close()
    [request] = hook.received
    assert request.headers["authorization"] == "Bearer t-4711"
    assert request.path == "/hook/s-0815"
    assert "s-0815" not in repr(result)
    with pytest.raises(StepError, match="not reached by https"):
        send(
            hook,
            {"url": "http://hooks.example.com/", "auth": {"$secret": "token"}},
            secrets=secrets,
        )


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path):
    certificates = make_certificates(tmp_path)
    with (
        Receiver(tls=certificates.server_context()) as hook,
        pytest.raises(StepError, match=r"certificate of 127.0.0.1 is not valid") as caught,
    ):
        send(hook, {"json": {}})
    assert not caught.value.transient
    assert hook.received == []


def test_a_private_address_is_refused():
    with Receiver() as hook, pytest.raises(StepError, match="OPSFARM_ALLOW_PRIVATE") as caught:
        send(hook, {"json": {}}, settings={"allow_private": "10.0.0.0/8"})
    assert caught.value.reason is Reason.REFUSED_BY_POLICY
    assert hook.received == []


def test_cancel_ends_the_wait_at_once(monkeypatch):
    monkeypatch.setattr(delivery, "BACKOFF_S", 20)
    arrived = threading.Event()

    def script(_request):
        arrived.set()
        return Reply(503)

    with Receiver(script) as hook:
        surroundings = Surroundings({"allow_private": "127.0.0.1"}, timeout_s=60)
        context = surroundings.context()
        canceller = threading.Thread(
            target=lambda: arrived.wait(5) and context.control.cancelled.set()
        )
        canceller.start()
        with pytest.raises(Stopped) as caught:
            webhook.send(checked("comms/webhook-sender", {"url": hook.url, "json": {}}), context)
        canceller.join()
    assert caught.value.verified


def test_cancel_cuts_off_a_request_that_nobody_answers():
    arrived = threading.Event()

    def script(_request):
        arrived.set()
        return Reply(never=True)

    with Receiver(script) as hook:
        context = Surroundings({"allow_private": "127.0.0.1"}, timeout_s=60).context()
        canceller = threading.Thread(
            target=lambda: arrived.wait(5) and context.control.cancelled.set()
        )
        canceller.start()
        began = time.monotonic()
        with pytest.raises(Stopped, match="took effect is unknown") as caught:
            webhook.send(checked("comms/webhook-sender", {"url": hook.url, "json": {}}), context)
        assert time.monotonic() - began < 2
        canceller.join()
    assert not caught.value.verified


def test_no_time_left_sends_nothing():
    with Receiver() as hook, pytest.raises(StepError, match="no time was left") as caught:
        send(hook, {"json": {}}, timeout_s=0)
    assert (caught.value.reason, caught.value.sent) == (Reason.TIMEOUT, False)
    assert hook.received == []
