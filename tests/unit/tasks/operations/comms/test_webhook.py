import subprocess

import pytest

from app.errors import StepError
from tasks.operations.comms import webhook
from tasks.runners.http_transport import Answer
from tests.lab.operation import Surroundings, checked
from tool_catalog.model import Reason


def answer(body, content_type="application/json", *, truncated=False):
    return Answer(200, "OK", {"content-type": content_type}, body, truncated=truncated)


def test_the_signature_agrees_with_a_second_implementation(require_program):
    secret, key, timestamp, body = (
        b"k" * 32,
        "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        1674087231,
        b'{"a":1}',
    )
    openssl = subprocess.run(
        f"openssl dgst -sha256 -mac HMAC -macopt hexkey:{secret.hex()} -binary | openssl base64 -A",
        shell=True,
        input=f"{key}.{timestamp}.".encode() + body,
        stdout=subprocess.PIPE,
        check=True,
        executable=require_program("sh"),
    )
    assert webhook.sign(secret, key, timestamp, body) == f"v1,{openssl.stdout.decode()}"


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "TE", "Cookie"])
def test_headers_of_the_connection_are_refused(name):
    with pytest.raises(StepError, match=f"headers.{name} cannot be set"):
        webhook.check_headers({name: "x"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Authorization", "auth"), ("Idempotency-Key", "idempotency_key"), ("webhook-id", "idempo")],
)
def test_headers_with_a_parameter_of_their_own_name_it(name, hint):
    with pytest.raises(StepError, match=hint):
        webhook.check_headers({name: "x-4711"})


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "ä", None, ["a"], {"a": 1}])
def test_values_that_are_no_line_of_ascii_are_refused(value):
    with pytest.raises(StepError, match=r"headers\.X-A must be one line of ASCII"):
        webhook.check_headers({"X-A": value})


def test_names_that_are_none_are_refused():
    with pytest.raises(StepError, match="forbidden characters"):
        webhook.check_headers({"X A: b\r\nC": "d"})


def test_a_number_is_a_value():
    assert webhook.check_headers({"X-Count": 3}) == {"X-Count": "3"}


def test_the_key_follows_from_the_step_and_has_no_dot():
    key = webhook.step_key(Surroundings().context())
    assert key == webhook.step_key(Surroundings().context())
    assert key.endswith("-42")
    assert "." not in key


@pytest.mark.parametrize(
    "body",
    [b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\u0000"}', b'{"a": "\\ud800"}', b"{", b"[" * 60000],
)
def test_json_that_the_ledger_cannot_hold_stays_text(body):
    assert webhook.read_body(answer(body)) == body.decode()


def test_bodies_are_json_or_text():
    assert webhook.read_body(answer(b'{"a": [1]}', "application/problem+json; charset=utf-8")) == {
        "a": [1]
    }
    assert webhook.read_body(answer(b'{"a": 1}', "text/plain")) == '{"a": 1}'
    assert webhook.read_body(answer(b'{"a": 1}', truncated=True)) == '{"a": 1}'
    assert webhook.read_body(answer(b"a\0\xff", "image/png")) == "a\ufffd\ufffd"


@pytest.mark.parametrize(
    "value", ["whsec_", "whsec_c2hvcnQ=", "not base64!", "whsec_" + "QUFB" * 30]
)
def test_a_signing_secret_of_the_wrong_size_is_refused_without_showing_it(value):
    surroundings = Surroundings(secrets={"s": value})
    given = checked(
        "comms/webhook-sender",
        {"url": "https://hooks.example.com", "signing_secret": {"$secret": "s"}},
    )
    with pytest.raises(StepError, match="24 to 64 random bytes") as caught:
        webhook.send(given, surroundings.context())
    assert caught.value.reason is Reason.INVALID_PARAMETER
    assert "c2hvcnQ=" not in caught.value.message


def test_a_login_with_a_line_break_is_refused_without_showing_it():
    surroundings = Surroundings(secrets={"s": "Bearer a\r\nX-Evil: 4711"})
    given = checked(
        "comms/webhook-sender", {"url": "https://hooks.example.com", "auth": {"$secret": "s"}}
    )
    with pytest.raises(StepError, match="one line of ASCII") as caught:
        webhook.send(given, surroundings.context())
    assert "4711" not in caught.value.message
