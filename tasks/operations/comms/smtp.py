"""The mail server's side of sendmail: log in, hand over one message at a time (RFC 5321)."""

import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.errors import StepError, Stopped
from tasks.operations.comms.mail_server import Server
from tasks.operations.comms.smtp_client import TIMEOUT_S, Client, TlsClient
from tasks.runners.base import StepControl
from tool_catalog.model import Reason

#: Longer than any other wait: after the final dot the server scans and files the message, and
#: who hangs up then does not know the outcome and sends it again. RFC 5321 section 4.5.3.2.6 asks
#: for 10 minutes; a step's own time is shorter, and is kept.
FINAL_REPLY_S = 30.0
#: A message is sent in blocks of this size: between two of them the step may be stopped.
BLOCK_BYTES = 64 * 1024
START_DATA = 354


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said of one recipient; code 0 when it said nothing."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300  # noqa: PLR2004  # the class of RFC 5321

    @property
    def permanent(self) -> bool:
        """5xx: the same again will be refused again."""
        return self.code >= 500  # noqa: PLR2004  # the class of RFC 5321


class Session:
    """A logged-in connection. Every method raises StepError; `transient` when a retry may help."""

    def __init__(self, server: Server, control: StepControl) -> None:
        self._server = server
        with _mapped(server, control):
            self._client = _connect(server, control)
        try:
            with self._mapped():
                self._log_in()
        except BaseException:
            self._client.close()
            raise

    def serve(self, control: StepControl) -> None:
        """Belong to another step: its time counts from now on."""
        self._client.control = control

    def is_alive(self) -> bool:
        """Whether the server still answers."""
        try:
            return bool(self._client.noop()[0] == 250)  # noqa: PLR2004  # "ok" of RFC 5321
        except (smtplib.SMTPException, OSError):
            self._client.close()
            return False

    def begin(self, size: int) -> None:
        """Begin a transaction for a message of so many bytes."""
        with self._mapped():
            self._client.rset()
            self._offer_sender(size)

    def offer(self, recipient: str) -> Reply:
        """The server's reply to one recipient."""
        with self._mapped():
            return _reply(*self._client.rcpt(recipient))

    def transmit(self, content: bytes, look: Callable[[], None]) -> Reply:
        """Send the message to the recipients accepted before; the server's word on it.

        `look` is called before each block and raises to stop; an unfinished message is dropped by
        the server. Raises StepError with `sent` when the connection was lost after the final dot:
        only then may the message be on its way.
        """
        # RFC 5321 4.5.2: a leading dot is doubled; a dot alone ends the message.
        stuffed = re.sub(rb"(?m)^\.", b"..", content)
        with self._mapped():
            code, text = self._client.docmd("DATA")
            if code != START_DATA:
                return _reply(code, text)
            for start in range(0, len(stuffed), BLOCK_BYTES):
                look()
                self._client.send(stuffed[start : start + BLOCK_BYTES])
            look()
            self._client.send(b".\r\n")
        return self._confirm()

    def _confirm(self) -> Reply:
        try:
            self._client.patience_s = FINAL_REPLY_S
            return _reply(*self._client.getreply())
        except Stopped:
            message = f"stopped before {self._server.host} had confirmed the message"
            raise Stopped(message, verified=False) from None
        except (smtplib.SMTPException, OSError):
            message = f"{self._server.host} took the message but did not confirm it"
            raise StepError(Reason.UNREACHABLE, message, transient=True, sent=True) from None
        finally:
            self._client.patience_s = TIMEOUT_S

    def _mapped(self) -> AbstractContextManager[None]:
        return _mapped(self._server, self._client.control)

    def drop(self) -> None:
        """Hang up in the middle: a goodbye would be read as a line of the message."""
        self._client.close()

    def close(self) -> None:
        """Say goodbye, if anyone listens."""
        try:
            self._client.quit()
        except (smtplib.SMTPException, OSError):
            self._client.close()

    def _log_in(self) -> None:
        server = self._server
        self._client.ehlo()
        if server.tls == "starttls":
            self._client.starttls(context=_tls_context(server.ca_file))
            self._client.ehlo()
        if server.user and server.tls == "off":
            raise StepError(
                Reason.INVALID_PARAMETER,
                f"a login to {server.host} would travel unencrypted: set SMTP_USE_TLS",
            )
        if server.user:
            self._client.login(server.user, server.password.reveal())

    def _offer_sender(self, size: int) -> None:
        limit = self._client.esmtp_features.get("size", "").strip()
        if limit.isdigit() and 0 < int(limit) < size:
            raise StepError(
                Reason.INVALID_PARAMETER,
                f"the message has {size} bytes and {self._server.host} takes {limit}",
            )
        options = [f"SIZE={size}"] if self._client.has_extn("size") else []
        reply = _reply(*self._client.mail(_address(self._server.sender), options))
        if not reply.accepted:
            needs_login = reply.code in {530, 535}
            raise StepError(
                Reason.AUTH_FAILED if needs_login else Reason.REFUSED_BY_DEVICE,
                f"{self._server.host} refused the sender {self._server.sender}: "
                f"{reply.code} {reply.text}",
                transient=not reply.permanent,
            )


