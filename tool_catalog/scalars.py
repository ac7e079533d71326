"""Text, numbers and the plain types: one value in, the normalised value out, or BadValue."""

import math
import posixpath
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from tool_catalog.model import Parameter
from tool_catalog.names import shorten, suggest

#: Longest values in characters, where the parameter sets no `max`.
MAX_STRING = 8 * 1024
MAX_TEXT = 64 * 1024
#: Longest value that is looked at as a number, an address or a filter.
MAX_SHORT = 1024
MAX_INTEGER = 2**63 - 1

_CONTROL_IN_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_DIGITS = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_WORD = re.compile(r"[A-Za-z0-9._:+@/][A-Za-z0-9._:+@/-]*")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class BadValue(Exception):
    """A value that a parameter does not accept; `place` is where inside it, e.g. "[1]"."""

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, place: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.place = place


def kind_of(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """What a value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if value is None:
        return "nothing"
    kinds = {str: "text", int: "a number", float: "a number", list: "a list", tuple: "a list"}
    return kinds.get(type(value), "an object")


def plain(number: float | None) -> str:
    """A bound without a needless fraction; nothing for None."""
    if number is None:
        return ""
    return str(int(number)) if number == int(number) else str(number)


def bound(parameter: Parameter, size: float, *, unit: str = "") -> None:
    """Raises BadValue when `size` is outside the parameter's `min` and `max`."""
    low, high = parameter.min, parameter.max
    if low is not None and size < low:
        raise BadValue("out_of_range", f"must be at least {plain(low)}{unit}")
    if high is not None and size > high:
        raise BadValue("out_of_range", f"must be at most {plain(high)}{unit}")


def read_text(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Text that may hold line breaks; `min` and `max` count characters."""
    if not isinstance(value, str):
        raise _not_text(parameter, value)
    if len(value) > (parameter.max or MAX_TEXT):
        longest = plain(parameter.max or MAX_TEXT)
        raise BadValue("out_of_range", f"is {len(value)} characters long; at most {longest}")
    if len(value) < (parameter.min or 0):
        raise BadValue("out_of_range", f"needs at least {plain(parameter.min)} characters")
    if _CONTROL_IN_TEXT.search(value):
        raise BadValue("bad_format", "holds a NUL or half a character")
    match_pattern(parameter, value)
    return value


def _not_text(parameter: Parameter, value: Any) -> BadValue:  # noqa: ANN401  # any JSON value
    if isinstance(value, Mapping) and "$secret" in value:
        return BadValue("wrong_type", f"takes {parameter.type.value}, not a secret")
    hint = "put it in quotes" if isinstance(value, int | float) else None
    return BadValue("wrong_type", f"must be text, not {kind_of(value)}", hint=hint)


def read_line(value: Any, parameter: Parameter, longest: int = MAX_STRING) -> str:  # noqa: ANN401  # any JSON value
    """One line that is neither empty nor an option; at most `longest` characters."""
    if not isinstance(value, str):
        raise _not_text(parameter, value)
    if len(value) > longest:
        raise BadValue("out_of_range", f"is {len(value)} characters long; at most {longest}")
    if not value:
        raise BadValue("out_of_range", "must not be empty")
    if _CONTROL.search(value):
        raise BadValue("bad_format", "holds a line break or another control character")
    if value.startswith("-"):
        raise BadValue("bad_format", "must not begin with '-': it would be read as an option")
    return value


def read_string(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """One line, with `pattern` and a length."""
    if value == "" and parameter.min == 0:
        return ""
    line = read_line(value, parameter, int(parameter.max or MAX_STRING))
    if len(line) < (parameter.min or 1):
        raise BadValue("out_of_range", f"needs at least {plain(parameter.min)} characters")
    match_pattern(parameter, line)
    return line


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def match_pattern(parameter: Parameter, value: str) -> None:
    """The whole value must match the pattern of its parameter."""
    if parameter.pattern and not _compile(parameter.pattern).fullmatch(value):
        raise BadValue("bad_format", f"does not match {parameter.pattern}")


def read_word(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A string that no tool takes apart."""
    word = read_string(parameter, value)
    if not _WORD.fullmatch(word):
        raise BadValue("bad_format", "may hold only letters, digits and . _ : + @ / -")
    return word


def read_integer(parameter: Parameter, value: Any) -> int:  # noqa: ANN401  # any JSON value
    """A whole number; text of plain digits serves too (a command line has only text)."""
    if isinstance(value, str) and len(value) <= MAX_SHORT and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadValue("wrong_type", f"must be a whole number, not {kind_of(value)}")
    if abs(value) > MAX_INTEGER:
        raise BadValue("out_of_range", "is too large")
    bound(parameter, value)
    return value


def read_number(parameter: Parameter, value: Any) -> float:  # noqa: ANN401  # any JSON value
    """A finite number; decimal text serves too."""
    if isinstance(value, str) and len(value) <= MAX_SHORT and _DECIMAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValue("wrong_type", f"must be a number, not {kind_of(value)}")
    if abs(value) > MAX_INTEGER or math.isnan(value):
        raise BadValue("out_of_range", "is not a number that can be kept")
    bound(parameter, value)
    return value


def read_boolean(parameter: Parameter, value: Any) -> bool:  # noqa: ANN401  # any JSON value
    """True or false, also as text; `choices` may allow only one of them (a confirmation)."""
    text = str(value).lower() if isinstance(value, bool) else value
    if text not in ("true", "false"):
        raise BadValue("wrong_type", f"must be true or false, not {kind_of(value)}")
    if parameter.choices and text not in parameter.choices:
        raise BadValue("not_allowed", f"must be {' or '.join(parameter.choices)}")
    return text == "true"


def read_choice(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """One of the declared choices, exactly as they are written."""
    if type(value) is int and str(value) in parameter.choices:
        return str(value)
    if not isinstance(value, str):
        raise _not_text(parameter, value)
    if value in parameter.choices:
        return value
    near = suggest(value, parameter.choices)
    hint = f"did you mean {near!r}?" if near else None
    raise BadValue("not_allowed", f"must be one of {', '.join(parameter.choices)}", hint=hint)


def read_path(parameter: Parameter, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """An absolute path, normalised; no `..`, which would hide where it leads."""
    path = read_line(value, parameter, 4096)
    if not path.startswith("/"):
        raise BadValue("bad_format", "must be an absolute path, such as /var/log")
    normal = "/" + posixpath.normpath(path).lstrip("/")
    if ".." in path.split("/"):
        raise BadValue(
            "bad_format", "must not hold '..'", hint=f"did you mean {shorten(normal)!r}?"
        )
    match_pattern(parameter, normal)
    return normal


def read_duration(parameter: Parameter, value: Any) -> float:  # noqa: ANN401  # any JSON value
    """Seconds, from "90s", "5m", "1.5h" or a number of seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(read_line(value, parameter, MAX_SHORT))
        if match is None:
            raise BadValue("bad_format", "must be a number with ms, s, m, h or d, such as 30s")
        value = float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValue("wrong_type", f"must be a duration, not {kind_of(value)}")
    if not 0 <= value <= MAX_INTEGER:
        raise BadValue("out_of_range", "must not be negative")
    bound(parameter, value, unit=" s")
    return float(value)
