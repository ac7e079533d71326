"""What an asset may be called and may be (pure: plans, selectors and the inventory share it)."""

import ipaddress
import re

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

#: Assets in these states are left out of every selection, and named.
RESTING_STATUSES = ("maintenance", "retired")

#: Means the worker's own host; no asset may take it.
RESERVED_NAMES = frozenset({"local", "localhost"})

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_TAG_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,62}")


def normalise_hostname(text: str) -> str:
    """The one spelling of a host name: lower case (RFC 4343), no final dot.

    Raises ValueError with what is wrong; underscores pass, as inventories use them.
    """
    name = text.strip().lower().rstrip(".")
    if not _HOSTNAME.fullmatch(name):
        raise ValueError(f"{text[:80]!r} is not a host name: letters, digits, '-', '_' and '.'")
    if name.isdigit():
        raise ValueError(f"the host name {name[:80]!r} would be taken for an asset id")
    if is_address(name):
        raise ValueError(f"{name!r} is an address: put it in ip_address")
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
