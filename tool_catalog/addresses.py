"""Hosts, networks, ports and addresses: one value in, the normalised value out, or BadValue."""

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from tool_catalog.model import Parameter, ParameterType
from tool_catalog.scalars import MAX_SHORT, BadValue, bound, read_integer, read_line

MAX_PORT = 65535
#: RFC 1035 section 2.3.4.
MAX_HOSTNAME = 253
#: RFC 5321 section 4.5.3.1.3, without the angle brackets.
MAX_EMAIL = 254

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SCOPE = re.compile(r"[^%]*(?:%[A-Za-z0-9_.-]{1,15})?")
#: At most 15 characters: IFNAMSIZ - 1 of the Linux kernel.
_INTERFACE = re.compile(r"(?!\.\.?$)[A-Za-z0-9_.:@][A-Za-z0-9_.:@-]{0,14}")
_PORTS = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
#: RFC 5321 section 4.1.2, dot-string form only.
_MAILBOX = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}", re.ASCII)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_ANY_INTEGER = Parameter(type=ParameterType.INTEGER)


def is_hostname(name: str) -> bool:
    """RFC 1123 section 2.1; a last label of digits only would be an address (RFC 3696)."""
    labels = name.split(".")
    long = len(name) > 253  # noqa: PLR2004  # RFC 1035 section 2.3.4
    return not long and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def read_hostname(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A host name in lower case, without the dot of the root."""
    name = read_line(value, parameter).removesuffix(".").lower()
    if not is_hostname(name):
        raise BadValue("bad_format", "is not a host name: letters, digits, '-' and dots")
    return name


def read_ip(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """An IPv4 or IPv6 address in its shortest form."""
    text = read_line(value, parameter, MAX_SHORT)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadValue("bad_format", "is not an IPv4 or IPv6 address") from None
    if not _SCOPE.fullmatch(text):
        raise BadValue("bad_format", "has a zone that is no interface name")
    return str(address)


def read_cidr(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A network; an address alone is a network of one. `min` and `max` count addresses."""
    text = read_line(value, parameter, MAX_SHORT)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadValue("bad_format", "is not a network, such as 192.0.2.0/24") from None
    if network.network_address != ipaddress.ip_interface(text).ip:
        hint = f"did you mean {str(network)!r}?"
        raise BadValue("bad_format", "has bits set behind the prefix", hint=hint)
    bound(parameter, network.num_addresses, unit=" addresses")
    return str(network)


def read_host(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A host name or an IP address."""
    text = read_line(value, parameter)
    try:
        return read_ip(parameter, text)
    except BadValue:
        pass
    try:
        return read_hostname(parameter, text)
    except BadValue:
        raise BadValue("bad_format", "is neither a host name nor an IP address") from None


def read_port(_parameter: Parameter, value: Any) -> int:  # noqa: ANN401  # any JSON value
    """A port number."""
    port = read_integer(_ANY_INTEGER, value)
    if not 1 <= port <= MAX_PORT:
        raise BadValue("out_of_range", f"must be 1 to {MAX_PORT}")
    return port


def read_port_range(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Ports and ranges as one text, such as "22,80,8000-8100"."""
    text = str(value) if type(value) is int else value
    text = read_line(text, parameter, MAX_SHORT).replace(" ", "")
    if not _PORTS.fullmatch(text):
        raise BadValue("bad_format", "must be ports and ranges, such as 22,80,8000-8100")
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    for ends in parts:
        if ends != sorted(ends) or not all(1 <= port <= MAX_PORT for port in ends):
            raise BadValue("out_of_range", f"holds a range that is not within 1 to {MAX_PORT}")
    return ",".join("-".join(map(str, ends)) for ends in parts)


def read_url(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """An http or https URL without a login in it."""
    text = read_line(value, parameter)
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise BadValue("bad_format", "is not an URL") from None
    if parts.scheme not in {"http", "https"} or not host or re.search(r"[\s\\]", text):
        raise BadValue("bad_format", "must be an http or https URL")
    if "@" in parts.netloc:
        raise BadValue("bad_format", "must not hold a login; give it as a secret")
    return text


def read_email(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """An address alone, without a display name."""
    text = read_line(value, parameter, 254)
    local, _at, domain = text.rpartition("@")
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    if dots or not _MAILBOX.fullmatch(local) or not is_hostname(domain):
        raise BadValue("bad_format", "is not an e-mail address, such as ops@example.com")
    return text


def read_interface(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """The name of a network interface."""
    name = read_line(value, parameter)
    if not _INTERFACE.fullmatch(name):
        raise BadValue("bad_format", "is not an interface name of at most 15 characters")
    return name


def read_bpf(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A packet filter as one argument; whether it compiles is for the tool to say."""
    expression = read_line(value, parameter, MAX_SHORT)
    if not _PRINTABLE.fullmatch(expression):
        raise BadValue("bad_format", "may hold only printable ASCII characters")
    return expression
