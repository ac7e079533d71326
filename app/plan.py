"""A plan as asked for, and a plan that was checked: frozen data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.step import Target
from tool_catalog.model import Effect, Repeat

#: Keys that are refused by name: a later version may serve them (docs/plans.md).
LATER_KEYS = {
    "plan": ("inputs", "run_as", "max_parallel", "max_failures", "on_empty"),
    "step": (
        "for_each",
        "run_as",
        "max_parallel",
        "max_failures",
        "on_empty",
        "batch",
        "steps",
        "parallel",
    ),
}

MAX_STEPS = 1000
MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_STRING = 8 * 1024
MAX_TEXT = 64 * 1024
MAX_TEMPLATE = 4 * 1024


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step as written: values may hold `{{ expressions }}`."""

    tool: str
    operation: str | None = None
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: Name, id, ip, selector mapping or text, list of those, or an expression.
    targets: Any = None
    #: A bare expression.
    when: str | None = None
    on_failure: Literal["stop", "continue"] = "stop"
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    retries: int = 0
    backoff_s: float = 5.0
    vantage: str | None = None
    #: Of a destroying step: the name of its target, repeated (a list for several).
    confirm: Any = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps as asked for."""

    steps: tuple[PlanStep, ...]
    name: str | None = None
    targets: Any = None
    finally_steps: tuple[PlanStep, ...] = ()
    #: The plan as JSON, as it is kept and hashed.
    document: Mapping[str, Any] = field(default_factory=dict)
    #: JSON path ("steps[2].parameters.depth") to (line, column), for texts in YAML or JSON.
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One step on one target, ready for the ledger."""

    parameters: Mapping[str, Any]
    target: Target | None = None
    mutex: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """A step whose tool, operation and (if static) parameters and targets were checked."""

    position: int
    key: str
    stage: int
    section: Literal["main", "finally"]
    tool: str
    operation: str
    domain: str
    queue: str
    effect: Effect
    repeat: Repeat
    dynamic: bool
    on_failure: str
    timeout_s: float
    queue_timeout_s: float
    max_retries: int
    backoff_s: float
    rows: tuple[CheckedRow, ...]
    #: Names of secrets and credentials that the worker may ask for.
    secrets: tuple[str, ...] = ()
    #: {"programs": [...], "capabilities": [...], "interface": name | None, "vantage": host | None}.
    needs: Mapping[str, Any] = field(default_factory=dict)
    #: What rendering needs later, of a dynamic step: the PlanStep's members as JSON.
    template: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """Everything that `open_execution` writes."""

    name: str
    digest: str
    document: Mapping[str, Any]
    steps: tuple[CheckedStep, ...]
    warnings: Sequence[str] = ()

    @property
    def stages(self) -> int:
        """How many stages there are."""
        return self.steps[-1].stage + 1

    @property
    def finally_stage(self) -> int:
        """The first stage of `finally`; `stages` when there is none."""
        return min((s.stage for s in self.steps if s.section == "finally"), default=self.stages)
