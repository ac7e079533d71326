import json

import pytest

from app.config import read_settings
from app.errors import StepError
from app.step import Secret
from tasks.operations.comms.mail_server import find_server


def from_settings(**given):
    return find_server(
        read_settings(SMTP_HOST="mail.example", SMTP_FROM="a@b.example", **given), None
    )


@pytest.mark.parametrize(
    ("word", "port", "tls"),
    [
        ("starttls", 587, "starttls"),
        ("True", 25, "starttls"),
        ("1", 465, "implicit"),
        ("implicit", 2465, "implicit"),
        ("off", 465, "off"),
        ("false", 25, "off"),
    ],
)
def test_the_words_for_tls(word, port, tls):
    assert from_settings(SMTP_USE_TLS=word, SMTP_PORT=port).tls == tls


def test_an_unknown_word_for_tls_is_never_plain():
    with pytest.raises(StepError, match="SMTP_USE_TLS must be"):
        from_settings(SMTP_USE_TLS="maybe")


def test_no_server_names_the_setting_and_the_secret():
    with pytest.raises(StepError, match=r"SMTP_HOST.*\$secret"):
        find_server(read_settings(), None)


def test_no_sender_names_the_setting_unless_the_login_is_an_address():
    with pytest.raises(StepError, match="SMTP_FROM"):
        find_server(read_settings(SMTP_HOST="mail.example", SMTP_USER="robot"), None)
    settings = read_settings(SMTP_HOST="mail.example", SMTP_USER="robot@farm.example")
    assert find_server(settings, None).sender == "robot@farm.example"


@pytest.mark.parametrize("text", ["no json pw-4711", '["pw-4711"]', "", '"pw-4711"'])
def test_a_secret_that_describes_no_server_is_not_shown(text):
    with pytest.raises(StepError, match="JSON object") as caught:
        find_server(read_settings(), Secret(text))
    assert "4711" not in caught.value.message


@pytest.mark.parametrize("port", [0, 65536, "smtp", -1, 2.5])
def test_a_port_that_is_none(port):
    text = json.dumps({"host": "mail.example", "from": "a@b.example", "port": port})
    with pytest.raises(StepError, match="1 to 65535"):
        find_server(read_settings(), Secret(text))


def test_a_server_never_shows_its_password():
    server = from_settings(SMTP_USER="robot", SMTP_PASSWORD="pw-4711")
    assert "pw-4711" not in repr(server)
    assert server.password.reveal() == "pw-4711"
