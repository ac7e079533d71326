"""The text form of a selector: read into the mapping form, and written from it (pure).

selector = part {";" part}; part = term {"," term}; term = name | condition | "!" term
| "!(" condition {"," condition} ")"; condition = field "=" value {"|" value}; a value with
marks of its own stands in double quotes, as JSON writes texts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_SELECTOR_CHARS = 8192
EXAMPLE = "write for example environment=production,tags.role=web,!web-03"

_TOKEN = re.compile(
    r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")\s*'
    r'|(?P<mark>[,;!()=|])|(?P<bare>[^,;!()=|"\s][^,;!()=|"]*))'
)
_BARE = re.compile(r"[\w.:/@+-](?:[\w.:/@+ -]*[\w.:/@+-])?")

#: Kind ("quoted", "mark" or "bare") and text.
_Token = tuple[str, str]
_DEPTH_CHANGE: Mapping[_Token, int] = {("mark", "("): 1, ("mark", ")"): -1}


class SelectorError(ValueError):
    """Not a selector; the text says what is wrong and how to write it."""


def read_text(text: str) -> list[dict[str, Any]]:
    """The parts as mappings: {"names": [...]}, conditions, "not": [mapping, ...].

    Field names and values are as written; raises SelectorError.
    """
    return [_read_part(part) for part in _split(_scan(text), ";")]


def write_value(text: str) -> str:
    """A value as the text form has it, in quotes where it needs them."""
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _scan(text: str) -> list[_Token]:
    if len(text) > MAX_SELECTOR_CHARS:
        raise SelectorError(f"{len(text)} characters; at most {MAX_SELECTOR_CHARS}")
    tokens: list[_Token] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise SelectorError(f"cannot read {text[place : place + 20]!r}; {EXAMPLE}")
        kind = str(found.lastgroup)
        tokens.append((kind, found[kind].strip()))
        place = found.end()
    return tokens


def _split(tokens: Sequence[_Token], mark: str) -> list[list[_Token]]:
    """Cut at a mark that stands outside parentheses."""
    pieces: list[list[_Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += _DEPTH_CHANGE.get(token, 0)
        if token == ("mark", mark) and depth == 0:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _read_part(tokens: Sequence[_Token]) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for term in _split(tokens, ","):
        if term[:1] == [("mark", "!")]:
            part.setdefault("not", []).append(_read_negated(term[1:]))
        elif ("mark", "=") in term:
            key, values = _read_condition(term)
            if key in part:
                raise SelectorError(f"{key} is given twice; write alternatives as {key}=one|other")
            part[key] = values
        else:
            part.setdefault("names", []).append(_read_name(term))
    return part


def _read_negated(term: Sequence[_Token]) -> dict[str, Any]:
    if term[:1] == [("mark", "(")] and term[-1:] == [("mark", ")")]:
        return _read_part(term[1:-1])
    return _read_part(term)


def _read_condition(term: Sequence[_Token]) -> tuple[str, list[str]]:
    values = _split(term[2:], "|")
    single = all(len(value) == 1 and value[0][0] != "mark" for value in values)
    if not single or term[0][0] != "bare" or term[1] != ("mark", "="):
        raise SelectorError(
            f"cannot read the condition {_show(term)!r}: write field=value or field=one|other; "
            'a value that holds a mark stands in quotes: os="Debian (12)"'
        )
    if term[0][1] in {"names", "not"}:
        raise SelectorError(f"{term[0][1]} is no field in a text; {EXAMPLE}")
    return term[0][1], [_unquote(value[0]) for value in values]


def _read_name(term: Sequence[_Token]) -> str:
    if len(term) != 1 or term[0][0] != "bare":
        raise SelectorError(
            f"cannot read {_show(term)!r}; {EXAMPLE}" if term else f"an empty term; {EXAMPLE}"
        )
    return term[0][1]


def _unquote(token: _Token) -> str:
    if token[0] == "bare":
        return token[1]
    try:
        return str(json.loads(token[1]))
    except ValueError:
        raise SelectorError(f"{token[1][:80]} is not quoted as JSON quotes texts") from None


def _show(term: Sequence[_Token]) -> str:
    return "".join(text for _, text in term)[:80]
