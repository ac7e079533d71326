"""How a Windows host is reached by WinRM: the options of its `connection` (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from app.http_connection import read_http_connection

#: How one logs in. Over http NTLM seals every message; basic would show the password.
Transport = Literal["ntlm", "basic"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
DEFAULT_PORTS: Mapping[str, int] = {"https": 5986, "http": 5985}

_SHARED = ("scheme", "verify_tls", "ca")


@dataclass(frozen=True, slots=True)
class WinrmConnection:
    """Where requests to a host go, how its certificate is judged, how one logs in."""

    scheme: str = "https"
    #: False: any certificate is taken.
    verify_tls: bool = True
    #: PEM of the authorities that the certificate is checked with, in place of the public ones.
    ca: str | None = None
    transport: Transport = "ntlm"


def read_winrm_connection(options: Mapping[str, Any]) -> WinrmConnection:
    """The options of a `connection` of type winrm; raises ValueError naming the bad one."""
    shared = read_http_connection({name: options[name] for name in _SHARED if name in options})
    transport = options.get("transport", "ntlm")
    if transport not in TRANSPORTS:
        raise ValueError(f"transport: {str(transport)[:40]!r}: one of {', '.join(TRANSPORTS)}")
    if (shared.scheme, transport) == ("http", "basic"):
        raise ValueError("transport: basic needs scheme https; http would show the password to all")
    return WinrmConnection(shared.scheme, shared.verify_tls, shared.ca, transport)
