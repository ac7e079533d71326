"""Collects what is wrong with a plan, each fault with its place, cut and masked (pure)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from app.errors import Fault, PlanRejected
from tool_catalog.document import find_place

LONGEST_GIVEN = 80
_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|credential|api_?key|private", re.IGNORECASE
)


class Details(TypedDict, total=False):
    """What a fault may say beside its path, code and message."""

    given: Any
    #: Instead of `given`: text that is already cut and masked.
    shown: str | None
    allowed: str | Sequence[str] | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class Faults:
    """Every fault found so far. `at` gives a view that names a step and shares the list."""

    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    found: list[Fault] = field(default_factory=list)
    #: Path of the step, e.g. "steps[2]", put before the paths of its faults.
    base: str = ""
    #: e.g. "3 (df)".
    step: str | None = None

    def at(self, base: str, step: str | None = None) -> "Faults":
        """The same list, for faults under `base`."""
        return Faults(self.places, self.found, base, step)

    def add(self, path: str, code: str, message: str, **details: Unpack[Details]) -> None:
        """Note one fault; `path` is relative to `base`."""
        full = join_path(self.base, path)
        line, column = find_place(self.places, full) or (None, None)
        allowed = details.get("allowed")
        given = details.get("shown")
        if "given" in details:
            given = show_given(full, details["given"])
        self.found.append(
            Fault(
                path=full,
                code=code,
                message=message,
                step=self.step,
                given=given,
                allowed=allowed
                if allowed is None or isinstance(allowed, str)
                else ", ".join(allowed),
                hint=details.get("hint"),
                line=line,
                column=column,
            )
        )

    def has(self, path: str) -> bool:
        """Whether there is a fault at `path`, relative to `base`."""
        full = join_path(self.base, path)
        return any(fault.path == full for fault in self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.found)

    def raise_if_any(self) -> None:
        """Raise PlanRejected with every fault, in the order of the plan's text."""
        if self.found:
            raise PlanRejected(sorted(self.found, key=lambda f: (f.line or 0, f.column or 0)))


def join_path(base: str, path: str) -> str:
    """`steps[2]` and `parameters.depth` make `steps[2].parameters.depth`."""
    if not base or not path:
        return base or path
    return base + path if path.startswith("[") else f"{base}.{path}"


def show_given(path: str, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """A value as text of at most 80 characters; `***` where the path names something secret."""
    if _SECRET_NAME.search(path.rpartition("parameters")[2]):
        return "***"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= LONGEST_GIVEN else text[: LONGEST_GIVEN - 3] + "..."
