"""The names of stored plans: `nightly` is the newest version, `nightly@3` the third (pure)."""

import re
from dataclasses import dataclass

#: What a stored plan's name may be; `GET /plans/schema` is the schema of plans.
NAME = re.compile(r"(?!schema(?:@|\Z))[a-z][a-z0-9-]{0,62}")
ALLOWED = "a lower-case letter, then letters, digits and - (63 at most), but not 'schema'"
_WHOLE = re.compile(rf"({NAME.pattern})(?:@([1-9][0-9]{{0,8}}))?")


@dataclass(frozen=True, slots=True)
class PlanName:
    """A stored plan, or one version of it."""

    name: str
    #: None: the newest.
    version: int | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def read_plan_name(text: str) -> PlanName | None:
    """The stored plan that a text names; None where it can be no such name."""
    found = _WHOLE.fullmatch(text)
    return PlanName(found[1], int(found[2]) if found[2] else None) if found else None


def is_plan_text(given: object) -> bool:
    """Whether it is the text of a plan, and not the name of a stored one."""
    return isinstance(given, str) and any(mark in given for mark in "\n:{")
