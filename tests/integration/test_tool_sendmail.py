"""sendmail against a real SMTP server: what it took is read back from it."""

import json
import threading
import time
from contextlib import contextmanager
from email import message_from_bytes, policy

import pytest

from app.errors import StepError, Stopped
from app.step import State
from tasks.operations.comms import email
from tests.lab.certificates import make_certificates
from tests.lab.operation import EXECUTION, Surroundings, checked
from tests.lab.smtp import MailServer, TrickleServer
from tool_catalog.model import Reason

#: It greets, and then answers EHLO without an end.
ENDLESS = TrickleServer(b"220 here\r\n", b"250-EXTENSION\r\n", every_s=0.1)
MESSAGE_ID = f"<step-42.{EXECUTION}@farm.example>"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def _quick_and_tidy(monkeypatch):
    monkeypatch.setattr(email, "BACKOFF_S", 0.02)
    yield
    email.KEPT.close()


def settings_for(server, **more):
    return {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": server.port,
        "SMTP_USE_TLS": server.tls,
        "SMTP_FROM": "ops@farm.example",
        "SMTP_CA_FILE": server.certificates and server.certificates.authority,
        **more,
    }


def send(server, given, **more):
    surroundings = Surroundings(settings_for(server, **more.pop("settings", {})), **more)
    return email.send(checked("comms/sendmail", given), surroundings.context()), surroundings


