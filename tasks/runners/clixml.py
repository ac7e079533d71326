"""What PowerShell writes to standard error as CLIXML, as the lines that a person would see.

PowerShell writes errors and warnings so when its script is given encoded. Records are found as
text, never parsed as a document: raw lines stand between them, and a host is not to be trusted.
"""

import html
import re
from collections.abc import Mapping

_HEADER = b"#< CLIXML"
#: A record, the begin of an object, the frame around all, or a line that is no XML.
_OUTSIDE = re.compile(
    rb'<S S="(?P<kind>\w+)">(?P<text>[^<]*)</S>|(?P<object><Obj\b[^>]*>)'
    rb"|#< CLIXML\r?\n|</?Objs\b[^>]*>|(?P<line>(?!<)[^\n]*\n)"
)
#: Objects are progress and the like; they may hold others.
_INSIDE = re.compile(rb"(?P<end></Obj>)|(?P<object><Obj\b[^>]*>)|<[^>]*>|[^<]+")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
#: What is held back at most of a line or record that does not end.
_HELD_BYTES = 64 * 1024
#: Before records that are no errors.
_PREFIXES: Mapping[str, str] = {
    "warning": "WARNING: ",
    "verbose": "VERBOSE: ",
    "debug": "DEBUG: ",
}


class ErrorText:
    """Turns standard error, fed as it comes, into readable text."""

    def __init__(self) -> None:
        self._held = b""
        self._encoded = False
        #: How many objects enclose what comes next.
        self._depth = 0

    def feed(self, data: bytes) -> bytes:
        """What can be read so far; an unfinished line or record is held back."""
        self._held += data
        shown = self._take_records() if self._encoded else self._take_lines()
        return shown + self.finish() if len(self._held) > _HELD_BYTES else shown

    def finish(self) -> bytes:
        """What was held back, as it is."""
        held, self._held = self._held, b""
        return held

    def _take_lines(self) -> bytes:
        before, header, after = self._held.partition(_HEADER)
        if header:
            self._encoded = True
            self._held = header + after
            return before + self._take_records()
        whole = self._held.rfind(b"\n") + 1
        text, self._held = self._held[:whole], self._held[whole:]
        return text

    def _take_records(self) -> bytes:
        shown = []
        at = 0
        while (token := (_INSIDE if self._depth else _OUTSIDE).match(self._held, at)) is not None:
            at = token.end()
            found = token.groupdict()
            self._depth += (found["object"] is not None) - (found.get("end") is not None)
            if found.get("line") is not None:
                shown.append(found["line"])
            elif found.get("kind") is not None:
                shown.append(_show(found["kind"], found["text"]))
        self._held = self._held[at:]
        return b"".join(shown)


def _show(kind: bytes, text: bytes) -> bytes:
    """A record as a line, or a part of one: the records of an error hold its line ends."""
    prefix = _PREFIXES.get(kind.decode().lower(), "")
    plain = html.unescape(text.decode(errors="replace"))
    plain = _ESCAPE.sub(lambda code: chr(int(code[1], 16)), plain).replace("\r\n", "\n")
    if prefix and not plain.endswith("\n"):
        plain += "\n"
    return (prefix + plain).encode(errors="replace")
