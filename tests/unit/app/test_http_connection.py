"""The options of an asset that is reached by HTTP."""

import pytest

from app.asset import check_values
from app.http_connection import HttpConnection, read_http_connection

PEM = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"


def test_what_is_left_out():
    assert read_http_connection({}) == HttpConnection(
        scheme="https", base_path="", server_name=None, verify_tls=True, login="auto"
    )


def test_everything_that_can_be_said():
    given = {
        "scheme": "https",
        "base_path": "/monitoring/prometheus/",
        "server_name": "prom.example.com",
        "fingerprint": "AB:" * 31 + "ab",
        "login": "bearer",
    }
    read = read_http_connection(given)
    assert read.base_path == "/monitoring/prometheus"
    assert read.fingerprint == "ab" * 32
    assert read.login == "bearer"
    assert read_http_connection({"ca": PEM + PEM}).ca == PEM + PEM


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheme": "ftp"}, "scheme: 'ftp': one of https, http"),
        ({"base_path": "prometheus"}, "base_path: must be a path"),
        ({"base_path": "/a/../b"}, r"base_path: a path without"),
        ({"base_path": "/a?b=c"}, "base_path: must be a path"),
        ({"server_name": "a b"}, "server_name: must be a host name"),
        ({"server_name": 7}, "server_name: must be a host name"),
        ({"verify_tls": "no"}, "verify_tls: true or false"),
        ({"ca": "/etc/ssl/ca.pem"}, "ca: must be one certificate or more in PEM"),
        ({"fingerprint": "ab" * 20}, "fingerprint: must be the SHA-256"),
        ({"login": "kerberos"}, "login: 'kerberos': one of auto, basic, digest, bearer"),
        ({"ca": PEM, "verify_tls": False}, "judged in one way"),
        ({"ca": PEM, "fingerprint": "ab" * 32}, "ca and fingerprint: a certificate"),
        ({"ca": PEM, "scheme": "http"}, "no certificate with scheme http"),
        ({"verify_tls": False, "scheme": "http"}, "no certificate with scheme http"),
    ],
)
def test_what_cannot_be_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        read_http_connection(options)
    with pytest.raises(ValueError, match=f"connection: .*{words}"):
        check_values({"connection": {"type": "http", **options}})


def test_a_misspelt_option_does_not_pass_for_its_default():
    with pytest.raises(ValueError, match=r"no option of type http; did you mean 'verify_tls'"):
        check_values({"connection": {"type": "http", "verify_tsl": False}})


def test_an_asset_takes_what_it_can_use():
    connection = {"type": "http", "address": "10.0.0.9", "port": 8443, "ca": PEM}
    assert check_values({"connection": connection}) == {"connection": connection}
