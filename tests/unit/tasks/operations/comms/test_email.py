import pytest

from app.errors import StepError
from app.step import Secret
from tasks.operations.comms import email
from tasks.operations.comms.mail_server import Server
from tests.lab.operation import EXECUTION, Surroundings
from tool_catalog.model import Reason

SERVER = Server("mail.example", 587, "starttls", "", Secret(""), "Ops <ops@farm.example>")
SETTINGS = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": 9, "SMTP_FROM": "ops@farm.example"}


def test_the_same_step_has_the_same_message_id():
    given = {"to": ["a@example.com"], "subject": "s", "body": "b"}
    first, second = (email.build_message(given, Surroundings().context(), SERVER) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"] == f"<step-42.{EXECUTION}@farm.example>"
    assert first["From"] == "Ops <ops@farm.example>"


@pytest.mark.parametrize("subject", ["a\nBcc: x@example.com", "a\r\nX: y", "a\rb"])
def test_a_line_break_in_a_header_is_refused_even_past_the_parameter_check(subject):
    given = {"to": ["a@example.com"], "subject": subject, "body": "b"}
    with pytest.raises(StepError, match="the message is not valid") as caught:
        email.send(given, Surroundings(SETTINGS).context())
    assert caught.value.reason is Reason.INVALID_PARAMETER


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com>\r\nRCPT TO:<b@example.com",
        "Name <a@example.com>",
        "a@example.com\n",
        "ä@example.com",
        "a b@example.com",
        "a@b@example.com",
        "@example.com",
    ],
)
@pytest.mark.parametrize("name", ["to", "cc", "bcc", "reply_to"])
def test_what_is_no_plain_address_is_refused_even_past_the_parameter_check(name, address):
    given = {"to": ["a@example.com"], "subject": "s", "body": "b", name: [address]}
    with pytest.raises(StepError, match="no plain address") as caught:
        email.send(given, Surroundings(SETTINGS).context())
    assert caught.value.reason is Reason.INVALID_PARAMETER


def test_too_much_attached_is_refused_before_it_is_read(tmp_path):
    large = tmp_path / "dump"
    with large.open("wb") as file:
        file.truncate(email.MAX_ATTACHED_BYTES + 1)
    given = {"to": ["a@example.com"], "subject": "s", "attachments": [{"$artifact": "x"}]}
    surroundings = Surroundings(SETTINGS, artifacts={"x": large})
    with pytest.raises(StepError, match="attachments have"):
        email.send(given, surroundings.context())


def test_an_attachment_that_does_not_exist_is_named():
    given = {"to": ["a@example.com"], "subject": "s", "attachments": [{"$artifact": "gone-1"}]}
    with pytest.raises(StepError, match="no artifact gone-1") as caught:
        email.send(given, Surroundings(SETTINGS).context())
    assert caught.value.reason is Reason.NOT_FOUND


def test_html_alone_is_the_body():
    given = {"to": ["a@example.com"], "subject": "s", "html": "<b>x</b>"}
    message = email.build_message(given, Surroundings().context(), SERVER)
    assert message.get_content_type() == "text/html"
