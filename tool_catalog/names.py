"""Names as people type them: any case, `_` or `-`, and a guess when one is nearly right."""

import difflib
from collections.abc import Iterable

#: Longer names are not compared: no name of ours is near them.
LONGEST_COMPARED = 64


class UnknownName(Exception):
    """A name that stands for nothing; `suggestion` is the nearest one that does."""

    def __init__(
        self, *, kind: str, name: str, suggestion: str | None, allowed: tuple[str, ...]
    ) -> None:
        self.kind = kind
        self.name = name
        self.suggestion = suggestion
        self.allowed = allowed
        super().__init__(f"no {kind} {shorten(name)!r}{did_you_mean(suggestion)}")


def normalise(name: str) -> str:
    """`Slack_CLI` and ` slack-cli` are both `slack-cli`."""
    return name.strip().lower().replace("_", "-")


def suggest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name nearest to `name`, or None when none is near."""
    if len(name) > LONGEST_COMPARED:
        return None
    wanted = normalise(name)
    by_form = {normalise(candidate): candidate for candidate in allowed}
    near = difflib.get_close_matches(wanted, by_form, n=1, cutoff=0.6)
    return by_form[near[0]] if near else None


def did_you_mean(suggestion: str | None) -> str:
    """The end of a message: `; did you mean 'depth'?`, or nothing."""
    return f"; did you mean {str(suggestion)!r}?" if suggestion else ""


def near_or_all(name: str, allowed: Iterable[str]) -> str:
    """The end of a message about a name that is unknown: the nearest one, else all there are."""
    names = sorted(allowed)
    near = did_you_mean(suggest(name, names))
    return near or (f"; known are {', '.join(names)}" if names else "; there are none")


def shorten(text: str, longest: int = 80) -> str:
    """At most `longest` characters of `text`."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UnknownName:
    """The error for a name that is not among `allowed`."""
    names = tuple(allowed)
    return UnknownName(kind=kind, name=name, suggestion=suggest(name, names), allowed=names)