def _connect(server: Server, control: StepControl) -> Client:
    named = {"local_hostname": server.local_name}
    if server.tls == "implicit":
        context = _tls_context(server.ca_file)
        return TlsClient(control, server.host, server.port, context=context, **named)
    return Client(control, server.host, server.port, **named)


@lru_cache(maxsize=8)
def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


@contextmanager
def _mapped(server: Server, control: StepControl) -> Iterator[None]:
    """Library errors as StepError, told apart by what an operator can do about them."""
    name = f"{server.host} port {server.port}"
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        reply = _reply(error.smtp_code, error.smtp_error)
        raise StepError(
            Reason.AUTH_FAILED,
            f"{name} refused the login of {server.user}: {reply.code} {reply.text}",
            transient=not reply.permanent,
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise StepError(Reason.REFUSED_BY_DEVICE, _what_is_missing(server, name)) from None
    except smtplib.SMTPResponseException as error:
        reply = _reply(error.smtp_code, error.smtp_error)
        raise StepError(
            Reason.REFUSED_BY_DEVICE,
            f"{name} answered {reply.code} {reply.text}",
            transient=not reply.permanent,
        ) from None
    except ssl.SSLCertVerificationError as error:
        message = f"the certificate of {name} is not valid: {error.verify_message}"
        raise StepError(Reason.UNREACHABLE, message) from None
    except ssl.SSLError as error:
        message = f"no TLS with {name} ({error.reason}): is SMTP_USE_TLS={server.tls} right?"
        raise StepError(Reason.UNREACHABLE, message) from None
    except OSError as error:  # smtplib.SMTPException among them
        if not control.seconds_left:
            message = f"{name} did not answer within the time of the step"
            raise StepError(Reason.TIMEOUT, message) from None
        detail = "timed out" if "timed out" in str(error) else error.strerror or "it hung up"
        hint = "" if server.tls == "implicit" else "; a server with implicit TLS waits like this"
        message = f"no conversation with {name}: {detail}{hint if detail == 'timed out' else ''}"
        raise StepError(Reason.UNREACHABLE, message, transient=True) from None


def _what_is_missing(server: Server, name: str) -> str:
    if server.tls == "starttls":
        return f"{name} offers no STARTTLS or no login after it: nothing was sent"
    return f"{name} offers no login"


def _reply(code: int, text: bytes | str) -> Reply:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return Reply(code, " ".join(shown.replace("\0", " ").split())[:300])


def _address(sender: str) -> str:
    """The bare address of "Name <address>"."""
    return sender.rpartition("<")[2].rstrip("> ").strip()
