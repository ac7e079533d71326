"""Nothing secret leaves the worker, in whatever form."""

import base64
import json
import time
from io import BytesIO
from unittest import mock
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.step import Secret, State, StepResult
from tasks import scrub as scrub_module
from tasks.scrub import MASK, Scrubber

secret_texts = st.text(
    st.characters(codec="utf-8", exclude_characters="*…"), min_size=8, max_size=40
).filter(lambda text: text.strip() == text and len(text.splitlines()) == 1)
surroundings = st.text(st.sampled_from("ab 12{}\"'=:/\n"), max_size=30)

KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBkQ3Vb
-----END OPENSSH PRIVATE KEY-----"""


def scrub(text, *secrets):
    return Scrubber(Secret(secret) for secret in secrets).scrub(text)


@given(secret=secret_texts, before=surroundings, after=surroundings)
@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
        lambda text: quote(text, safe=""),
        quote_plus,
        lambda text: text.encode().hex(),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    ],
    ids=["exact", "base64", "base64url", "url", "form", "hex", "json", "json-unicode"],
)
def test_every_form_of_a_secret_goes(form, secret, before, after):
    written = form(secret)
    assume(written not in before + after)
    text = scrub(before + written + after, secret)
    assert written not in text
    assert MASK in text


@given(user=st.text(st.sampled_from("abcdef"), max_size=9), secret=secret_texts)
def test_a_secret_inside_other_base64_goes(user, secret):
    assume(len(secret.encode()) >= 9)
    encoded = base64.b64encode(f"{user}:{secret}".encode()).decode()
    shown = scrub(f"x {encoded}", secret).removeprefix("x ")
    rest = shown.replace(MASK, "")
    assert len(rest) <= len(base64.b64encode(user.encode())) + 6


@given(secret=secret_texts, data=st.data())
def test_what_a_cut_left_of_a_secret_goes(secret, data):
    assume(len(secret) > 8)
    kept = data.draw(st.integers(8, len(secret) - 1))
    assert secret[:kept] not in scrub("tail of text: " + secret[:kept], secret)
    assert secret[:kept] not in scrub("told: " + secret[:kept] + "…", secret)
    assert secret[-kept:] not in scrub(secret[-kept:] + " and more", secret)


@given(text=st.text(st.sampled_from("abc 123\n.,-_"), max_size=200))
def test_text_without_secrets_stays(text):
    assert scrub(text, "Zq9!Zq9!Zq9!") == text


def test_short_secrets_go_only_where_they_stand_alone():
    assert scrub("pin 12 of 1234, a", "12", "a") == "pin *** of 1234, ***"


def test_an_empty_secret_changes_nothing():
    assert scrub("abc", "") == "abc"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter22 user=x", "password=*** user=x"),
        ("DB_PASSWORD: hunter22", "DB_PASSWORD: ***"),
        ('{"api_key": "a\\"bc", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("{'client_secret': 'abc def'}", "{'client_secret': '***'}"),
        ("MYSQL_PWD=x1", "MYSQL_PWD=***"),
        ("https://h/x?token=abc&v=1", "https://h/x?token=***&v=1"),
        ("aws AKIAIOSFODNN7EXAMPLE end", "aws *** end"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("got bearer abcdefgh12345678.x", "got bearer ***"),
        ("ghp_" + "a" * 36, "***"),
        ("xoxb-1234567890-abc", "***"),
        (
            "to https://hooks.slack.com/services/T0/B0/abc now",
            "to https://hooks.slack.com/*** now",
        ),
        ("postgresql://app:s3cret@db/x", "postgresql://app:***@db/x"),
        (f"key:\n{KEY}\nend", "key:\n***\nend"),
        (KEY[:60], "***"),
        ("opsfarm_0a1b2c3d_" + "A" * 43, "***"),
    ],
)
def test_known_shapes_of_secrets_go(text, shown):
    assert scrub(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "compass: north",
        "PWD=/root",
        "pass: 12, fail: 0",
        "Basic configuration is done",
        "tokens: 12",
        "Enter password:\nnext line",
        "https://example.com:8443/path",
        '{"password": null}',
    ],
)
def test_ordinary_text_stays(text):
    assert scrub(text) == text


def test_a_private_key_is_masked_over_its_lines():
    scrubber = Scrubber()
    lines = [scrubber.scrub_line("stdout", line) for line in ["a", *KEY.splitlines(), "b"]]
    assert lines == ["a", MASK, MASK, MASK, MASK, "b"]


def test_streams_do_not_mix():
    scrubber = Scrubber()
    scrubber.scrub_line("stdout", "-----BEGIN RSA PRIVATE KEY-----")
    assert scrubber.scrub_line("stderr", "plain") == "plain"
    assert scrubber.scrub_line("stdout", "MIIEow") == MASK


def test_each_line_of_a_known_key_goes():
    scrubber = Scrubber([Secret(KEY)])
    assert scrubber.scrub_line("stdout", "x QyNTUxOQAAACBkQ3Vb y") == "x *** y"


def test_values_keep_their_shape():
    value = {
        "rows": [{"password": "x", "text": "the hunter22 here", "n": 5, "ok": True, "none": None}],
        "hunter22": 4711,
        "empty_password": "",
    }
    scrubbed = Scrubber([Secret("hunter22"), Secret("4711")]).scrub_value(value)
    assert scrubbed == {
        "rows": [{"password": MASK, "text": "the *** here", "n": 5, "ok": True, "none": None}],
        MASK: MASK,
        "empty_password": "",
    }


def test_a_whole_result_is_scrubbed():
    result = StepResult(
        state=State.SUCCEEDED,
        summary="login hunter22",
        output={"text": "hunter22"},
        stdout_tail="hunter22",
        stderr_tail="a\nhunter22",
    )
    assert "hunter22" not in repr(Scrubber([Secret("hunter22")]).scrub_result(result))


@pytest.mark.parametrize(
    "text",
    [
        "a." * 8000,
        "password" * 2000,
        "a://" * 4000,
        "-----BEGIN PRIVATE KEY-----" * 500,
        " " * 16000,
    ],
)
def test_hostile_lines_take_no_time(text):
    scrubber = Scrubber([Secret("Zq9!Zq9!Zq9!")])
    started = time.perf_counter()
    scrubber.scrub(text)
    assert time.perf_counter() - started < 0.5


def scrubbed_file(scrub, data):
    sink = BytesIO()
    scrub.scrub_file(BytesIO(data), sink)
    return sink.getvalue()


@given(
    secret=st.text("abcdef0123456789", min_size=8, max_size=20),
    before=st.integers(0, 60),
    after=st.integers(0, 60),
)
def test_a_secret_in_a_long_line_of_a_file_is_found_wherever_the_pieces_part(secret, before, after):
    scrub = Scrubber([Secret(secret)])
    with mock.patch.object(scrub_module, "_PIECE_BYTES", 32):
        clean = scrubbed_file(scrub, b"x" * before + secret.encode() + b"y" * after)
    assert clean == b"x" * before + MASK.encode() + b"y" * after


def test_a_file_keeps_its_bytes_and_loses_its_keys():
    scrub = Scrubber()
    assert scrubbed_file(scrub, b"\xff\xfe\r\n\n\0 end") == b"\xff\xfe\r\n\n\0 end"
    masked = scrubbed_file(scrub, f"a\n{KEY}\nb\n".encode()).decode().splitlines()
    assert masked == ["a", *[MASK] * len(KEY.splitlines()), "b"]
