"""What an asset may be called and may be (pure: plans, selectors and the inventory share it)."""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from app.http_connection import HttpConnection, read_http_connection
from app.winrm_connection import WinrmConnection, read_winrm_connection
from tool_catalog.addresses import is_hostname
from tool_catalog.names import did_you_mean, suggest

TYPES = (
    "server",
    "workstation",
    "router",
    "switch",
    "firewall",
    "camera",
    "printer",
    "storage",
    "vm",
    "container",
    "service",
    "other",
)
STATUSES = ("active", "maintenance", "retired")
CRITICALITIES = ("low", "medium", "high", "critical")

#: Fields that hold an object.
OBJECT_FIELDS = ("connection", "tags", "metadata")

#: How an asset may be reached; `local` is for the worker's own host alone.
CONNECTION_TYPES = ("ssh", "winrm", "http")

#: Connection type to the shape of its options, and what reads them.
_OPTIONS: Mapping[str, tuple[type, Callable[[Mapping[str, Any]], Any]]] = {
    "http": (HttpConnection, read_http_connection),
    "winrm": (WinrmConnection, read_winrm_connection),
}

#: Assets in these states are left out of every selection, and named.
RESTING_STATUSES = ("maintenance", "retired")

#: Means the worker's own host; no asset may take it.
RESERVED_NAMES = frozenset({"local", "localhost"})

MAX_TEXT_CHARS = 255
MAX_OBJECT_BYTES = 32 * 1024

_SECRET_KEY = re.compile(
    r"passw|passphrase|secret|token|private[_-]?key|api[_-]?key|community", re.IGNORECASE
)
_TAG_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,62}")


def normalise_hostname(text: str) -> str:
    """The one spelling of a host name: lower case (RFC 4343), no final dot; or ValueError."""
    name = text.strip().lower().removesuffix(".")
    if not is_hostname(name):
        raise ValueError(f"{text[:80]!r} is not a host name: letters, digits, '-' and dots")
    return name


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_tag_key(text: str) -> bool:
    """Whether it can name a tag: up to 63 letters, digits and `_ . : / -`."""
    return _TAG_KEY.fullmatch(text) is not None


def check_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an asset in their one spelling; raises ValueError naming every bad one."""
    checked: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in values.items():
        try:
            checked[name] = _CHECKS[name](value)
        except KeyError:
            faults.append(f"{name}: assets have no such field")
        except (ValueError, TypeError, RecursionError) as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return checked


def _check_hostname(value: str) -> str:
    name = normalise_hostname(value)
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} means the worker's own host; choose another name")
    return name


def _check_address(value: str) -> str:
    address = ipaddress.ip_address(value)
    if getattr(address, "scope_id", None):
        raise ValueError(f"{value!r}: an address without a zone")
    return str(address)


def _check_choice(choices: Sequence[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r}: one of {', '.join(choices)}")
        return value

    return check


def _check_text(value: str) -> str:
    if (
        not isinstance(value, str)
        or not value.isprintable()
        or not 0 < len(value) <= MAX_TEXT_CHARS
    ):
        raise ValueError(f"a text of 1 to {MAX_TEXT_CHARS} printable characters")
    return value


def _check_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in tags.items():
        if not is_tag_key(key):
            raise ValueError(f"{key[:80]!r} cannot name a tag: letters, digits and _ . : / -")
        if not isinstance(value, bool | int | float):
            _check_text(value)
    return _check_object(tags)


def _check_connection(connection: Mapping[str, Any]) -> dict[str, Any]:
    kind, port = connection.get("type", "ssh"), connection.get("port", 22)
    if kind not in CONNECTION_TYPES:
        raise ValueError(f"type {kind!r}: one of {', '.join(CONNECTION_TYPES)}")
    if type(port) is not int or not 0 < port < 65536:  # noqa: PLR2004  # ports have 16 bits
        raise ValueError("port: a number from 1 to 65535")
    for key in _all_keys(connection):
        if _SECRET_KEY.search(key):
            raise ValueError(f"{key!r} would lie open here: keep it as a credential of the asset")
    if kind in _OPTIONS:
        _check_options(kind, connection)
    return _check_object(connection)


def _check_options(kind: str, connection: Mapping[str, Any]) -> None:
    shape, read = _OPTIONS[kind]
    known = ("type", "address", "port", "user", *(option.name for option in fields(shape)))
    for key in connection:
        if key not in known:
            near = did_you_mean(suggest(key, known))
            raise ValueError(f"{key[:40]!r} is no option of type {kind}{near}")
    read(connection)


def _all_keys(value: Any) -> Iterator[str]:  # noqa: ANN401  # JSON
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _all_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _all_keys(inner)


def _check_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object that PostgreSQL's jsonb can hold: finite numbers, whole characters, no NUL."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if "\\u0000" in text or len(text.encode()) > MAX_OBJECT_BYTES:
        raise ValueError(f"at most {MAX_OBJECT_BYTES} bytes of JSON without NUL")
    return dict(value)


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "hostname": _check_hostname,
    "ip_address": _check_address,
    "type": _check_choice(TYPES),
    "status": _check_choice(STATUSES),
    "environment": _check_text,
    "criticality": _check_choice(CRITICALITIES),
    "os": _check_text,
    "connection": _check_connection,
    "tags": _check_tags,
    "metadata": _check_object,
}
