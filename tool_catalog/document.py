"""One reader for plans, catalogue and policy: YAML 1.2 core types and JSON, with places.

Only `true`/`false`, decimal integers, floats and `null` are typed; all else is text, so
`mode: 0644`, `12:30`, `on` and MAC addresses stay what they were. What could hide something
is refused: duplicate keys, anchors and aliases, tags, NaN, several documents.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Never

import yaml

from tool_catalog.names import shorten

MAX_DEPTH = 20
#: More digits than 64-bit numbers have: an identifier, not a number.
MAX_DIGITS = 19

#: YAML 1.2.2 section 10.3.2 (core schema), without octal and hexadecimal integers.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|NaN|-?Infinity")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
#: JSON writes characters beyond the first plane as two escapes (RFC 8259 section 7); YAML has one.
_ESCAPE = re.compile(r"\\(?:u([dD][89abAB]\w\w)\\u([dD][c-fC-F]\w\w)|.)", re.DOTALL)

_IN_QUOTES = 'put the expression in quotes: "{{ ... }}"'

# libyaml's parser when the wheel has it: ten times as fast as the Python one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentError(Exception):
    """A text that cannot be read; `line` and `column` are 1-based.

    `str()` of it names the source and the place, `message` the fault alone.
    """

    def __init__(self, source: str, message: str, line: int, column: int) -> None:
        super().__init__(f"{source}:{line}:{column}: {message}")
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Document:
    """A value, and where each part of it stands."""

    value: Any
    #: JSON path ("steps[2].parameters.depth"; the whole is "") to (line, column), 1-based.
    places: Mapping[str, tuple[int, int]]


def find_place(places: Mapping[str, tuple[int, int]], path: str) -> tuple[int, int] | None:
    """Where `path` stands, else the nearest part around it that is in the text."""
    while path and path not in places:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return places.get(path)


def read_document(text: str | bytes, *, source: str, int_keys: bool = False) -> Document:
    """Read one YAML or JSON document; raises DocumentError naming `source` and the fault.

    `int_keys` allows decimal integers as keys of mappings (`exit_codes: {0: ok}`).
    """
    encoded = _encode(text, source)
    reader = _Reader(encoded, source, int_keys=int_keys)
    try:
        value = reader.read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = f"{error.problem or error.context}{_hint(encoded, place[0])}"
        raise DocumentError(source, problem, *place) from None
    except yaml.reader.ReaderError as error:
        before = encoded[: error.position]
        place = (before.count(b"\n") + 1, error.position - before.rfind(b"\n"))
        raise DocumentError(source, "a control character that text may not hold", *place) from None
    return Document(value, reader.places)


def _encode(text: str | bytes, source: str) -> bytes:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if decoded.lstrip()[:1] in {"{", "["}:
            decoded = _ESCAPE.sub(_join_surrogates, decoded)
        return decoded.encode()
    except UnicodeError as error:
        given = text if isinstance(text, bytes) else b""
        line = given[: getattr(error, "start", 0)].count(b"\n") + 1
        raise DocumentError(source, "the text is not UTF-8", line, 1) from None


def _join_surrogates(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    high, low = int(match[1], 16) - 0xD800, int(match[2], 16) - 0xDC00
    return f"\\U{0x10000 + (high << 10) + low:08x}"


def _hint(text: bytes, line: int) -> str:
    """What to try when YAML stumbles over a line: tabs do not indent, braces mean a mapping."""
    stumbled = b"".join(text.split(b"\n")[line - 1 : line])
    if b"\t" in stumbled[: len(stumbled) - len(stumbled.lstrip())]:
        return "; indent with spaces, not with tabs"
    return f"; {_IN_QUOTES}" if b"{{" in stumbled else ""


def _place_of(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Reader:
    """Builds a value from libyaml's events, refusing what may not be there."""

    def __init__(self, text: bytes, source: str, *, int_keys: bool) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._source = source
        self._int_keys = int_keys

    def read(self) -> Any:  # noqa: ANN401  # any JSON value
        """The only document of the stream."""
        next(self._events)
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            self._refuse("the text is empty", start)
        value = self._read_node(next(self._events), "", 1)
        next(self._events)
        end = next(self._events)
        if not isinstance(end, yaml.StreamEndEvent):
            self._refuse("a second document; only one is read", end)
        return value

    def _refuse(self, problem: str, event: yaml.Event) -> Never:
        raise DocumentError(self._source, problem, *_place_of(event))

    def _read_node(self, event: yaml.Event, path: str, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        if path not in self.places:
            self.places[path] = _place_of(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse("anchors and aliases are not read; write the value out", event)
        if tag := getattr(event, "tag", None):
            self._refuse(f"tag {shorten(tag)!r} is not read; values have plain types", event)
        if isinstance(event, yaml.ScalarEvent):
            return self._read_scalar(event)
        if depth > MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._read_list(path, depth)
        return self._read_mapping(path, depth)

    def _read_list(self, path: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._read_node(event, f"{path}[{len(items)}]", depth + 1))
        return items

    def _read_mapping(self, path: str, depth: int) -> dict[Any, Any]:
        members: dict[Any, Any] = {}
        prefix = f"{path}." if path else ""
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._read_key(event)
            if key in members:
                self._refuse(f"key {shorten(str(key))!r} stands here twice", event)
            member_path = f"{prefix}{key}"
            self.places[member_path] = _place_of(event)
            members[key] = self._read_node(next(self._events), member_path, depth + 1)
        return members

    def _read_key(self, event: yaml.Event) -> str | int:
        if isinstance(event, yaml.MappingStartEvent) and event.flow_style:
            self._refuse(f"a mapping cannot be a key; {_IN_QUOTES}", event)
        if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
            self._refuse("a key must be plain text", event)
        key = self._read_scalar(event)
        if isinstance(key, str) or (self._int_keys and type(key) is int):
            return key
        return self._refuse(f"key {shorten(event.value)!r} is not text; put it in quotes", event)

    def _read_scalar(self, event: yaml.ScalarEvent) -> str | float | bool | None:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789NI":
            return text
        if _NOT_FINITE.fullmatch(text):
            self._refuse(f"{text} is not a number; put it in quotes to mean the text", event)
        if _INTEGER.fullmatch(text):
            return self._read_integer(text, event)
        return self._read_float(text, event) if _FLOAT.fullmatch(text) else text

    def _read_integer(self, text: str, event: yaml.ScalarEvent) -> int:
        if len(text) > MAX_DIGITS:
            self._refuse(f"a number of {len(text)} digits; put it in quotes to mean text", event)
        return int(text)

    def _read_float(self, text: str, event: yaml.ScalarEvent) -> float:
        number = float(text)
        if math.isinf(number):
            self._refuse("a number too large to keep; put it in quotes to mean the text", event)
        return number
