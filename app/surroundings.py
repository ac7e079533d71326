"""What the check of a plan looks at beside the plan: inventory, workers, secrets, rules (pure)."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from app.faults import Faults
from app.plan import PlanStep
from app.privilege import Login
from app.render import knows_condition, knows_names
from app.safety import Policy
from app.selector import Selection, Selector, parse_selector
from app.step import Target
from app.worker_offer import WorkerOffer
from queues import Routing
from tool_catalog.model import Operation, Tool

#: Which item it will be is not asked; that there is one is checked with the references.
_ANY_ITEM: Mapping[str, Any] = {"item": None}


class Surroundings(Protocol):
    """What the check asks of the farm."""

    def select(self, selector: Selector) -> Selection:
        """The assets that a selector means now."""
        ...

    def offers(self) -> Sequence[WorkerOffer] | None:
        """What workers advertised in the last 24 h; None where no farm is asked."""
        ...

    def secret_names(self) -> set[str]:
        """The names of the secrets that there are."""
        ...

    def logins(self, asset_ids: Collection[int]) -> Mapping[int, Login]:
        """By asset, whose login a step on it would use; an asset without one is not in it."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What the owner of the farm laid down."""

    policy: Policy
    routing: Routing
    default_queue_timeout_s: float = 3600
    #: How long an approval stays open at most.
    approval_timeout_s: float = 86400


@dataclass(frozen=True, slots=True)
class Draft:
    """A step under check: where it stands and which operation it means."""

    position: int
    key: str
    section: Literal["main", "finally"]
    #: With what it takes over from its blocks and its plan.
    step: PlanStep
    tool: Tool
    operation: Operation
    #: The step's own targets, or the plan's where the operation acts on a target; None where
    #: they are those of a block.
    targets: Any
    faults: Faults
    #: What expressions may name now, with its values: "inputs", and of a due step all the rest.
    context: Mapping[str, Any] = field(default_factory=dict)
    #: Its turn has come; workers and references were looked at when it was submitted.
    due: bool = False
    #: Targets of the block around it, where the step acts on them.
    members: tuple[Target, ...] | None = None
    #: A block around it is rendered later, and the step with it.
    waits: bool = False
    #: Why the block around it is skipped, and the step with it.
    skipped: str | None = None

    @property
    def is_dynamic(self) -> bool:
        """Whether it holds expressions that are rendered when it becomes due."""
        step = self.step
        if self.waits or (step.when is not None and not knows_condition(step.when, self.context)):
            return True
        if not knows_names(step.for_each, self.context):
            return True
        context = self.context if step.for_each is None else {**self.context, **_ANY_ITEM}
        named = (step.parameters, self.targets, step.confirm)
        return not all(knows_names(value, context) for value in named)

    @property
    def name(self) -> str:
        """Tool and operation as people say them: "systemctl restart"."""
        only = len(self.tool.operations) == 1
        return self.tool.name if only else f"{self.tool.name} {self.operation.name}"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a plan's steps may act on at most."""

    #: The selector, as it was given.
    text: str
    ids: frozenset[int]


@dataclass
class Scene:
    """The surroundings during one check: each thing is asked for once."""

    surroundings: Surroundings
    rules: Rules
    limit: Limit | None = None
    warnings: list[str] = field(default_factory=list)
    _selections: dict[str, Selection] = field(default_factory=dict)
    _logins: dict[int, Login | None] = field(default_factory=dict)

    @cached_property
    def offers(self) -> Sequence[WorkerOffer] | None:
        """As `Surroundings.offers`."""
        return self.surroundings.offers()

    @cached_property
    def secret_names(self) -> set[str]:
        """As `Surroundings.secret_names`."""
        return self.surroundings.secret_names()

    def logins(self, asset_ids: Collection[int]) -> Mapping[int, Login | None]:
        """As `Surroundings.logins`, with None for an asset that has none."""
        missing = set(asset_ids) - self._logins.keys()
        if missing:
            found = self.surroundings.logins(missing)
            self._logins |= {each: found.get(each) for each in missing}
        return self._logins

    def select(self, targets: Any) -> Selection:  # noqa: ANN401  # any form of a selector
        """What `targets` means. Raises SelectorError."""
        form = json.dumps(targets, sort_keys=True)
        if form not in self._selections:
            self._selections[form] = self.surroundings.select(parse_selector(targets))
        return self._selections[form]

    def keep_limit(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Those of `targets` that the limit lets through; the worker's own host is no asset."""
        if self.limit is None:
            return tuple(targets)
        return tuple(t for t in targets if t.asset_id is None or t.asset_id in self.limit.ids)

    def warn(self, text: str) -> None:
        """Note a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)
