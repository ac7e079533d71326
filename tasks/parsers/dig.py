"""What dig prints about one question, as an object.

The parser of jc gives a list of questions, and takes a record apart into less than it is made of.
"""

import re
from typing import Any

from tasks.parsers.base import ParseError, cut
from tasks.parsers.fields import pick_fields
from tool_catalog.model import Output

_STATUS = re.compile(r"^;; ->>HEADER<<- opcode: \w+, status: (\w+)", re.MULTILINE)
_FLAGS = re.compile(r"^;; flags: ([a-z ]*);", re.MULTILINE)
_QUESTION = re.compile(r"^;(?!;)(\S+)\s+(\w+)\s+(\w+)$", re.MULTILINE)
_SERVER = re.compile(r"^;; SERVER: ([^(\s]+)", re.MULTILINE)
_TIME = re.compile(r"^;; Query time: (\d+) msec", re.MULTILINE)
#: name, ttl, class, type, and the rest.
_RECORD_PARTS = 5


def parse_dig(text: str, output: Output) -> dict[str, Any]:
    """{name, type, status, authoritative, values, answers, authority, server, query_ms}.

    A record is {name, ttl, type, value}; `values` are those of the type that was asked for.
    """
    status, question = _STATUS.search(text), _QUESTION.search(text)
    if status is None or question is None:
        raise ParseError(f"this is no answer that dig got: {cut(text)}")
    flags, server, time = (look.search(text) for look in (_FLAGS, _SERVER, _TIME))
    answers = _records(text, "ANSWER")
    value = {
        "name": question[1],
        "type": question[3],
        "status": status[1],
        "authoritative": "aa" in (flags[1].split() if flags else []),
        "values": [record["value"] for record in answers if record["type"] == question[3]],
        "answers": answers,
        "authority": _records(text, "AUTHORITY"),
        "server": server[1] if server else None,
        "query_ms": int(time[1]) if time else None,
    }
    return pick_fields(value, output.fields, output.sources)


def _records(text: str, section: str) -> list[dict[str, Any]]:
    """The records below a section's head, up to the blank line."""
    _, _, rest = text.partition(f";; {section} SECTION:\n")
    records = []
    for line in rest.partition("\n\n")[0].splitlines():
        parts = line.split(None, 4)
        if len(parts) != _RECORD_PARTS or not parts[1].isdigit():
            raise ParseError(f"this is no record: {cut(line)}")
        name, ttl, _, kind, value = parts
        records.append({"name": name, "ttl": int(ttl), "type": kind, "value": value})
    return records
