"""Reads Ansible inventories in YAML, and what `ansible-inventory --list` prints (pure).

They are YAML 1.1 with tags, anchors and merges, so the strict reader of plans does not serve.
Source: https://docs.ansible.com/ansible/latest/collections/ansible/builtin/yaml_inventory.html
"""

from collections.abc import Iterator
from typing import Any

import yaml

from app.imports.findings import MAX_ASSETS, Bad, Findings
from app.imports.groups import Group, Inventory, expand_range, read_hosts
from app.imports.variables import VAULT, Given
from tool_catalog.names import did_you_mean, suggest

# libyaml's parser, where PyYAML was built with it, is about ten times as fast as the Python one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_KEYS = ("hosts", "vars", "children")
#: Where `ansible-inventory --list` keeps the variables of hosts.
_META = "_meta"
_MAX_DEPTH = 50
#: Aliases may name a part many times over: how much one file may come to.
_MAX_NODES = 100 * MAX_ASSETS


def read_yaml(text: str, findings: Findings) -> None:
    """Take in the hosts of a text; notes every fault with its line."""
    with findings.noting():
        inventory = Inventory()
        _Reader(inventory, findings).read(_compose(text))
        if not findings.faults:
            read_hosts(inventory, findings)


def _compose(text: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise Bad(line, "malformed", str(error.problem or error.context)) from None
    except yaml.YAMLError:
        raise Bad(1, "malformed", "a control character that text may not hold") from None
    if node is None:
        raise Bad(1, "malformed", "the file is empty")
    return node


class _Reader:
    """Goes through the nodes of a document."""

    def __init__(self, inventory: Inventory, findings: Findings) -> None:
        self._inventory = inventory
        self._findings = findings
        self._nodes_left = _MAX_NODES
        self._scalars = yaml.constructor.SafeConstructor()
        #: Children without a body, which must be defined elsewhere.
        self._only_named: dict[str, int] = {}

    def read(self, document: yaml.Node) -> None:
        """Groups at the top; raises Bad where nothing can be read."""
        for name, line, node in self._members(document):
            if name == _META:
                self._read_meta(node)
            else:
                self._read_group(name, line, node, _MAX_DEPTH)
        for name, line in self._only_named.items():
            if name not in self._inventory.groups:
                near = did_you_mean(suggest(name, self._inventory.groups))
                message = f"no group {name[:80]!r} in this file{near}"
                hint = f"an empty one is written `{name[:80]}: {{}}`"
                self._findings.fault(line, "unknown_group", message, hint=hint)

    def _read_meta(self, node: yaml.Node) -> None:
        for name, _line, inner in self._members(node):
            if name == "hostvars":
                for host, line, variables in self._members(inner):
                    self._inventory.add_host(host, line, self._variables(variables))

    def _read_group(self, name: str, line: int, node: yaml.Node, depth: int) -> None:
        if depth == 0:
            raise Bad(line, "malformed", f"groups nested deeper than {_MAX_DEPTH}")
        group = self._inventory.group(name, line)
        for key, at, inner in self._members(node):
            with self._findings.noting():
                if key == "hosts":
                    self._read_hosts(group, inner)
                elif key == "vars":
                    group.variables |= self._variables(inner)
                elif key == "children":
                    self._read_children(group, inner, depth - 1)
                else:
                    near = did_you_mean(suggest(key, _KEYS))
                    raise Bad(at, "unknown_key", f"a group has no key {key[:80]!r}{near}")

    def _read_hosts(self, group: Group, node: yaml.Node) -> None:
        for pattern, line, variables in self._members(node):
            with self._findings.noting():
                given = self._variables(variables)
                for name in expand_range(pattern, line):
                    self._inventory.add_host(name, line, given)
                    group.hosts.setdefault(name, line)

    def _read_children(self, group: Group, node: yaml.Node, depth: int) -> None:
        for name, line, body in self._members(node):
            group.children.setdefault(name, line)
            if isinstance(node, yaml.SequenceNode):  # printed: groups without hosts are not there
                self._inventory.group(name, line)
            elif _is_null(body):
                self._only_named.setdefault(name, line)
            else:
                self._read_group(name, line, body, depth)

    def _variables(self, node: yaml.Node) -> dict[str, Given]:
        return {
            name: Given(self._value(inner, _MAX_DEPTH), line)
            for name, line, inner in self._members(node)
        }

    def _members(self, node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
        """Key, line and value of a mapping; the items of a list, and nothing for null."""
        if _is_null(node):
            return
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._count(item)
                yield self._key(item), _line(item), _null_node(item)
            return
        if not isinstance(node, yaml.MappingNode):
            raise Bad(_line(node), "malformed", "a mapping is wanted here (`name:` and below it)")
        yield from self._pairs(node).values()

    def _pairs(self, node: yaml.MappingNode) -> dict[str, tuple[str, int, yaml.Node]]:
        """Own members before merged ones (`<<: *name`)."""
        own: dict[str, tuple[str, int, yaml.Node]] = {}
        merged: dict[str, tuple[str, int, yaml.Node]] = {}
        for key, value in node.value:
            self._count(key)
            if key.tag == _MERGE:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for source in reversed(sources):
                    merged |= self._pairs(source) if isinstance(source, yaml.MappingNode) else {}
                continue
            name = self._key(key)
            if name in own:
                first = own[name][1]
                message = f"key {name[:80]!r} stands in line {first} already"
                raise Bad(_line(key), "duplicate", message)
            own[name] = (name, _line(key), value)
        return merged | own

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise Bad(_line(node), "malformed", "a name is wanted here; put braces in quotes")
        return str(node.value)

    def _value(self, node: yaml.Node, depth: int) -> Any:  # noqa: ANN401  # any value of YAML
        """A variable's value as JSON; VAULT in the place of what was encrypted."""
        self._count(node)
        if depth == 0:
            raise Bad(_line(node), "malformed", f"a value nested deeper than {_MAX_DEPTH}")
        if node.tag in {"!vault", "!vault-encrypted"}:
            return VAULT
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, depth - 1) for item in node.value]
        return {name: self._value(inner, depth - 1) for name, _line_, inner in self._members(node)}

    def _scalar(self, node: yaml.ScalarNode) -> Any:  # noqa: ANN401  # a scalar of JSON
        """By the rules of YAML 1.1; dates, binary and unknown tags stay text."""
        if node.tag.removeprefix(_TAG) not in {"null", "bool", "int", "float"}:
            return str(node.value)
        try:
            return self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return str(node.value)

    def _count(self, node: yaml.Node) -> None:
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise Bad(_line(node), "too_many", "aliases make this file too large to read")


def _null_node(like: yaml.Node) -> yaml.Node:
    return yaml.ScalarNode(f"{_TAG}null", "", like.start_mark, like.end_mark)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1 if node.start_mark else 1
