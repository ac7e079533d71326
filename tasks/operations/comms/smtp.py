"""The mail server's side of sendmail: where it is, how to log in, one transaction (RFC 5321)."""

import json
import re
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.config import Settings
from app.errors import StepError
from app.step import Secret
from tool_catalog.model import Reason

TIMEOUT_S = 10.0
#: After the final dot the server files the message: cutting it short makes the outcome unknown.
FINAL_REPLY_S = 30.0
IMPLICIT_TLS_PORT = 465
START_DATA = 354
#: What SMTP_USE_TLS may say, and what it means.
TLS_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("starttls", "true", "1", "yes", "on"), "starttls"),
    **dict.fromkeys(("implicit", "ssl"), "implicit"),
    **dict.fromkeys(("off", "false", "0", "no"), "off"),
}
NO_SERVER = (
    "no mail server is configured: set SMTP_HOST on the comms workers, or store "
    '{"host": ..., "port": ..., "user": ..., "password": ..., "use_tls": ..., "from": ...} as a '
    "secret and give server: {$secret: NAME}"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server and the login it wants."""

    host: str
    port: int
    #: "starttls", "implicit" or "off".
    tls: str
    user: str
    password: Secret
    #: The address that mail comes from.
    sender: str
    ca_file: Path | None = None
    #: What we call ourselves in EHLO.
    local_name: str = "localhost"


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


def find_server(settings: Settings, secret: Secret | None) -> Server:
    """The server that a secret describes (JSON), else that of the settings; raises StepError."""
    given: Mapping[str, Any] = {
        "host": settings.smtp_host,
        "port": settings.smtp_port,
        "user": settings.smtp_user,
        "password": settings.smtp_password.get_secret_value(),
        "use_tls": settings.smtp_use_tls,
        "from": settings.smtp_from,
    }
    if secret is not None:
        given = _read_secret(secret)
    host, user = str(given.get("host") or ""), str(given.get("user") or "")
    sender = str(given.get("from") or (user if "@" in user else ""))
    if not host:
        raise StepError(Reason.INVALID_PARAMETER, NO_SERVER)
    if not sender:
        raise StepError(
            Reason.INVALID_PARAMETER, "no sender is configured: set SMTP_FROM (or `from` there)"
        )
    port = _read_port(given.get("port", 587))
    return Server(
        host=host,
        port=port,
        tls=_read_tls(str(given.get("use_tls", "starttls")), port),
        user=user,
        password=Secret(str(given.get("password") or "")),
        sender=sender,
        ca_file=settings.smtp_ca_file,
        local_name=settings.host,
    )


def _read_secret(secret: Secret) -> Mapping[str, Any]:
    try:
        given = json.loads(secret.reveal())
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise StepError(
            Reason.INVALID_PARAMETER, "the secret of `server` must hold a JSON object with host"
        )
    return given


def _read_port(given: object) -> int:
    text = str(given)
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:  # noqa: PLR2004  # TCP ports
        return int(text)
    raise StepError(Reason.INVALID_PARAMETER, "the mail server's port must be 1 to 65535")


def _read_tls(word: str, port: int) -> str:
    tls = TLS_WORDS.get(word.strip().lower())
    if tls is None:
        raise StepError(
            Reason.INVALID_PARAMETER, "SMTP_USE_TLS must be starttls (or true), implicit, or off"
        )
    return "implicit" if tls == "starttls" and port == IMPLICIT_TLS_PORT else tls


class Session:
    """A logged-in connection. Every method raises StepError; `transient` when a retry may help."""

    def __init__(self, server: Server) -> None:
        self._server = server
        with _mapped(server):
            self._client = _connect(server)
        try:
            with _mapped(server):
                self._log_in()
        except BaseException:
            self._client.close()
            raise

    def is_alive(self) -> bool:
        """Whether the server still answers."""
        try:
            return bool(self._client.noop()[0] == 250)  # noqa: PLR2004  # "ok" of RFC 5321
        except (smtplib.SMTPException, OSError):
            self._client.close()
            return False

    def offer(self, recipients: Sequence[str], size: int) -> dict[str, Reply]:
        """Begin a transaction: the server's reply to each recipient."""
        with _mapped(self._server):
            self._client.rset()
            self._offer_sender(size)
            return {name: _reply(*self._client.rcpt(name)) for name in recipients}

    def transmit(self, content: bytes) -> Reply:
        """Send the message to the recipients accepted before; the server's word on it.

        Raises StepError with `sent` when the connection was lost after the final dot: only then
        may the message be on its way.
        """
        with _mapped(self._server):
            code, text = self._client.docmd("DATA")
            if code != START_DATA:
                return _reply(code, text)
            # RFC 5321 4.5.2: a leading dot is doubled; a dot alone ends the message.
            self._client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
        try:
            if self._client.sock is not None:
                self._client.sock.settimeout(FINAL_REPLY_S)
            reply = _reply(*self._client.getreply())
            if self._client.sock is not None:
                self._client.sock.settimeout(TIMEOUT_S)
        except (smtplib.SMTPException, OSError):
            message = f"{self._server.host} took the message but did not confirm it"
            raise StepError(Reason.UNREACHABLE, message, transient=True, sent=True) from None
        return reply

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


def _connect(server: Server) -> smtplib.SMTP:
    if server.tls == "implicit":
        return smtplib.SMTP_SSL(
            server.host,
            server.port,
            local_hostname=server.local_name,
            timeout=TIMEOUT_S,
            context=_tls_context(server.ca_file),
        )
    return smtplib.SMTP(
        server.host, server.port, local_hostname=server.local_name, timeout=TIMEOUT_S
    )


@lru_cache(maxsize=8)
def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


@contextmanager
def _mapped(server: Server) -> Iterator[None]:
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
