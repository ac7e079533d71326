"""Reads hosts from an SSH client's configuration (pure).

Source: ssh_config(5): for each keyword the first value that applies is the one that counts.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from app.asset import is_address
from app.imports.findings import Bad, Findings, check_host, check_port

_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*")
_PATTERN = re.compile(r"[*?!]")
#: What says something about reaching a host that an asset cannot keep.
_NOTED = {
    "proxyjump": "a jump host is not served: workers must reach it directly",
    "proxycommand": "a proxy command is not served: workers must reach it directly",
    "identityfile": "the key is not read; 'opsfarm credentials add NAME --asset {host} --user "
    "{user} --private-key FILE' keeps it",
}


@dataclass(slots=True)
class _Block:
    """Keywords under one `Host` line; those at the top of a file are for every host."""

    patterns: tuple[str, ...]
    line: int
    #: Keyword in lower case to (value, line); the first counts.
    given: dict[str, tuple[str, int]] = field(default_factory=dict)

    def fits(self, host: str) -> bool:
        """Whether it applies: a pattern matches, and none with `!` does."""
        if any(fnmatchcase(host, each[1:]) for each in self.patterns if each.startswith("!")):
            return False
        return any(fnmatchcase(host, each) for each in self.patterns)


def read_ssh_config(text: str, findings: Findings) -> None:
    """Take in every host that is named without a pattern; notes every fault."""
    blocks: list[_Block] = []
    with findings.noting():
        blocks = list(_read_blocks(text, findings))
    named: dict[str, int] = {}
    for block in blocks:
        for name in block.patterns:
            if not _PATTERN.search(name):
                named.setdefault(name, block.line)
    for name, line in named.items():
        with findings.noting():
            _read_host(name, line, blocks, findings)


def _read_blocks(text: str, findings: Findings) -> Iterator[_Block]:
    block: _Block | None = _Block(("*",), 1)
    for line, keyword, value in _lines(text):
        if keyword in {"host", "match"} and block is not None:
            yield block
        if keyword == "host":
            block = _Block(tuple(_words(value, line)), line)
        elif keyword == "match":
            findings.note(line, "Match is left out, with what stands below it")
            block = None
        elif keyword == "include":
            findings.note(line, f"Include is not followed: import {value[:80]} by itself")
        elif block is not None:
            block.given.setdefault(keyword, (value, line))
    if block is not None:
        yield block


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for line, words in enumerate(text.splitlines(), 1):
        if not words.strip() or words.strip().startswith("#"):
            continue
        found = _LINE.fullmatch(words)
        if found is None or not found[2]:
            raise Bad(line, "malformed", f"{words.strip()[:40]!r} is no keyword with a value")
        yield line, found[1].lower(), found[2]


def _words(value: str, line: int) -> Sequence[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError:
        raise Bad(line, "malformed", "close the quotation mark") from None


def _read_host(name: str, line: int, blocks: Sequence[_Block], findings: Findings) -> None:
    given: dict[str, tuple[str, int]] = {}
    for block in blocks:
        if block.fits(name):
            given = block.given | given
    connection: dict[str, Any] = {}
    fields = _read_address(name, line, given, connection)
    if "port" in given:
        connection["port"] = check_port(*_one(given["port"]))
    if "user" in given:
        connection["user"] = _one(given["user"])[0]
    for keyword, words in _NOTED.items():
        value, at = given.get(keyword, ("none", line))
        if value.lower() != "none":
            user = connection.get("user", "USER")
            findings.note(at, f"{name}: {words.format(host=name, user=user)}")
    findings.add(name, fields | ({"connection": connection} if connection else {}), line)


def _read_address(
    name: str, line: int, given: Mapping[str, tuple[str, int]], connection: dict[str, Any]
) -> dict[str, Any]:
    """The asset's ip_address, or the name to connect to as `connection.address`."""
    if is_address(name):
        hint = f"write e.g. Host web-01 and below it HostName {name}"
        raise Bad(line, "bad_value", f"{name} is an address, and an asset needs a name", hint=hint)
    if "hostname" not in given:
        return {}
    value, at = _one(given["hostname"])
    text = value.replace("%%", "%").replace("%h", name)
    if is_address(text):
        return {"ip_address": text}
    host = check_host(text, at)
    if host != name.lower():
        connection["address"] = host
    return {}


def _one(given: tuple[str, int]) -> tuple[str, int]:
    """A keyword's only value, without quotation marks."""
    value, line = given
    words = _words(value, line)
    if len(words) != 1:
        raise Bad(line, "malformed", f"{value[:40]!r}: one value is wanted")
    return words[0], line
