"""Reads assets from CSV with a header (pure)."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.asset import is_tag_key
from app.imports.findings import Bad, Findings, check_host, check_port, is_secret
from tool_catalog.document import DocumentError, read_document
from tool_catalog.names import did_you_mean, suggest

_HOSTNAME = "hostname"
_FIELDS = (_HOSTNAME, "ip_address", "type", "status", "environment", "criticality", "os")
_CONNECTION = tuple(
    f"connection.{name}" for name in ("type", "address", "port", "user", "host_key")
)
#: Other names for a column.
_ALIASES: Mapping[str, str] = {
    "host": _HOSTNAME,
    "name": _HOSTNAME,
    "ip": "ip_address",
    "connection": "connection.type",
    "address": "connection.address",
    "port": "connection.port",
    "user": "connection.user",
    "host_key": "connection.host_key",
}
#: Columns of this kind hold any tag, any member of the metadata.
_TAG, _METADATA = "tags.", "metadata."
_DELIMITERS = ",;\t"


def read_csv(text: str, findings: Findings) -> None:
    """Take in a row for each asset; an empty cell says nothing. Notes every fault."""
    rows = _rows(text)
    with findings.noting():
        line, header = next(rows, (1, []))
        columns = _read_header(header, line)
        for line, cells in rows:
            with findings.noting():
                _read_row(columns, cells, line, findings)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the line that each begins in; raises Bad."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise Bad(line, "malformed", str(error), hint="close the quotation mark") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]
        line = reader.line_num + 1


def _read_header(cells: Sequence[str], line: int) -> list[str]:
    """The columns by their own names; raises Bad."""
    columns = [_column(cell, line) for cell in cells]
    if _HOSTNAME not in columns:
        hint = f"the first row names the columns, e.g. {_HOSTNAME},ip_address,tags.role"
        raise Bad(line, "missing_column", f"there is no column {_HOSTNAME}", hint=hint)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise Bad(line, "duplicate", f"there are several columns {twice}")
    return columns


def _column(given: str, line: int) -> str:
    name = given.strip().lower().replace(" ", "_")
    name = _ALIASES.get(name, name)
    if name in {*_FIELDS, *_CONNECTION}:
        return name
    kind, _, rest = given.strip().partition(".")
    if is_secret(given, ""):
        hint = "'opsfarm credentials add NAME --asset SELECTOR --user USER' keeps a login sealed"
        raise Bad(line, "secret", f"column {given[:80]!r} would lie open; remove it", hint=hint)
    if f"{kind.lower()}." in {_TAG, _METADATA} and is_tag_key(rest):
        return f"{kind.lower()}.{rest}"
    near = did_you_mean(suggest(name, [*_FIELDS, *_CONNECTION, *_ALIASES]))
    hint = f"there are {', '.join((*_FIELDS, *_CONNECTION))}, tags.<tag>, metadata.<name>"
    raise Bad(line, "unknown_column", f"no column {given[:80]!r}{near}", hint=hint)


def _read_row(columns: Sequence[str], cells: Sequence[str], line: int, findings: Findings) -> None:
    if len(cells) != len(columns):
        message = f"{len(cells)} cells, but {len(columns)} columns"
        raise Bad(line, "malformed", message, hint="quote a cell that holds the delimiter")
    given = {name: cell for name, cell in zip(columns, cells, strict=True) if cell}
    if _HOSTNAME not in given:
        raise Bad(line, "missing_value", f"a row without {_HOSTNAME}")
    fields: dict[str, Any] = {}
    for name, cell in given.items():
        group, _, key = name.partition(".")
        if key:
            fields.setdefault(group, {})[key] = _read_member(name, cell, line)
        elif name != _HOSTNAME:
            fields[name] = cell
    findings.add(given[_HOSTNAME], fields, line)


def _read_member(name: str, cell: str, line: int) -> Any:  # noqa: ANN401  # a JSON scalar
    if name == "connection.port":
        return check_port(cell, line)
    if name == "connection.address":
        return check_host(cell, line)
    if name in _CONNECTION:
        return cell
    if is_secret("", cell):
        raise Bad(line, "secret", f"{name} holds a private key, which would lie open; remove it")
    return _read_scalar(cell)


def _read_scalar(cell: str) -> Any:  # noqa: ANN401  # a JSON scalar
    """As `opsfarm assets create` reads it: true, false and numbers are typed, the rest is text."""
    try:
        value = read_document(cell, source="cell").value
    except DocumentError:
        return cell
    return value if isinstance(value, bool | int | float) else cell
