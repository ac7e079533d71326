"""What the check of a plan looks at beside the plan: inventory, workers, secrets, rules (pure)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from app.faults import Faults
from app.plan import PlanStep
from app.render import has_expression
from app.safety import Policy
from app.selector import Selection, Selector, parse_selector
from app.worker_offer import WorkerOffer
from queues import Routing
from tool_catalog.model import Operation, Tool


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


@dataclass(frozen=True, slots=True)
class Rules:
    """What the owner of the farm laid down."""

    policy: Policy
    routing: Routing
    default_queue_timeout_s: float = 3600


@dataclass(frozen=True, slots=True)
class Draft:
    """A step under check: where it stands and which operation it means."""

    position: int
    key: str
    section: str
    step: PlanStep
    tool: Tool
    operation: Operation
    #: The step's own targets, or the plan's where the operation acts on a target.
    targets: Any
    faults: Faults
    #: Its expressions were rendered: what looks like one now is text.
    settled: bool = False

    @property
    def is_dynamic(self) -> bool:
        """Whether it holds expressions, so that it is rendered when it becomes due."""
        held = (self.step.parameters, self.targets)
        return self.step.when is not None or any(map(self.holds_expression, held))

    def holds_expression(self, value: Any) -> bool:  # noqa: ANN401  # any JSON value
        """Whether anything in `value` is still to be rendered."""
        return not self.settled and has_expression(value)

    @property
    def name(self) -> str:
        """Tool and operation as people say them: "systemctl restart"."""
        only = len(self.tool.operations) == 1
        return self.tool.name if only else f"{self.tool.name} {self.operation.name}"


@dataclass
class Scene:
    """The surroundings during one check: each thing is asked for once."""

    surroundings: Surroundings
    rules: Rules
    warnings: list[str] = field(default_factory=list)
    _selections: dict[str, Selection] = field(default_factory=dict)

    @cached_property
    def offers(self) -> Sequence[WorkerOffer] | None:
        """As `Surroundings.offers`."""
        return self.surroundings.offers()

    @cached_property
    def secret_names(self) -> set[str]:
        """As `Surroundings.secret_names`."""
        return self.surroundings.secret_names()

    def select(self, targets: Any) -> Selection:  # noqa: ANN401  # any form of a selector
        """What `targets` means. Raises SelectorError."""
        form = json.dumps(targets, sort_keys=True)
        if form not in self._selections:
            self._selections[form] = self.surroundings.select(parse_selector(targets))
        return self._selections[form]

    def warn(self, text: str) -> None:
        """Note a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)
