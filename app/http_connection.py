"""How an asset is reached by HTTP: the options of its `connection` (pure)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tool_catalog.addresses import is_hostname

#: `auto` answers the challenge of the server: digest, or basic where TLS hides it.
LOGINS = ("auto", "basic", "digest", "bearer")
DEFAULT_PORTS: Mapping[str, int] = {"https": 443, "http": 80}

_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~%-]+)*/?")
_PEM = re.compile(
    r"\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+"
)
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{2}(?::?[0-9a-fA-F]{2}){31}")


@dataclass(frozen=True, slots=True)
class HttpConnection:
    """Where requests to an asset go, how its certificate is judged, how one logs in."""

    scheme: str = "https"
    #: Comes before the path of every request; no slash at its end.
    base_path: str = ""
    #: The name that the server goes by, where that is not the address.
    server_name: str | None = None
    #: False: any certificate is taken.
    verify_tls: bool = True
    #: PEM of the authorities that the certificate is checked with, in place of the public ones.
    ca: str | None = None
    #: SHA-256 of the certificate in hex: exactly this one is taken.
    fingerprint: str | None = None
    login: str = "auto"


def read_http_connection(options: Mapping[str, Any]) -> HttpConnection:
    """The options of a `connection` of type http; raises ValueError naming the bad one.

    Options that HTTP does not know are left to whoever does.
    """
    known = {name: check(options[name]) for name, check in _CHECKS.items() if name in options}
    connection = HttpConnection(**known)
    judged_by = [str(name) for name in ("ca", "fingerprint") if name in known]
    if not connection.verify_tls:
        judged_by.append("verify_tls: false")
    if len(judged_by) > 1:
        raise ValueError(f"{' and '.join(judged_by)}: a certificate is judged in one way; keep one")
    if judged_by and connection.scheme == "http":
        raise ValueError(f"{judged_by[0]}: there is no certificate with scheme http")
    return connection


def _choice(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:  # noqa: ANN401  # any JSON value
        if value not in choices:
            raise ValueError(f"{str(value)[:40]!r}: one of {', '.join(choices)}")
        return str(value)

    return check


def _text(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:  # noqa: ANN401  # any JSON value
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"must be {what}")
        return value

    return check


def _boolean(value: Any) -> bool:  # noqa: ANN401  # any JSON value
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _base_path(value: Any) -> str:  # noqa: ANN401  # any JSON value
    path = _text(_BASE_PATH, 'a path such as "/prometheus"')(value).rstrip("/")
    if {".", ".."} & set(path.split("/")):
        raise ValueError("a path without . and ..")
    return path


def _server_name(value: Any) -> str:  # noqa: ANN401  # any JSON value
    if not isinstance(value, str) or not is_hostname(value):
        raise ValueError("must be a host name")
    return value


def _fingerprint(value: Any) -> str:  # noqa: ANN401  # any JSON value
    text = _text(_FINGERPRINT, "the SHA-256 of the certificate: 64 hex digits")(value)
    return text.replace(":", "").lower()


def _named(name: str, check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def named(value: Any) -> Any:  # noqa: ANN401  # any JSON value
        try:
            return check(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None

    return named


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    name: _named(name, check)
    for name, check in {
        "scheme": _choice(*DEFAULT_PORTS),
        "base_path": _base_path,
        "server_name": _server_name,
        "verify_tls": _boolean,
        "ca": _text(_PEM, "one certificate or more in PEM"),
        "fingerprint": _fingerprint,
        "login": _choice(*LOGINS),
    }.items()
}
