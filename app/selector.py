"""The selector grammar: which assets are meant (pure; docs/plans.md, "Targets").

As text: `environment=production,tags.role=web,!web-03`: conditions joined by `,` must all
hold, values joined by `|` are alternatives, `!` leaves out, `;` joins what is selected
together, bare words name assets. As a mapping: `{environment: production, tags: {role: web},
not: {hostname: web-03}}`. Names, ids, addresses, asset objects and lists of them serve too.
"""

import difflib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.asset import CRITICALITIES, STATUSES, TYPES, is_tag_key, normalise_hostname
from app.selector_text import EXAMPLE, read_text, write_value
from app.selector_text import SelectorError as SelectorError  # noqa: PLC0414  # part of this module's face
from app.step import Target

FIELDS = ("id", "hostname", "ip_address", "type", "status", "environment", "criticality", "os")
MAX_PARTS = 1000
MAX_DEPTH = 6
MAX_VALUE_CHARS = 255
MAX_ID = 2**31 - 1
_CHOICES = {"type": TYPES, "status": STATUSES, "criticality": CRITICALITIES}


@dataclass(frozen=True, slots=True)
class Selector:
    """Assets named, those that meet every condition, those of `any_of`; less `exclude`."""

    #: Host names in lower case, ids in digits, addresses; `local` is the worker's own host.
    names: tuple[str, ...] = ()
    #: Field ("environment", "tags.role") to the texts of which one must fit.
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: tuple["Selector", ...] = ()
    #: Selectors whose assets join: what a list of several becomes.
    any_of: tuple["Selector", ...] = ()

    def __str__(self) -> str:
        """The text grammar; `parse_selector` reads it back to an equal selector."""
        terms = [*self.names, *_write_conditions(self.where), *map(str, self.any_of)]
        terms += [f"!{term}" for part in self.exclude for term in _write_negated(part)]
        return (";" if self.any_of else ",").join(terms)

    def as_mapping(self) -> Any:  # noqa: ANN401  # JSON: a mapping, or a list of those
        """The mapping grammar; `parse_selector` reads it back to an equal selector."""
        left_out = {"not": [part.as_mapping() for part in self.exclude]} if self.exclude else {}
        named = {"names": list(self.names)} if self.names else {}
        if not self.any_of:
            return named | _nest_tags(self.where) | left_out or []
        parts = [named, *(part.as_mapping() for part in self.any_of), left_out]
        return [part for part in parts if part]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selector means in one inventory at one moment."""

    #: Named ones in the order of their names, then the others by host name.
    targets: tuple[Target, ...] = ()
    #: Meant, but in maintenance or retired: "web-03 (maintenance)".
    left_out: tuple[str, ...] = ()
    #: Names that stand for no asset, or for several: "web-99", "10.0.0.5 (web-01, web-02)".
    unknown: tuple[str, ...] = ()


def parse_selector(given: Any) -> Selector:  # noqa: ANN401  # JSON from a caller, any shape
    """Read text, a mapping, an asset object, an id or a list of those; raises SelectorError.

    An empty list is a selector that selects nothing; an empty text or mapping is refused.
    """
    selector = _read(given, 0)
    if selector.exclude and not (selector.names or selector.where or selector.any_of):
        raise SelectorError(f"this only leaves assets out; say also which to take: {EXAMPLE}")
    return selector


def _read(given: Any, depth: int) -> Selector:  # noqa: ANN401  # as parse_selector
    if depth > MAX_DEPTH:
        raise SelectorError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(given, str):
        return _join([_read_mapping(part, depth) for part in read_text(given)])
    if isinstance(given, int) and not isinstance(given, bool):
        return Selector(names=(_normalise_name(given),))
    if isinstance(given, Selector):
        return given
    if isinstance(given, Mapping):
        return _read_mapping(given, depth)
    if isinstance(given, Sequence):
        if len(given) > MAX_PARTS:
            raise SelectorError(f"{len(given)} parts; at most {MAX_PARTS}")
        return _join([_read(item, depth + 1) for item in given])
    raise SelectorError(f"{type(given).__name__} selects no asset; {EXAMPLE}")


def _read_mapping(given: Mapping[str, Any], depth: int) -> Selector:
    if type(given.get("id")) is int and isinstance(given.get("hostname"), str):
        return Selector(names=(_normalise_name(given["id"]),))  # an asset as the tools give it
    names = [_normalise_name(name) for name in _as_list(given.get("names", []))]
    where = _read_conditions(given)
    left_out = _exclusions(_read(given["not"], depth + 1)) if "not" in given else ()
    if names and where:
        raise SelectorError(
            f"{names[0]!r} names an asset beside conditions: both must hold, or either? "
            f"Write hostname={names[0]},... or {names[0]};..."
        )
    if len(where) == 1 and where.keys() <= {"id", "hostname"}:
        names, where = [name for values in where.values() for name in values], {}
    if not (names or where or left_out):
        raise SelectorError(f"an empty selector; {EXAMPLE}")
    return Selector(_unique(names), where, left_out)


def _read_conditions(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    where: dict[str, tuple[str, ...]] = {}
    for key, value in given.items():
        for name, wanted in _flatten(key, value):
            if name in where:
                raise SelectorError(f"{name} is given twice; write alternatives as a list")
            where[name] = _unique(_normalise_value(name, text) for text in _as_list(wanted))
            if not where[name]:
                raise SelectorError(f"{name} has no value to fit")
    return where


def _flatten(key: Any, value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401  # JSON
    if key in {"names", "not"}:
        return []
    if key != "tags":
        return [(_field(str(key)), value)]
    if not isinstance(value, Mapping) or not value:
        raise SelectorError("tags is a mapping of tag to value, e.g. {tags: {role: web}}")
    return [(_field(f"tags.{tag}"), wanted) for tag, wanted in value.items()]


def _field(key: str) -> str:
    """The field that a key means, in its one spelling."""
    if key.startswith("tags.") and is_tag_key(key[5:]):
        return key
    name = {"ip": "ip_address"}.get(key, key)
    if name not in FIELDS:
        near = difflib.get_close_matches(name, FIELDS, 1)
        guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}, tags.<tag>"
        raise SelectorError(f"assets have no field {key[:80]!r}; {guess}")
    return name


def _normalise_value(name: str, value: Any) -> str:  # noqa: ANN401  # JSON
    """One value of a condition as text; JSON's true and 3 are `true` and `3` in tags."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value) if isinstance(value, str | int | float) else ""
    if not text.isprintable() or not 0 < len(text) <= MAX_VALUE_CHARS:
        raise SelectorError(
            f"{name} takes a text of 1 to {MAX_VALUE_CHARS} printable characters, or several"
        )
    if name in _CHOICES and text not in _CHOICES[name]:
        raise SelectorError(f"{name} {text!r}: one of {', '.join(_CHOICES[name])}")
    if name == "ip_address":
        return _normalise_network(text)
    if name in {"id", "hostname"}:
        return _normalise_id(text) if name == "id" else _normalise_host(text)
    return text


