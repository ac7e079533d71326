"""The parsers by the name that `output.parser` uses."""

from collections.abc import Callable, Mapping
from typing import Any

from tasks.parsers import dig, documents, nmap, rows
from tasks.parsers.base import ParseError
from tool_catalog.model import Output

PARSERS: Mapping[str, Callable[[str, Output], Any]] = {
    "text": documents.parse_text,
    "json": documents.parse_json,
    "xml": documents.parse_xml,
    "key_value": documents.parse_key_value,
    "ndjson": rows.parse_ndjson,
    "csv": rows.parse_csv,
    "columns": rows.parse_columns,
    "regex": rows.parse_regex,
    "nmap": nmap.parse_nmap,
    "dig": dig.parse_dig,
}

#: Parsers that give one object; the others give rows, or text.
_OBJECTS = frozenset({"xml", "key_value", "nmap", "dig"})


def parse(text: str, output: Output) -> object:
    """Read standard output as the tool file says; raises ParseError."""
    name = output.parser
    if name.startswith("jc."):
        return documents.parse_jc(name.removeprefix("jc."), text, output)
    if name not in PARSERS:
        raise ParseError(f"there is no parser {name!r}; allowed: {', '.join(PARSERS)}, jc.<name>")
    return PARSERS[name](text, output)


def nothing(output: Output) -> object:
    """The output of an answer that its exit code calls empty."""
    if output.parser == "text":
        return ""
    return {} if output.parser in _OBJECTS else []
