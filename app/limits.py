"""The policy's `limits:` and a tool's `rate_limit`, as they bear on rows (pure).

What a limit counts is the same for every row in the same place of it: such rows share a cap. A row
carries its caps, found once, before it is written down; the ledger counts (`limits.sql`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.plan import Cap, CheckedRow, CheckedStep
from app.principal import Principal
from queues import Domain
from tool_catalog.loader import Catalog
from tool_catalog.model import Effect, Operation
from tool_catalog.names import normalise
from tool_catalog.rate import interval_of

#: A day: the longest time between two starts that a limit may ask for.
MAX_EVERY_S = 86400.0
MAX_RULES = 50

#: By what a rule may count apart.
Part = Literal["tool", "domain", "target", "principal"]
_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class LimitRule(BaseModel):
    """How many of the steps that it fits may run at once, and how often one may begin.

    What is left out fits everything; `per` counts apart for each tool, target, ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tools: _Names | None = None
    domain: Domain | None = None
    effect: Effect | None = None
    #: Names of assets, or `local`.
    targets: _Names | None = None
    principals: _Names | None = None
    per: tuple[Part, ...] = ()
    #: So many run at once.
    running: Annotated[int, Field(ge=1, le=10_000)] | None = None
    #: So many seconds lie between two starts.
    every_s: Annotated[float, Field(gt=0, le=MAX_EVERY_S)] | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.running is None and self.every_s is None:
            raise ValueError("a limit says `running`, `every_s`, or both")
        return self

    def cap(self, step: CheckedStep, row: CheckedRow, principal: str) -> Cap | None:
        """What a row shares under this rule; None where the rule is not about it."""
        target = row.target.name if row.target else None
        if not self._fits(step, target, principal) or ("target" in self.per and target is None):
            return None
        values = {
            "tool": step.tool,
            "domain": step.domain,
            "target": target,
            "principal": principal,
        }
        apart = [f"{part}={values[part]}" for part in sorted(set(self.per))]
        return Cap(
            key=" ".join([*self._conditions(), "per", *apart]),
            what=self._describe(step, target, principal),
            running=self.running,
            every_s=self.every_s,
        )

    def _fits(self, step: CheckedStep, target: str | None, principal: str) -> bool:
        tools = None if self.tools is None else {normalise(tool) for tool in self.tools}
        return (
            (tools is None or normalise(step.tool) in tools)
            and (self.domain is None or step.domain == self.domain.value)
            and (self.effect is None or step.effect is self.effect)
            and (self.targets is None or target in self.targets)
            and (self.principals is None or principal in self.principals)
        )

    def _conditions(self) -> Iterator[str]:
        """The rule without its numbers: changed ones go on counting the same steps."""
        for name in ("tools", "domain", "effect", "targets", "principals"):
            value = getattr(self, name)
            if value is not None:
                yield f"{name}={','.join(sorted(value)) if isinstance(value, tuple) else value}"

    def _describe(self, step: CheckedStep, target: str | None, principal: str) -> str:
        """The steps that are counted, as people say it: "systemctl on web-01"."""
        what = " or ".join(self.tools or ("steps",))
        if "tool" in self.per:
            what = step.tool
        if self.domain is not None or "domain" in self.per:
            what = f"{what} of {step.domain}"
        if self.effect is not None:
            what = f"{what} that {self.effect.value}"
        on = [target or ""] if "target" in self.per else list(self.targets or ())
        by = [principal] if "principal" in self.per else list(self.principals or ())
        return what + _join(" on ", on) + _join(" for ", by)


def limit_steps(
    steps: Sequence[CheckedStep],
    rules: Sequence[LimitRule],
    principal: Principal,
    catalog: Catalog,
) -> tuple[CheckedStep, ...]:
    """The steps, each row with its caps; a dynamic step gets them when its rows are known."""
    return tuple(_limit(step, rules, principal.name, catalog) for step in steps)


def tell_cap(cap: Cap) -> str:
    """A row's limit in words: "2 running systemctl on web-01"."""
    running = [] if cap.running is None else [f"{cap.running} running {cap.what}"]
    every = [] if cap.every_s is None else [f"one {cap.what} every {cap.every_s:g} s"]
    return ", ".join(running + every)


def check_limits(rules: Sequence[LimitRule], catalog: Catalog) -> None:
    """Refuse a rule about a tool that there is not: it would hold nobody. Raises UnknownName."""
    for rule in rules:
        for tool in rule.tools or ():
            catalog.find(tool)


def _limit(
    step: CheckedStep, rules: Sequence[LimitRule], principal: str, catalog: Catalog
) -> CheckedStep:
    if step.dynamic or step.skipped is not None:
        return step
    operation = catalog.operation(catalog.find(step.tool), step.operation)
    if operation.rate_limit is None and not rules:
        return step
    own = _rate_cap(step, operation)
    rows = []
    for row in step.rows:
        caps = [own, *(rule.cap(step, row, principal) for rule in rules)]
        rows.append(replace(row, caps=tuple(cap for cap in caps if cap is not None)))
    return replace(step, rows=tuple(rows))


def _rate_cap(step: CheckedStep, operation: Operation) -> Cap | None:
    """The tool's own limit: it counts all starts of the operation together."""
    if operation.rate_limit is None:
        return None
    key = f"rate {step.tool}.{step.operation}"
    return Cap(key, f"{step.tool} {step.operation}", None, interval_of(operation.rate_limit))


def _join(word: str, names: Sequence[str]) -> str:
    return word + " or ".join(names) if names else ""
