"""What a reader of inventory files finds: asset drafts, faults and what it leaves out (pure)."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.asset import RESERVED_NAMES, check_values, normalise_hostname
from app.errors import Fault

#: Assets of one import, and characters of one file.
MAX_ASSETS = 10_000
MAX_CHARS = 8 * 1024 * 1024

_SECRET_NAME = re.compile(
    r"pass$|passw|passphrase|secret|token|private_?key|api_?key|community|credential", re.IGNORECASE
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")


class Bad(Exception):
    """Something in a file that keeps it from being imported, with its line."""

    def __init__(self, line: int, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(path="", code=code, message=message, hint=hint, line=line, column=1)


@dataclass(frozen=True, slots=True)
class AssetDraft:
    """An asset as a file has it: only the fields that the file speaks of."""

    hostname: str
    fields: Mapping[str, Any]
    #: Where it begins, from 1.
    line: int


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader left out, or did not follow, and what to do about it."""

    line: int
    text: str


@dataclass
class Findings:
    """Everything that one file gave. Without faults its drafts are fit for the inventory."""

    drafts: list[AssetDraft] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: Tags that begin so are the file's own: those that it does not give an asset are taken away.
    owned_tags: str | None = None
    _lines: dict[str, int] = field(default_factory=dict)

    def fault(self, line: int, code: str, message: str, *, hint: str | None = None) -> None:
        """Note something that keeps the file from being imported."""
        self.faults.append(Bad(line, code, message, hint=hint).fault)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what the body raises as Bad, and go on behind it."""
        try:
            yield
        except Bad as error:
            self.faults.append(error.fault)

    def note(self, line: int, text: str) -> None:
        """Note, once, what is left out."""
        note = Note(line, text)
        if note not in self.notes:
            self.notes.append(note)

    def add(self, name: str, fields: Mapping[str, Any], line: int) -> None:
        """Take an asset in; raises Bad. A host name stands for one asset."""
        try:
            hostname = normalise_hostname(name)
            values = check_values(fields)
        except ValueError as error:
            where = "" if repr(name[:80]) in str(error) else f"{name[:80]}: "
            raise Bad(line, "bad_value", f"{where}{error}") from None
        if hostname in RESERVED_NAMES:
            self.note(line, f"{hostname} is left out: it means the worker's own host")
            return
        if hostname in self._lines:
            first = self._lines[hostname]
            raise Bad(line, "duplicate", f"{hostname} stands in line {first} already")
        if len(self.drafts) >= MAX_ASSETS:
            raise Bad(line, "too_many", f"more than {MAX_ASSETS} assets; import them in parts")
        self._lines[hostname] = line
        self.drafts.append(AssetDraft(hostname, values, line))


def is_secret(name: str, value: Any) -> bool:  # noqa: ANN401  # any value of a file
    """Whether a name, or a name or a value inside its value, speaks of a secret."""
    if _SECRET_NAME.search(name):
        return True
    if isinstance(value, Mapping):
        return any(is_secret(str(key), inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(is_secret("", inner) for inner in value)
    return isinstance(value, str) and _PRIVATE_KEY.search(value) is not None


def check_host(text: str, line: int) -> str:
    """A host name to connect to, in its one spelling; raises Bad."""
    try:
        return normalise_hostname(text)
    except ValueError as error:
        raise Bad(line, "bad_value", str(error), hint="e.g. 192.0.2.10 or web-01.lan") from None


def check_port(text: str, line: int) -> int:
    """A port; raises Bad."""
    if text.isascii() and text.isdecimal() and 0 < int(text[:9]) < 65536:  # noqa: PLR2004  # ports have 16 bits
        return int(text)
    raise Bad(line, "bad_value", f"{text[:40]!r} is no port: a number from 1 to 65535")
