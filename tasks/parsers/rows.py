"""Parsers of line-wise output: each gives a list of rows."""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

from tasks.parsers.base import ParseError, cannot_read
from tasks.parsers.fields import pick_fields
from tool_catalog.model import Output

Rows = list[dict[str, Any]]


def parse_ndjson(text: str, output: Output) -> Rows:
    """One JSON object per line."""
    return [_json_row(line, number, output) for number, line in _lines(text)]


def parse_csv(text: str, output: Output) -> Rows:
    """A header line and rows (RFC 4180).

    Declared fields are found by their header; where the headers differ, by their order.
    """
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ParseError(f"line {reader.line_num} is not CSV: {error}") from None
    if not lines:
        return []
    names = lines[0][1]
    wanted = [output.sources.get(name, name) for name in output.fields]
    if wanted and not set(wanted) <= set(names):
        names = wanted
    return [_named(row, names, number, output) for number, row in lines[1:]]


def parse_columns(text: str, output: Output) -> Rows:
    """A header line and columns separated by blanks; the last declared field takes the rest."""
    names = list(output.fields)
    rows = []
    for number, line in list(_lines(text))[1:]:
        values = line.split(None, len(names) - 1)
        rows.append(_named([value.strip() for value in values], names, number, output))
    return rows


def parse_regex(text: str, output: Output) -> Rows:
    """The named groups of each line that matches; other lines are passed over."""
    pattern = re.compile(output.pattern or "")
    lines = list(_lines(text))
    found = [(number, pattern.search(line)) for number, line in lines]
    rows = [pick_fields(match.groupdict(), output.fields) for _, match in found if match]
    if lines and not rows:
        raise cannot_read(lines[0][1], lines[0][0], "what this tool prints")
    return rows


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1."""
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _json_row(line: str, number: int, output: Output) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise cannot_read(line, number, "JSON") from None
    if not isinstance(row, dict):
        raise cannot_read(line, number, "a JSON object")
    return pick_fields(row, output.fields, output.sources)


def _named(values: list[str], names: list[str], number: int, output: Output) -> dict[str, Any]:
    if len(values) != len(names):
        line = " ".join(values)
        raise cannot_read(line, number, f"{len(names)} columns ({', '.join(names)})")
    try:
        return pick_fields(dict(zip(names, values, strict=True)), output.fields, output.sources)
    except ParseError as error:
        raise ParseError(f"line {number}: {error}") from None
