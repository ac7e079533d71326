"""Options of a connection of type winrm."""

import pytest

from app.winrm_connection import WinrmConnection, read_winrm_connection

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, WinrmConnection("https", verify_tls=True, ca=None, transport="ntlm")),
        ({"scheme": "http", "host_key": "of ssh"}, WinrmConnection("http")),
        ({"transport": "basic", "ca": PEM}, WinrmConnection(ca=PEM, transport="basic")),
        ({"verify_tls": False}, WinrmConnection(verify_tls=False)),
    ],
)
def test_good_options(options, read):
    assert read_winrm_connection(options) == read


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"transport": "kerberos"}, "transport: 'kerberos': one of ntlm, basic"),
        ({"transport": "basic", "scheme": "http"}, "transport: basic needs scheme https"),
        ({"scheme": "ftp"}, "scheme"),
        ({"verify_tls": "no"}, "verify_tls"),
        ({"ca": "/etc/ssl/ca.pem"}, "ca: must be one certificate or more in PEM"),
        ({"ca": PEM, "verify_tls": False}, "judged in one way"),
        ({"ca": PEM, "scheme": "http"}, "no certificate with scheme http"),
    ],
)
def test_bad_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        read_winrm_connection(options)
