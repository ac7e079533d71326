"""Which mail server sendmail talks to, as settings or a secret describe it (pure)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config import Settings
from app.errors import StepError
from app.step import Secret
from tool_catalog.model import Reason

IMPLICIT_TLS_PORT = 465
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
