"""Declared field types: what a tool prints becomes a value of the type its file promises."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from tasks.parsers.base import ParseError, cut

_TRUE = frozenset({"true", "yes", "on", "1", "enabled"})
_FALSE = frozenset({"false", "no", "off", "0", "disabled"})
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


#: For a row whose values stand under their fields' own names.
_NOWHERE_ELSE: Mapping[str, str] = MappingProxyType({})


def pick_fields(
    row: Mapping[str, Any], fields: Mapping[str, str], sources: Mapping[str, str] = _NOWHERE_ELSE
) -> dict[str, Any]:
    """The declared fields of a row, each of its type; an absent one is None.

    `sources` says where a value stands under another name, or deeper ("metadata.name"). Without
    declared fields the row stays as it is. Raises ParseError naming the field.
    """
    if not fields:
        return dict(row)
    return {
        name: convert(_find(row, sources.get(name, name)), kind, name)
        for name, kind in fields.items()
    }


def _find(row: Mapping[str, Any], source: str) -> object:
    if source in row or "." not in source:
        return row.get(source)
    value: object = row
    for part in source.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def convert(value: object, kind: str, name: str) -> object:
    """One value of a type; "-", "" and None are None. Raises ParseError naming the field."""
    if value is None or (isinstance(value, str) and value.strip() in {"", "-"}):
        return None
    try:
        return _CONVERTERS[kind](value)
    except (ValueError, TypeError, OverflowError):
        article = "an" if kind[0] in "aeio" else "a"
        raise ParseError(f"{name} is not {article} {kind}: {cut(str(value))}") from None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and value and all(_is_byte(item) for item in value):
        return bytes(value).decode(errors="replace")  # how systemd writes them as JSON
    return value if isinstance(value, str) else str(value)


def _is_byte(value: object) -> bool:
    return type(value) is int and 0 <= value < 256  # noqa: PLR2004  # what a byte holds


def _integer(value: object) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value) if isinstance(value, int | float) else int(str(value).strip())


def _number(value: object) -> int | float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int | float):
        return value
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return float(text) if set(text) & set(".eE") else int(text)


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _percent(value: object) -> int | float:
    return _number(value.strip().removesuffix("%") if isinstance(value, str) else value)


def _time(value: object) -> str:
    """ISO 8601 in UTC, from seconds since 1970 or from ISO 8601."""
    if isinstance(value, int | float) or _NUMBER.fullmatch(str(value).strip()):
        moment = datetime.fromtimestamp(float(str(value)), UTC)
    else:
        moment = datetime.fromisoformat(str(value).strip())
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time_us(value: object) -> str:
    """As `_time`, from microseconds since 1970."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(str(value)))
    return moment.isoformat().replace("+00:00", "Z")


def _list(value: object) -> list[Any]:
    """A list as it is; words of a text, separated by commas or blanks."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        return [word for word in re.split(r"[,\s]+", value) if word]
    raise TypeError


def _object(value: object) -> object:
    if isinstance(value, Mapping | list):
        return value
    raise TypeError


_CONVERTERS: Mapping[str, Callable[[object], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "on_off": _boolean,
    "percent": _percent,
    "time": _time,
    "time_us": _time_us,
    "list": _list,
    "object": _object,
}

#: The names that `output.fields` may use.
FIELD_TYPES = frozenset(_CONVERTERS)
