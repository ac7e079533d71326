"""Selectors and free text as SQL conditions over assets."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, any_, cast, false, func, literal, or_, select
from sqlalchemy.dialects.postgresql import INET, JSONB, JSONPATH
from sqlalchemy.orm import InstrumentedAttribute

from app.asset import is_address
from app.selector import Selector
from app.store.models import Asset, StoredSecret

#: SQL/JSON paths to every scalar, and to the name of every member, at any depth.
_VALUES = '$.** ? (@.type() != "object" && @.type() != "array")'
_KEYS = '$.** ? (@.type() == "object").keyvalue().key'
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,6})?")
_COLUMNS = {
    "hostname": Asset.hostname,
    "type": Asset.type,
    "status": Asset.status,
    "environment": Asset.environment,
    "criticality": Asset.criticality,
    "os": Asset.os,
}


def matches(selector: Selector) -> ColumnElement[bool]:
    """True for the assets that a selector means; never NULL, so that it can be negated."""
    parts = [matches(part) for part in selector.any_of]
    if selector.names:
        parts.append(is_named(selector.names))
    if selector.where:
        fits = [_fits(name, values) for name, values in selector.where.items()]
        parts.append(func.coalesce(_all(fits), false()))
    return _all([or_(false(), *parts), *(~matches(part) for part in selector.exclude)])


def is_named(names: Iterable[str]) -> ColumnElement[bool]:
    """True for assets whose id, address or host name is among the names; never NULL."""
    ids, addresses, hosts = split_names(names)
    named: list[ColumnElement[bool]] = [
        Asset.id.in_([int(name) for name in ids]),
        Asset.hostname.in_(hosts),
    ]
    if addresses:
        at = Asset.ip_address.in_([cast(literal(name), INET) for name in addresses])
        named.append(func.coalesce(at, false()))
    return or_(*named)


def split_names(names: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Names as ids, addresses and host names."""
    ids: list[str] = []
    addresses: list[str] = []
    hosts: list[str] = []
    for name in names:
        (ids if name.isdigit() else addresses if is_address(name) else hosts).append(name)
    return ids, addresses, hosts


def serves_asset(asset_id: int) -> ColumnElement[bool]:
    """True for the rows of the vault that are logins of an asset."""
    is_login = StoredSecret.kind == "credential"
    return is_login & (literal(asset_id) == any_(StoredSecret.asset_ids))


def holds_text(words: str) -> ColumnElement[bool]:
    """True where host name, os, or a key or value of tags or metadata holds the text.

    Upper and lower case are the same, and `%` and `_` are themselves; never NULL.
    """
    pattern = "%" + re.sub(r"([\\%_])", r"\\\1", words) + "%"
    plain = [column.ilike(pattern, escape="\\") for column in (Asset.hostname, Asset.os)]
    inside = [
        _holds_inside(column, path, pattern)
        for column in (Asset.tags, Asset.details)
        for path in (_VALUES, _KEYS)
    ]
    return func.coalesce(or_(*plain, *inside), false())


def _holds_inside(
    column: InstrumentedAttribute[dict[str, Any]], path: str, pattern: str
) -> ColumnElement[bool]:
    held = func.jsonb_path_query(column, cast(literal(path), JSONPATH), type_=JSONB)
    text = held.column_valued("held")[()].astext
    return select(literal(1)).where(text.ilike(pattern, escape="\\")).exists()


def _fits(name: str, values: Sequence[str]) -> ColumnElement[bool]:
    if name.startswith("tags."):
        tag = name.removeprefix("tags.")
        return or_(
            *(Asset.tags.contains({tag: each}) for text in values for each in _readings(text))
        )
    if name == "ip_address":
        within = Asset.ip_address.bool_op("<<=")
        return or_(*(within(cast(literal(value), INET)) for value in values))
    if name == "id":
        return Asset.id.in_([int(value) for value in values])
    return _COLUMNS[name].in_(values)


def _readings(text: str) -> list[str | float | bool]:
    """What a tag may hold for its text to fit: the text, and the number or truth it spells."""
    spells = text in {"true", "false"} or _NUMBER.fullmatch(text)
    return [text, json.loads(text)] if spells else [text]


def _all(conditions: Iterable[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *others = conditions
    for each in others:
        first &= each
    return first
