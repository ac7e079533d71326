"""Ansible's groups, and the hosts that come of them: ranges, children, inherited variables (pure).

Source: https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html
"""

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from app.asset import is_address, is_tag_key
from app.imports.findings import MAX_ASSETS, Bad, Findings
from app.imports.variables import Given, read_variables
from tool_catalog.names import did_you_mean, suggest

#: Groups that Ansible makes itself: they say nothing about a host.
ALL, UNGROUPED = "all", "ungrouped"
#: A group becomes this tag with its name, true on each of its hosts.
GROUP_TAG = "group."

_RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")


@dataclass(slots=True)
class Group:
    """A group as the file has it; what stands there twice is one."""

    hosts: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Given] = field(default_factory=dict)
    #: Names of children, each with the line that names it.
    children: dict[str, int] = field(default_factory=dict)


@dataclass
class Inventory:
    """Hosts and groups before anything is inherited."""

    groups: dict[str, Group] = field(default_factory=lambda: {ALL: Group(), UNGROUPED: Group()})
    #: Each host with its first line.
    hosts: dict[str, int] = field(default_factory=dict)
    variables: dict[str, dict[str, Given]] = field(default_factory=dict)

    def group(self, name: str, line: int) -> Group:
        """The group of that name, made where it is new; raises Bad for what names none."""
        if not is_tag_key(GROUP_TAG + name):
            hint = "letters, digits and _ . : / -, at most 57"
            raise Bad(line, "bad_value", f"{name[:80]!r} cannot name a group", hint=hint)
        return self.groups.setdefault(name, Group())

    def add_host(self, name: str, line: int, given: Mapping[str, Given]) -> None:
        """A host's line; the same again may add, not contradict. Raises Bad."""
        if len(self.hosts) >= MAX_ASSETS and name not in self.hosts:
            raise Bad(line, "too_many", f"more than {MAX_ASSETS} hosts; import them in parts")
        self.hosts.setdefault(name, line)
        known = self.variables.setdefault(name, {})
        for key, each in given.items():
            if key in known and known[key].value != each.value:
                first = f"{name}: {key} has another value in line {known[key].line}"
                raise Bad(each.line, "duplicate", first, hint="keep one of them")
            known.setdefault(key, each)


def expand_range(pattern: str, line: int) -> Iterator[str]:
    """The names that `web[01:10].example.com` stands for; raises Bad."""
    found = _RANGE.search(pattern)
    if found is None and is_address(pattern.strip("[]")):
        yield pattern.strip("[]")
        return
    if found is None:
        if set(pattern) & set("[]*?"):
            hint = "a range is written web[01:10] or db-[a:c]"
            raise Bad(line, "bad_value", f"{pattern[:80]!r} is no host or range", hint=hint)
        yield pattern
        return
    for item in _items(found, line):
        yield from expand_range(pattern[: found.start()] + item + pattern[found.end() :], line)


def _items(found: re.Match[str], line: int) -> list[str]:
    low, high, step = found[1], found[2], int(found[3] or 1)
    if low.isdecimal() and high.isdecimal():
        padded = low.startswith("0") and len(low) > 1
        if padded and len(low) != len(high):
            raise Bad(line, "bad_value", f"{found[0]}: both ends must have the same width")
        ends, width = (int(low[:9]), int(high[:9])), len(low) if padded else 0
        names = [str(number).zfill(width) for number in _span(*ends, step)]
    elif low.isalpha() and high.isalpha():
        letters = string.ascii_letters
        names = [letters[place] for place in _span(letters.index(low), letters.index(high), step)]
    else:
        raise Bad(line, "bad_value", f"{found[0]}: from a number to a letter")
    if not names:
        raise Bad(line, "bad_value", f"{found[0]} is empty: its end lies before its begin")
    return names


def _span(low: int, high: int, step: int) -> range:
    """At most one more than may be imported: the count is judged by whoever takes them in."""
    return range(low, min(high, low + MAX_ASSETS * max(step, 1)) + 1, max(step, 1))


def read_hosts(inventory: Inventory, findings: Findings) -> None:
    """Make drafts of all hosts; notes every fault."""
    noted = len(findings.faults)
    for group in inventory.groups.values():
        for child, line in group.children.items():
            with findings.noting():
                _check_child(inventory, child, line)
    if len(findings.faults) > noted:
        return
    with findings.noting():
        tree = _Tree(inventory)
        for host, line in inventory.hosts.items():
            with findings.noting():
                fields = read_variables(host, line, tree.variables_of(host), findings)
                if fields is not None:
                    tags = {GROUP_TAG + name: True for name in tree.groups_of(host)}
                    findings.add(host, fields | ({"tags": tags} if tags else {}), line)


def _check_child(inventory: Inventory, child: str, line: int) -> None:
    if child not in inventory.groups:
        near = did_you_mean(suggest(child, inventory.groups))
        raise Bad(line, "unknown_group", f"no group {child[:80]!r} in this file{near}")


def _parents_first(inventory: Inventory) -> list[str]:
    """Every group behind those that it inherits from; raises Bad for groups in a circle."""
    children = {name: group.children for name, group in inventory.groups.items()}
    try:
        return list(TopologicalSorter(children).static_order())[::-1]
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        line = inventory.groups[circle[-2]].children[circle[-1]]
        raise Bad(line, "cycle", f"groups in a circle: {' > '.join(circle)}") from None


class _Tree:
    """Who inherits from whom."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        #: How far below the top: a child's variables go before its parents'.
        self._depth = dict.fromkeys(inventory.groups, 0)
        self._parents: dict[str, list[str]] = {}
        self._direct: dict[str, list[str]] = {}
        for name in _parents_first(inventory):
            group = inventory.groups[name]
            for child in group.children:
                self._parents.setdefault(child, []).append(name)
                self._depth[child] = max(self._depth[child], self._depth[name] + 1)
            for host in group.hosts:
                self._direct.setdefault(host, []).append(name)

    def groups_of(self, host: str) -> list[str]:
        """Its groups and theirs, without those that Ansible makes itself."""
        return sorted(self._above(host) - {ALL, UNGROUPED})

    def variables_of(self, host: str) -> dict[str, Given]:
        """All groups', the farthest first, in the order of their names; then the host's own."""
        above = sorted(self._above(host) - {ALL}, key=lambda name: (self._depth[name], name))
        merged: dict[str, Given] = {}
        for name in (ALL, *above):
            merged |= self._inventory.groups[name].variables
        return merged | self._inventory.variables.get(host, {})

    def _above(self, host: str) -> set[str]:
        found: set[str] = set()
        waiting = list(self._direct.get(host, ()))
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._parents.get(name, ())
        return found
