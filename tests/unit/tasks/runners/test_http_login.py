"""Answers to the challenges of a server."""

import hashlib
import re

import pytest

from app.errors import StepError
from app.step import Credential, Secret
from tasks.runners import http_login
from tasks.runners.http_login import Login, read_challenges
from tool_catalog.model import Reason

MUFASA = Credential("example", "Mufasa", Secret("Circle of Life"))


@pytest.fixture
def nonce_of_the_rfc(monkeypatch):
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    monkeypatch.setattr(http_login.secrets, "token_hex", lambda _length: cnonce)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(nonce_of_the_rfc, algorithm, response):
    challenge = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=' + algorithm + ", "
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    login = Login(MUFASA, "auto", hidden=False)
    assert login.learn([challenge])
    header = login.header("GET", "/dir/index.html")
    assert f'response="{response}"' in header
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in header
    assert "nc=00000001" in header
    assert "nc=00000002" in login.header("GET", "/dir/index.html")


def test_the_form_of_rfc_2069():
    login = Login(MUFASA, "digest", hidden=False)
    assert login.learn(['Digest realm="r", nonce="n"'])
    user = hashlib.md5(b"Mufasa:r:Circle of Life").hexdigest()
    asked = hashlib.md5(b"GET:/x").hexdigest()
    right = hashlib.md5(f"{user}:n:{asked}".encode()).hexdigest()
    header = login.header("GET", "/x")
    assert f'response="{right}"' in header
    assert "qop" not in header
    assert "cnonce" not in header


def test_a_session_s_hash_holds_both_nonces():
    login = Login(MUFASA, "digest", hidden=False)
    assert login.learn(['Digest realm="r", nonce="n", qop=auth, algorithm=MD5-sess'])
    header = login.header("GET", "/x")
    cnonce = re.search(r'cnonce="(\w+)"', header)[1]
    user = hashlib.md5(b"Mufasa:r:Circle of Life").hexdigest()
    user = hashlib.md5(f"{user}:n:{cnonce}".encode()).hexdigest()
    asked = hashlib.md5(b"GET:/x").hexdigest()
    right = hashlib.md5(f"{user}:n:00000001:{cnonce}:auth:{asked}".encode()).hexdigest()
    assert f'response="{right}"' in header


@pytest.mark.parametrize(
    ("lines", "read"),
    [
        (['Basic realm="a, b=c"'], [("basic", {"realm": "a, b=c"})]),
        (["Negotiate"], [("negotiate", {})]),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (
            ['Digest realm="a\\"b", nonce="n==", qop="auth,auth-int",stale=TRUE, Basic realm="r"'],
            [
                (
                    "digest",
                    {"realm": 'a"b', "nonce": "n==", "qop": "auth,auth-int", "stale": "TRUE"},
                ),
                ("basic", {"realm": "r"}),
            ],
        ),
        (
            ['Basic realm="x"', 'Digest nonce="n"'],
            [("basic", {"realm": "x"}), ("digest", {"nonce": "n"})],
        ),
        (["", 'realm="of nothing"'], []),
    ],
)
def test_challenges_are_read_as_servers_write_them(lines, read):
    assert read_challenges(lines) == read


def test_an_aged_nonce_is_replaced_and_a_wrong_login_given_up():
    login = Login(MUFASA, "auto", hidden=False)
    assert login.learn(['Digest realm="r", nonce="1", qop="auth"'])
    login.header("GET", "/")
    assert login.learn(['Digest realm="r", nonce="2", qop="auth", stale=true'])
    login.header("GET", "/")
    assert not login.learn(['Digest realm="r", nonce="3", qop="auth"'])


def test_an_old_nonce_that_is_refused_without_a_word_is_replaced_once():
    login = Login(MUFASA, "auto", hidden=False)
    login.learn(['Digest realm="r", nonce="1", qop="auth"'])
    for _ in range(2):
        login.header("GET", "/")
    assert login.learn(['Digest realm="r", nonce="2", qop="auth"'])
    login.header("GET", "/")
    assert not login.learn(['Digest realm="r", nonce="3", qop="auth"'])


def test_a_challenge_that_we_know_is_taken_among_others():
    login = Login(MUFASA, "auto", hidden=False)
    lines = [
        'Digest realm="r", nonce="1", qop="auth", algorithm=SHA-512-256',
        'Digest realm="r", nonce="2", qop="auth", algorithm=SHA-256',
    ]
    assert login.learn(lines)
    assert 'nonce="2"' in login.header("GET", "/")


def test_a_login_of_one_kind_takes_no_other():
    login = Login(MUFASA, "digest", hidden=True)
    with pytest.raises(StepError, match=r"allows \(basic\)") as caught:
        login.learn(['Basic realm="r"'])
    assert caught.value.reason is Reason.AUTH_FAILED


def test_a_quote_in_a_name_stays_inside():
    login = Login(Credential("x", 'a"\\b', Secret("p")), "auto", hidden=False)
    login.learn(['Digest realm="r", nonce="1", qop="auth"'])
    assert 'username="a\\"\\\\b"' in login.header("GET", "/")


def test_a_credential_without_a_password_is_told():
    login = Login(Credential("keyed", "ops", private_key=Secret("k")), "basic", hidden=True)
    with pytest.raises(StepError, match="credential keyed has no password"):
        login.header("GET", "/")


def test_nobody_gives_nothing():
    login = Login(None, "auto", hidden=True)
    assert login.header("GET", "/") is None
    assert not login.learn(['Basic realm="r"'])
