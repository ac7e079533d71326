"""What an operation's output must keep: a parser that there is, and fields of known types."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tool_catalog.bad_key import BadKey
from tool_catalog.model import Output
from tool_catalog.names import did_you_mean, near_or_all, suggest
from tool_catalog.pattern_checks import check_pattern

PARSERS = (
    *("json", "ndjson", "csv", "xml", "columns", "key_value", "regex", "text"),
    *("nmap", "dig"),
)
FIELD_TYPES = (
    *("text", "integer", "number", "boolean", "on_off", "percent", "time", "time_us"),
    *("list", "object"),
)


def check_output(output: Output, place: str) -> None:
    """Raises BadKey for the first thing in an operation's output that cannot work."""
    _check_parser(output.parser, f"{place}.parser")
    if (output.parser == "regex") != (output.pattern is not None):
        raise BadKey(f"{place}.pattern", "the regex parser has a pattern, and no other has")
    check_pattern(output.pattern, f"{place}.pattern")
    check_pattern(output.stderr, f"{place}.stderr")
    if output.sources and output.parser in {"columns", "regex"}:
        raise BadKey(f"{place}.fields", f"the {output.parser} parser names its fields itself")
    for name, kind in output.fields.items():
        if kind not in FIELD_TYPES:
            words = f"no field type {kind!r}{near_or_all(kind, FIELD_TYPES)}"
            raise BadKey(f"{place}.fields.{name}", words)


def _check_parser(name: str, place: str) -> None:
    if name.startswith("jc."):
        known = _jc_parsers()
        if name not in known:
            more = did_you_mean(suggest(name, known)) or "; see https://kellyjonbrazil.github.io/jc"
            raise BadKey(place, f"no parser {name!r} in jc{more}")
    elif name not in PARSERS:
        raise BadKey(place, f"no parser {name!r}{near_or_all(name, (*PARSERS, 'jc.<name>'))}")


@cache
def _jc_parsers() -> frozenset[str]:
    """Jc's parsers by our names; its files are looked at, for importing it takes long."""
    found = find_spec("jc")
    folder = Path(found.origin).parent if found and found.origin else Path()
    return frozenset(f"jc.{path.stem}" for path in folder.glob("parsers/[a-z]*.py"))