@contextmanager
def timed():
    """Gives a function that tells the seconds since."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began


def read(mail):
    return message_from_bytes(mail.content, policy=policy.default)


@pytest.mark.proves("sendmail", "send")
def test_the_plan_of_the_readme_arrives_as_it_was_written():
    with MailServer() as server:
        result, surroundings = send(
            server,
            {"to": "admin@example.com", "subject": "Alert", "body": "Server CPU usage is high"},
        )
    assert result.state is State.SUCCEEDED
    assert result.summary == "1 of 1 recipients accepted"
    assert result.output == {
        "message_id": MESSAGE_ID,
        "accepted": ["admin@example.com"],
        "refused": [],
        "tries": 1,
    }
    assert surroundings.armed == 1
    [mail] = server.mails
    assert (mail.sender, mail.recipients) == ("ops@farm.example", ["admin@example.com"])
    message = read(mail)
    assert message["Message-ID"] == MESSAGE_ID
    assert message["Subject"] == "Alert"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Opsfarm-Execution"] == str(EXECUTION)
    assert message["Date"].datetime.year >= 2024
    assert message.get_content().rstrip() == "Server CPU usage is high"


def test_copies_html_attachments_and_an_answer_address(tmp_path):
    report = tmp_path / "report.csv"
    report.write_bytes(b"host,used\r\nweb-03,97%\r\n\xff")
    with MailServer() as server:
        result, _ = send(
            server,
            {
                "to": ["a@example.com", "b@example.com"],
                "cc": "c@example.com",
                "bcc": ["d@example.com", "a@example.com"],
                "reply_to": "desk@example.com",
                "subject": "Grüße: Platte voll",
                "body": "Zeile eins\n.\n..doppelt\n" + "x" * 2000,
                "html": "<p>Größe</p>",
                "attachments": [{"$artifact": "report-1"}],
            },
            artifacts={"report-1": report},
        )
    assert result.summary == "4 of 4 recipients accepted"
    [mail] = server.mails
    assert mail.recipients == ["a@example.com", "b@example.com", "c@example.com", "d@example.com"]
    assert b"d@example.com" not in mail.content
    assert b"\n" not in mail.content.replace(b"\r\n", b"")
    assert mail.content.isascii()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998
    message = read(mail)
    assert message["To"] == "a@example.com, b@example.com"
    assert message["Cc"] == "c@example.com"
    assert message["Reply-To"] == "desk@example.com"
    assert message["Subject"] == "Grüße: Platte voll"
    body = message.get_body(("plain",)).get_content()
    assert body.splitlines() == ["Zeile eins", ".", "..doppelt", "x" * 2000]
    assert message.get_body(("html",)).get_content().strip() == "<p>Größe</p>"
    [attachment] = message.iter_attachments()
    assert attachment.get_filename() == "report.csv"
    assert attachment.get_payload(decode=True) == report.read_bytes()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_encrypted_and_logged_in(certificates, tls):
    with MailServer(tls=tls, certificates=certificates, login=("robot", "pass-4711")) as server:
        result, _ = send(
            server,
            {"to": "a@example.com", "subject": "s", "body": f"over {tls}"},
            settings={"SMTP_USER": "robot", "SMTP_PASSWORD": "pass-4711"},
        )
    assert result.state is State.SUCCEEDED
    [mail] = server.mails
    assert mail.encrypted
    assert read(mail).get_content().strip() == f"over {tls}"


def test_a_wrong_password_is_a_failed_login(certificates):
    with (
        MailServer(
            tls="starttls", certificates=certificates, login=("robot", "pass-4711")
        ) as server,
        pytest.raises(StepError) as caught,
    ):
        send(
            server,
            {"to": "a@example.com", "subject": "s", "body": "b"},
            settings={"SMTP_USER": "robot", "SMTP_PASSWORD": "wrong-0815"},
        )
    assert caught.value.reason is Reason.AUTH_FAILED
    assert "535" in caught.value.message
    assert "wrong-0815" not in caught.value.message
    assert not caught.value.transient
    assert server.mails == []


def test_a_server_without_starttls_is_sent_nothing(certificates):
    with MailServer() as server, pytest.raises(StepError, match="STARTTLS") as caught:
        send(
            server,
            {"to": "a@example.com", "subject": "s", "body": "b"},
            settings={"SMTP_USE_TLS": "true"},
        )
    assert caught.value.reason is Reason.REFUSED_BY_DEVICE
    assert server.mails == []


def test_a_certificate_for_another_name_is_refused(tmp_path):
    other = make_certificates(tmp_path, "mail.other.example")
    with (
        MailServer(tls="starttls", certificates=other) as server,
        pytest.raises(StepError, match=r"certificate .* is not valid") as caught,
    ):
        send(server, {"to": "a@example.com", "subject": "s", "body": "b"})
    assert caught.value.reason is Reason.UNREACHABLE
    assert not caught.value.transient


def test_implicit_tls_to_a_plain_port_names_the_setting():
    with MailServer() as server, pytest.raises(StepError, match="SMTP_USE_TLS=implicit"):
        send(
            server,
            {"to": "a@example.com", "subject": "s", "body": "b"},
            settings={"SMTP_USE_TLS": "implicit"},
        )


def test_a_login_never_travels_in_the_clear():
    with (
        MailServer(login=("robot", "pass-4711")) as server,
        pytest.raises(StepError, match="unencrypted"),
    ):
        send(
            server,
            {"to": "a@example.com", "subject": "s", "body": "b"},
            settings={"SMTP_USER": "robot", "SMTP_PASSWORD": "pass-4711"},
        )


def test_each_recipient_has_an_outcome_of_its_own():
    with MailServer() as server:
        result, surroundings = send(
            server,
            {
                "to": ["a@example.com", "perm550@example.com", "tmp451@example.com"],
                "subject": "s",
                "body": "b",
            },
        )
    assert result.state is State.SUCCEEDED
    assert result.summary.startswith("1 of 3 recipients accepted; refused: perm550@example.com")
    assert result.output["accepted"] == ["a@example.com"]
    assert result.output["refused"] == [
        {
            "recipient": "perm550@example.com",
            "code": 550,
            "text": "5.1.1 no such mailbox",
            "permanent": True,
        },
        {
            "recipient": "tmp451@example.com",
            "code": 451,
            "text": "4.7.1 try again later",
            "permanent": False,
        },
    ]
    assert result.output["tries"] == 3
    assert [mail.recipients for mail in server.mails] == [["a@example.com"]]
    assert surroundings.armed == 1


def test_only_those_refused_for_now_are_tried_again():
    with MailServer() as server:
        result, surroundings = send(
            server,
            {"to": ["a@example.com", "once451@example.com"], "subject": "s", "body": "b"},
        )
    assert result.output["accepted"] == ["a@example.com", "once451@example.com"]
    assert [mail.recipients for mail in server.mails] == [
        ["a@example.com"],
        ["once451@example.com"],
    ]
    assert {read(mail)["Message-ID"] for mail in server.mails} == {MESSAGE_ID}
    assert surroundings.lines[0].startswith("some recipients were refused for now; next try in")


def test_nobody_accepted_is_a_failure():
    with MailServer() as server:
        result, surroundings = send(
            server, {"to": "perm550@example.com", "subject": "s", "body": "b"}
        )
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert result.summary == (
        "0 of 1 recipients accepted; refused: perm550@example.com (550 5.1.1 no such mailbox)"
    )
    assert not result.transient
    assert surroundings.armed == 0


def test_content_that_the_server_refuses_is_refused_for_everyone():
    with MailServer(refuse_data="554 5.7.1 smells of spam") as server:
        result, _ = send(server, {"to": "a@example.com", "subject": "s", "body": "b"})
    assert result.state is State.FAILED
    assert result.output["refused"][0]["text"] == "5.7.1 smells of spam"
    assert result.output["tries"] == 1


def test_a_message_larger_than_the_server_takes_is_not_offered():
    with MailServer(max_bytes=1000) as server, pytest.raises(StepError, match="takes 1000"):
        send(server, {"to": "a@example.com", "subject": "s", "body": "b" * 2000})
    assert server.mails == []


def test_lost_after_the_final_dot_it_is_sent_again_under_the_same_id():
    with MailServer(drops=1) as server:
        result, surroundings = send(server, {"to": "a@example.com", "subject": "s", "body": "b"})
    assert result.state is State.SUCCEEDED
    assert [read(mail)["Message-ID"] for mail in server.mails] == [MESSAGE_ID, MESSAGE_ID]
    assert surroundings.armed == 1


def test_never_confirmed_the_outcome_is_unknown():
    with (
        MailServer(drops=9) as server,
        pytest.raises(StepError, match="did not confirm") as caught,
    ):
        send(server, {"to": "a@example.com", "subject": "s", "body": "b"})
    assert caught.value.sent
    assert caught.value.transient
    assert len(server.mails) == 3


def test_no_server_there_is_told_after_three_tries():
    with MailServer() as server:
        pass
    surroundings = Surroundings(settings_for(server))
    with pytest.raises(StepError, match="Connection refused") as caught:
        email.send(
            checked("comms/sendmail", {"to": "a@example.com", "subject": "s", "body": "b"}),
            surroundings.context(),
        )
    assert caught.value.reason is Reason.UNREACHABLE
    assert caught.value.transient
    assert not caught.value.sent
    assert len(surroundings.lines) == 2
    assert surroundings.armed == 0


def test_cancel_ends_the_wait_at_once(monkeypatch):
    monkeypatch.setattr(email, "BACKOFF_S", 20)
    with MailServer() as server:
        surroundings = Surroundings(settings_for(server))
        context = surroundings.context()
        context.control.cancelled.set()
        with pytest.raises(Stopped) as caught:
            email.send(
                checked(
                    "comms/sendmail", {"to": "tmp451@example.com", "subject": "s", "body": "b"}
                ),
                context,
            )
    assert caught.value.verified


def test_a_reply_that_does_not_come_ends_with_the_step():
    given = {"to": "hold@example.com", "subject": "s", "body": "b"}
    with MailServer() as server, timed() as took:
        with pytest.raises(StepError, match="within the time of the step") as caught:
            send(server, given, timeout_s=0.5)
        assert took() < 5
    assert caught.value.reason is Reason.TIMEOUT
    assert not caught.value.sent
    assert server.mails == []


def test_a_reply_that_never_ends_ends_with_the_step():
    """Each line comes in time; the whole reply does not."""
    given = {"to": "a@example.com", "subject": "s", "body": "b"}
    with ENDLESS as server, timed() as took:
        with pytest.raises(StepError, match="within the time of the step") as caught:
            send(server, given, timeout_s=0.6)
        assert took() < 5
    assert caught.value.reason is Reason.TIMEOUT


def test_the_last_word_is_waited_for_as_long_as_the_step_has_time():
    given = {"to": "a@example.com", "subject": "s", "body": "b"}
    with MailServer(holds_data=True) as server, timed() as took:
        with pytest.raises(StepError, match="did not confirm") as caught:
            send(server, given, timeout_s=0.6)
        assert took() < 5
    assert caught.value.sent


@pytest.mark.parametrize(
    ("server", "to", "verified"),
    [(MailServer(), "hold@example.com", True), (MailServer(holds_data=True), "a@x.com", False)],
    ids=["before the message", "before the last word on it"],
)
def test_cancel_waits_for_no_reply(server, to, verified):
    given = {"to": to, "subject": "s", "body": "b"}
    with server, timed() as took:
        context = Surroundings(settings_for(server), timeout_s=60).context()
        cancel = threading.Timer(0.4, context.control.cancelled.set)
        cancel.start()
        with pytest.raises(Stopped) as caught:
            email.send(checked("comms/sendmail", given), context)
        assert took() < 3
        cancel.join()
    assert caught.value.verified is verified
    assert server.mails == []


def test_cancel_between_two_recipients_sends_to_none():
    asked = []
    with MailServer() as server:
        surroundings = Surroundings(settings_for(server))
        context = surroundings.context()

        def cancel(address):
            asked.append(address)
            context.control.cancelled.set()

        server.on_recipient = cancel
        given = {"to": ["a@example.com", "b@example.com"], "subject": "s", "body": "b"}
        with pytest.raises(Stopped) as caught:
            email.send(checked("comms/sendmail", given), context)
    assert caught.value.verified
    assert asked == ["a@example.com"]
    assert server.mails == []
    assert surroundings.armed == 0


def test_cancel_within_a_message_drops_it(monkeypatch):
    looks = []
    look = email._Posting._look

    def cancel_at_the_second_block(posting):
        looks.append(posting)
        if len(looks) == 4:  # the try, the recipient, the first block, the second
            posting._control.cancelled.set()
        look(posting)

    monkeypatch.setattr(email._Posting, "_look", cancel_at_the_second_block)
    long = "line\n" * 10_000
    given = {"to": "a@example.com", "subject": "s", "body": long, "html": long}
    with MailServer() as server, timed() as took:
        with pytest.raises(Stopped, match="before the message was sent") as caught:
            send(server, given)
        assert took() < 5
    assert caught.value.verified
    assert server.mails == []


def test_a_named_secret_chooses_another_server(certificates):
    with MailServer(
        tls="starttls", certificates=certificates, login=("robot", "pass-4711")
    ) as server:
        described = {
            "host": "localhost",
            "port": server.port,
            "user": "robot",
            "password": "pass-4711",
            "from": "Robot <robot@other.example>",
        }
        surroundings = Surroundings(
            {"SMTP_CA_FILE": certificates.authority}, {"relay": json.dumps(described)}
        )
        result = email.send(
            checked(
                "comms/sendmail",
                {
                    "to": "a@example.com",
                    "subject": "s",
                    "body": "b",
                    "server": {"$secret": "relay"},
                },
            ),
            surroundings.context(),
        )
    assert result.output["message_id"].endswith("@other.example>")
    [mail] = server.mails
    assert mail.sender == "robot@other.example"
    assert read(mail)["From"] == "Robot <robot@other.example>"


def test_the_connection_is_kept_for_the_next_message():
    with MailServer() as server:
        for number in range(3):
            send(server, {"to": "a@example.com", "subject": f"number {number}", "body": "b"})
        connections = server.connections
        email.KEPT.close()
    assert connections == 1
    assert [read(mail)["Subject"] for mail in server.mails] == [
        "number 0",
        "number 1",
        "number 2",
    ]


def test_a_kept_connection_that_died_is_replaced():
    with MailServer() as server:
        send(server, {"to": "a@example.com", "subject": "first", "body": "b"})
        port = server.port
        [(_since, session)] = email.KEPT._idle[next(iter(email.KEPT._idle))]
        session._client.sock.close()
        send(server, {"to": "a@example.com", "subject": "second", "body": "b"})
        assert server.port == port
    assert [read(mail)["Subject"] for mail in server.mails] == ["first", "second"]
