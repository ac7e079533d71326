"""Reads Ansible inventories in INI form (pure).

Source: https://docs.ansible.com/ansible/latest/collections/ansible/builtin/ini_inventory.html
"""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from app.imports.findings import Bad, Findings
from app.imports.groups import UNGROUPED, Group, Inventory, expand_range, read_hosts
from app.imports.variables import Given
from tool_catalog.names import did_you_mean, suggest

_SECTION = re.compile(r"\[([^:\]\s]+)(?::([^\]\s]+))?\]\s*(?:[#;].*)?")
_HOST_PORT = re.compile(r"(.+?):([0-9]+)")
_RANGES = re.compile(r"\[[^\]]*\]")
_PARTS = ("hosts", "children", "vars")
_COMMENT = ("#", ";")
_LONGEST_LITERAL = 4096


def read_ini(text: str, findings: Findings) -> None:
    """Take in the hosts of a text; notes every fault with its line."""
    inventory = Inventory()
    reader = _Reader(inventory)
    for line, words in _lines(text):
        with findings.noting():
            reader.read(words, line)
    for name, line in reader.only_named.items():
        if name not in reader.defined:
            with findings.noting():
                _refuse_unknown(name, line, reader.defined)
    if not findings.faults:
        read_hosts(inventory, findings)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for line, words in enumerate(text.splitlines(), 1):
        if words.strip() and not words.strip().startswith(_COMMENT):
            yield line, words.strip()


def _refuse_unknown(name: str, line: int, defined: Mapping[str, Group]) -> None:
    near = did_you_mean(suggest(name, defined))
    message = f"no group {name[:80]!r} in this file{near}"
    raise Bad(line, "unknown_group", message, hint=f"[{name[:80]}] with its hosts would make it")


class _Reader:
    """Goes through the lines; a section that cannot be read swallows its lines."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._part: str | None = "hosts"
        self._group = inventory.group(UNGROUPED, 1)
        #: Groups with a section of hosts or children.
        self.defined = dict(inventory.groups)
        #: Groups that a section of variables, or a parent, names.
        self.only_named: dict[str, int] = {}

    def read(self, words: str, line: int) -> None:
        """One line; raises Bad."""
        section = _SECTION.fullmatch(words)
        if section is not None:
            self._begin(section[1], section[2] or "hosts", line)
        elif words.startswith("[") and words.endswith("]"):
            self._part = None
            hint = "[name], [name:children] or [name:vars], without blanks"
            raise Bad(line, "unknown_section", f"{words[:80]!r} is no section", hint=hint)
        elif self._part == "hosts":
            self._read_host(words, line)
        elif self._part == "children":
            name = words.split("#", maxsplit=1)[0].strip()
            self._group.children.setdefault(name, line)
            self.only_named.setdefault(name, line)
        elif self._part == "vars":
            self._read_variable(words, line)

    def _begin(self, name: str, part: str, line: int) -> None:
        self._part = None
        if part not in _PARTS:
            near = did_you_mean(suggest(part, _PARTS))
            raise Bad(line, "unknown_section", f"no section [{name[:80]}:{part[:80]}]{near}")
        self._group = self._inventory.group(name, line)
        self._part = part
        if part == "vars":
            self.only_named.setdefault(name, line)
        else:
            self.defined[name] = self._group

    def _read_host(self, words: str, line: int) -> None:
        try:
            pattern, *pairs = shlex.split(words, comments=True)
        except ValueError as error:
            raise Bad(line, "malformed", f"{error}: close the quotation mark") from None
        given = dict(_read_pair(pair, line) for pair in pairs)
        with_port = _HOST_PORT.fullmatch(pattern)
        if with_port is not None and not set(":[") & set(_RANGES.sub("", with_port[1])):
            pattern, port = with_port[1], with_port[2]
            given = {"ansible_port": Given(int(port[:9]), line), **given}
        for name in expand_range(pattern, line):
            self._inventory.add_host(name, line, given)
            self._group.hosts.setdefault(name, line)

    def _read_variable(self, words: str, line: int) -> None:
        name, equals, value = words.partition("=")
        if not equals:
            raise Bad(line, "malformed", f"{words[:40]!r} is no name=value")
        self._group.variables[name.strip()] = Given(_read_literal(value.strip()), line)


def _read_pair(pair: str, line: int) -> tuple[str, Given]:
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise Bad(line, "malformed", f"{pair[:40]!r} is no name=value")
    return name, Given(_read_literal(value), line)


def _read_literal(text: str) -> Any:  # noqa: ANN401  # any literal of Python
    """A value as Ansible reads it: a literal of Python, else text."""
    if len(text) > _LONGEST_LITERAL:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, str | int | float | bool | list | dict) else text
