"""Takes secrets out of text before it leaves the worker."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import IO, Any, BinaryIO
from urllib.parse import quote, quote_plus

from app.observe.redact import MASK, TELLING_NAMES, redact
from app.step import Secret, StepResult

#: A shorter value is only removed where it stands alone: else it would shred the text.
_SHORT = 4
#: The least of a secret that is recognised at an end of a text that was cut.
_CUT = 8
#: A longer line of a file is scrubbed in pieces.
_PIECE_BYTES = 1024 * 1024
#: What `…` stands for was cut off.
_ELLIPSIS = "…"

_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")

_NAMED = re.compile(rf"(?i){TELLING_NAMES}$")


class Scrubber:
    """Removes the secrets of one step, in every form they take, and what looks like a secret."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        values = {secret.reveal() for secret in secrets} - {""}
        forms = {form for value in values for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)
        alternatives = [
            re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in self._forms
        ]
        self._exact = re.compile("|".join(alternatives)) if alternatives else None
        #: By which a piece of a form is known that was cut off.
        self._ends = {end for f in self._forms if len(f) > _CUT for end in (f[:_CUT], f[-_CUT:])}
        #: Streams that are inside a private key, which spans lines.
        self._in_key: set[str] = set()

    def scrub(self, text: str) -> str:
        """The text without secrets, also where a cut at either end left only a part of one."""
        return redact(self._scrub_exact(text))

    def scrub_line(self, stream: str, line: str) -> str:
        """One line of a stream, in order: a private key is masked over all its lines."""
        if stream in self._in_key:
            if _KEY_END.search(line):
                self._in_key.discard(stream)
            return MASK
        if _KEY_BEGIN.search(line) and not _KEY_END.search(line):
            self._in_key.add(stream)
        return self.scrub(line)

    def scrub_value(self, value: Any) -> Any:  # noqa: ANN401  # any JSON value, same shape back
        """A JSON value without secrets: its texts, its keys, and what a telling key names."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, Mapping):
            return {self.scrub(str(name)): self._member(name, item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.scrub_value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if self._scrub_exact(str(value)) != str(value) else value
        return value

    def scrub_file(self, source: BinaryIO, sink: IO[bytes]) -> None:
        """Copy a text without its secrets, line by line; memory stays bounded also for one line."""
        longest = max(map(len, self._forms), default=0)
        held = ""
        while data := source.readline(_PIECE_BYTES):
            text = held + data.decode(errors="surrogateescape")
            held = ""
            if not text.endswith("\n") and len(data) == _PIECE_BYTES:
                at = self._safe_cut(text, max(0, len(text) - longest))
                text, held = text[:at], text[at:]
            ending = "\n" if text.endswith("\n") else ""
            line = self.scrub_line("file", text.removesuffix("\n"))
            sink.write((line + ending).encode(errors="surrogateescape"))
        sink.write(self.scrub(held).encode(errors="surrogateescape"))

    def _safe_cut(self, text: str, at: int) -> int:
        """The last place up to `at` that is inside of no secret."""
        if self._exact is not None:
            for found in self._exact.finditer(text):
                if found.start() < at < found.end():
                    return found.start()
        return at

    def scrub_result(self, result: StepResult) -> StepResult:
        """A result without secrets in what was read, in its summary and tails."""
        return replace(
            result,
            summary=self.scrub(result.summary),
            output=self.scrub_value(result.output),
            before=self.scrub_value(result.before),
            after=self.scrub_value(result.after),
            stdout_tail=self.scrub(result.stdout_tail),
            stderr_tail=self.scrub(result.stderr_tail),
        )

    def _member(self, name: str, item: object) -> object:
        if isinstance(item, str) and item and _NAMED.search(str(name)):
            return MASK
        return self.scrub_value(item)

    def _scrub_exact(self, text: str) -> str:
        if self._exact is None:
            return text
        text = self._exact.sub(MASK, text)
        if any(end in text for end in self._ends):
            for form in self._forms:
                text = _mask_cut(text, form)
        return text


def _forms(value: str) -> set[str]:
    """A secret's value and the ways that tools write it; each line of one that has several."""
    lines = {line for line in value.splitlines() if len(line) >= _CUT}
    whole = {value, value.strip()} | (lines if len(lines) > 1 else set())
    forms = set(whole)
    for text in whole:
        data = text.encode(errors="surrogatepass")
        forms |= {
            quote(text, safe="", errors="replace"),
            quote(text, errors="replace"),
            quote_plus(text, errors="replace"),
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            data.hex(),
            data.hex().upper(),
            *_base64_forms(data),
        }
    return forms - {""}


def _base64_forms(data: bytes) -> set[str]:
    """Base64 of the value alone, and its stable middle wherever it begins inside other data.

    Three bytes make four characters, so a value shows in one of three shapes (RFC 4648).
    """
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        forms |= {whole, whole.rstrip("=")}
        for before in range(3):
            first = (8 * before + 5) // 6
            last = 8 * (before + len(data)) // 6
            inside = encode(b"\0" * before + data).decode()[first:last]
            forms |= {inside} if len(inside) >= _CUT else set()
    return {form for form in forms if len(form) >= _SHORT}


def _mask_cut(text: str, form: str) -> str:
    """The text without a piece of the form at an end where the rest was cut off."""
    if len(form) <= _CUT:
        return text
    body = text.rstrip(_ELLIPSIS)
    at = body.find(form[:_CUT], max(0, len(body) - len(form)))
    while at >= 0:
        if form.startswith(body[at:]):
            text = body[:at] + MASK + text[len(body) :]
            break
        at = body.find(form[:_CUT], at + 1)
    at = text.rfind(form[-_CUT:], 0, len(form))
    if at >= 0 and form.endswith(text[: at + _CUT]):
        text = MASK + text[at + _CUT :]
    return text