def _normalise_name(given: Any) -> str:  # noqa: ANN401  # JSON
    text = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if text.isdigit():
        return _normalise_id(text)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return _normalise_host(text)


def _normalise_host(text: str) -> str:
    try:
        return normalise_hostname(text)
    except ValueError as error:
        hint = f"; for a network write ip_address={text[:50]}" if "/" in text else ""
        raise SelectorError(f"{error}{hint}") from None


def _normalise_id(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= MAX_ID):  # noqa: PLR2004  # digits of MAX_ID
        raise SelectorError(f"{text[:80]!r} is no asset id: a number from 1 to {MAX_ID}")
    return str(int(text))


def _normalise_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise SelectorError(f"ip_address takes an address or a network: {error}") from None
    return str(network) if "/" in text else str(network.network_address)


def _exclusions(selector: Selector) -> tuple[Selector, ...]:
    """What a selector under `not` leaves out: one of names, then one for each condition set."""
    if selector.exclude or any(part.exclude for part in selector.any_of):
        raise SelectorError("'not' within 'not': say what to take instead")
    named = (Selector(names=selector.names),) if selector.names else ()
    return _merge(
        [*named, *([replace(selector, names=())] if selector.where else []), *selector.any_of]
    )


def _join(parts: Sequence[Selector]) -> Selector:
    """What several select together; a part that only leaves out applies to all."""
    names: list[str] = []
    any_of: list[Selector] = []
    left_out: list[Selector] = []
    for part in parts:
        if part.any_of and part.exclude:
            raise SelectorError("a list within a list leaves assets out: do so in the outer list")
        if part.where or (part.names and part.exclude):
            any_of.append(part)
        else:
            names += part.names
            any_of += part.any_of
            left_out += part.exclude
    if len(any_of) == 1 and not names:
        return replace(any_of[0], exclude=_merge([*any_of[0].exclude, *left_out]))
    return Selector(_unique(names), {}, _merge(left_out), tuple(any_of))


def _merge(left_out: Sequence[Selector]) -> tuple[Selector, ...]:
    """Exclusions in one order: all names in one, then the others."""
    names = _unique(name for part in left_out for name in part.names)
    others = [part for part in left_out if not part.names]
    return tuple([Selector(names=names), *others] if names else others)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401  # JSON
    return value if isinstance(value, list) else [value]


def _nest_tags(where: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    plain = {key: list(values) for key, values in where.items() if not key.startswith("tags.")}
    tags = {key[5:]: list(values) for key, values in where.items() if key.startswith("tags.")}
    return plain | ({"tags": tags} if tags else {})


def _write_conditions(where: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [f"{key}={'|'.join(map(write_value, values))}" for key, values in where.items()]


def _write_negated(part: Selector) -> list[str]:
    conditions = _write_conditions(part.where)
    grouped = [f"({','.join(conditions)})"] if len(conditions) > 1 else conditions
    return [*part.names, *grouped]
