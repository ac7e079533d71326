"""Reads the members of a plan and of its steps, noting a fault for each that cannot be (pure)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from app.faults import Faults, join_path
from app.observe.redact import redact
from app.plan import MAX_REASON, MAX_STRING, MAX_TEMPLATE, OnFailure
from tool_catalog.names import shorten, suggest

#: Other spellings of a key.
_ALIASES = {"target": "targets"}
#: What useradd takes (shadow-utils, useradd(8)), with dots and capitals as directories have them.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def check_keys(
    value: Mapping[str, Any],
    known: Sequence[str],
    faults: Faults,
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Note each key that is not known here; `elsewhere` says of some where they belong."""
    for key in value:
        name = _ALIASES.get(key, key)
        if name in known:
            continue
        if elsewhere and name in elsewhere:
            faults.add(key, "misplaced_key", f"no key `{key}` here", hint=elsewhere[name])
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


def read_reason(members: Mapping[str, Any], faults: Faults) -> str | None:
    """Why something is done, or None; what looks like a secret in it is not kept."""
    reason = read_text(members, "reason", faults, limit=MAX_REASON)
    return None if reason is None else redact(reason)


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


def read_whole(
    members: Mapping[str, Any], key: str, faults: Faults, *, limits: tuple[int, int]
) -> int | None:
    """A member that is a whole number within `limits`, or None."""
    value = members.get(key)
    least, most = limits
    if value is None:
        return None
    allowed = f"a whole number from {least:,} to {most:,}"
    if isinstance(value, bool) or not isinstance(value, int):
        faults.add(key, "wrong_type", f"{key!r} is no whole number", given=value, allowed=allowed)
    elif not least <= value <= most:
        faults.add(key, "out_of_range", f"{key!r} is out of range", given=value, allowed=allowed)
    else:
        return value
    return None


def read_user(members: Mapping[str, Any], key: str, faults: Faults) -> str | None:
    """A member that is the name of a user of the target, or None."""
    value = members.get(key)
    if value is None or (isinstance(value, str) and _USER.fullmatch(value)):
        return value
    allowed = "a letter or _, then letters, digits and . _ - (32 at most)"
    faults.add(key, "bad_format", f"{key!r} names no user", given=value, allowed=allowed)
    return None


def read_on_empty(members: Mapping[str, Any], faults: Faults) -> Literal["fail", "skip"] | None:
    """The member `on_empty`, or None."""
    value = members.get("on_empty")
    if value in (None, "fail", "skip"):
        return value
    faults.add("on_empty", "not_allowed", "'on_empty' has no such word", given=value,
               allowed="fail, skip")  # fmt: skip
    return None


def read_on_failure(members: Mapping[str, Any], faults: Faults) -> OnFailure:
    """The member `on_failure`; "stop" when it is left out."""
    value = members.get("on_failure", "stop")
    in_finally = faults.base.startswith("finally")
    if value == "continue" or (value == "undo" and not in_finally):
        return "continue" if value == "continue" else "undo"
    if value == "undo":
        hint = "write it at the steps whose failure is to be made undone"
        faults.add("on_failure", "not_allowed", "`finally` reverses nothing", given=value,
                   allowed="stop, continue", hint=hint)  # fmt: skip
    elif value != "stop":
        faults.add("on_failure", "not_allowed", "'on_failure' has no such word", given=value,
                   allowed="stop, continue, undo")  # fmt: skip
    return "stop"


def read_when(members: Mapping[str, Any], faults: Faults) -> str | None:
    """The member `when`: a bare expression, or None."""
    value = members.get("when")
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    faults.add(
        "when",
        "wrong_type",
        "'when' is not an expression",
        given=value,
        allowed=f"a bare expression of at most {MAX_TEMPLATE:,} characters",
        hint="when: steps.disk.failed",
    )
    return None
