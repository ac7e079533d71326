"""Reads the members of a plan and of its steps, noting a fault for each that cannot be (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.faults import Faults, join_path
from app.plan import MAX_STRING
from tool_catalog.names import shorten, suggest

#: Other spellings of a key.
_ALIASES = {"target": "targets"}


def check_keys(
    value: Mapping[str, Any], known: Sequence[str], later: Sequence[str], faults: Faults
) -> None:
    """Note each key that is not known, and each that is but not served yet."""
    for key in value:
        name = _ALIASES.get(key, key)
        if name in known:
            continue
        if key in later:
            hint = "this version of opsfarm has no such plans; leave it out"
            faults.add(key, "not_served", f"`{key}` is not served yet", hint=hint)
            continue
        near = suggest(key, known)
        faults.add(
            key,
            "unknown_key",
            f"no key {shorten(key)!r} here",
            shown=shorten(key),
            allowed=known,
            hint=f"did you mean {near!r}?" if near else None,
        )


def unalias(value: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """The members under their own names, without those that are null."""
    for alias, name in _ALIASES.items():
        if alias in value and name in value:
            faults.add(alias, "given_twice", f"`{alias}` and `{name}` are the same; write one")
    return {_ALIASES.get(k, k): item for k, item in value.items() if item is not None}


def check_strings(value: Any, path: str, faults: Faults, *, limit: int = MAX_STRING) -> None:  # noqa: ANN401  # any JSON value
    """Note each text in `value` that is longer than `limit`, or that no database keeps."""
    if isinstance(value, str):
        _check_string(value, path, faults, limit)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_strings(item, f"{path}[{index}]", faults, limit=limit)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_string(str(key), path, faults, limit)
            check_strings(item, join_path(path, str(key)), faults, limit=limit)


def _check_string(text: str, path: str, faults: Faults, limit: int) -> None:
    if len(text) > limit:
        message = f"a text of {len(text):,} characters"
        hint = "put it into an artifact and name that"
        faults.add(path, "too_large", message, given=text, allowed=f"at most {limit:,}", hint=hint)
    elif "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        message = "a text with a NUL or half a character"
        faults.add(path, "bad_format", message, given=text, allowed="Unicode text without NUL")


def read_text(
    members: Mapping[str, Any], key: str, faults: Faults, *, limit: int = MAX_STRING
) -> str | None:
    """A member that is one line of text, or None."""
    value = members.get(key)
    if value is None:
        return None
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= limit:
        return value.strip()
    if not (isinstance(value, str) and len(value) > MAX_STRING):  # noted by check_strings
        allowed = f"one line of text, 1 to {limit:,} characters"
        faults.add(key, "wrong_type", f"{key!r} is not such a text", given=value, allowed=allowed)
    return None


def read_number(
    members: Mapping[str, Any], key: str, faults: Faults, *, limits: tuple[float, float]
) -> float | None:
    """A member that is a number within `limits`, or None."""
    value = members.get(key)
    least, most = limits
    if value is None:
        return None
    allowed = f"a number from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        faults.add(key, "wrong_type", f"{key!r} is not a number", given=value, allowed=allowed)
    elif not least <= value <= most:
        faults.add(key, "out_of_range", f"{key!r} is out of range", given=value, allowed=allowed)
    else:
        return float(value)
    return None
