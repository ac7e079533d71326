"""Parsers that read standard output as one document."""

import json
from typing import Any
from xml.etree.ElementTree import Element
from xml.etree.ElementTree import ParseError as XmlError

import jc
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tasks.parsers.base import ParseError, cannot_read, cut
from tasks.parsers.fields import pick_fields
from tool_catalog.model import Output


def parse_json(text: str, output: Output) -> object:
    """One JSON value; nothing at all is an empty list (several tools print that for no rows)."""
    if not text.strip():
        return []
    try:
        value = json.loads(text)
    except RecursionError:
        raise ParseError("the JSON is nested too deep") from None
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1] if text.splitlines() else text
        raise cannot_read(line, error.lineno, f"JSON ({error.msg})") from None
    return _pick(value, output)


def parse_jc(name: str, text: str, output: Output) -> object:
    """What jc's parser of that name makes of it (https://kellyjonbrazil.github.io/jc)."""
    try:
        value = jc.parse(name, text, quiet=True)
    except Exception as error:  # noqa: BLE001  # 224 parsers of others, which raise anything
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParseError(f"jc.{name} cannot read this ({cut(why)}): {cut(text)}") from None
    return _pick(value, output)


def parse_xml(text: str, output: Output) -> object:
    """Nested objects: attributes and children by name, repeated children as lists.

    An element with nothing but text is that text; the text of another is under "text".
    """
    try:
        root = fromstring(text)
    except (XmlError, DefusedXmlException, ValueError) as error:
        raise ParseError(f"this is not XML ({error}): {cut(text)}") from None
    value = _element(root)
    return pick_fields(value, output.fields, output.sources) if isinstance(value, dict) else value


def parse_key_value(text: str, output: Output) -> dict[str, Any]:
    """Lines of `key=value` or `key: value`; comments (#) and quotes around a value are left out."""
    row = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        at = min((i for i in (line.find("="), line.find(":")) if i > 0), default=0)
        if not at:
            raise cannot_read(line, number, "key=value")
        value = line[at + 1 :].strip()
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        row[line[:at].strip()] = value[1:-1] if quoted else value
    return pick_fields(row, output.fields, output.sources)


def parse_text(text: str, output: Output) -> str:  # noqa: ARG001  # the one shape of parsers
    """The text as it is."""
    return text


def _pick(value: object, output: Output) -> object:
    """Declared fields of an object, or of each object of a list."""
    if not output.fields:
        return value
    rows: list[Any] = value if isinstance(value, list) else [value]
    for row in rows:
        if not isinstance(row, dict):
            raise ParseError(f"this is not an object: {cut(json.dumps(row))}")
    picked = [pick_fields(row, output.fields, output.sources) for row in rows]
    return picked if isinstance(value, list) else picked[0]


def _element(element: Element) -> object:
    children: dict[str, list[Any]] = {}
    for child in element:
        children.setdefault(child.tag.rpartition("}")[2], []).append(_element(child))
    text = (element.text or "").strip()
    if not children and not element.attrib:
        return text or None
    value: dict[str, Any] = dict(element.attrib)
    value |= {name: found[0] if len(found) == 1 else found for name, found in children.items()}
    return {**value, "text": text} if text else value
