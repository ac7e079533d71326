"""A plan as asked for, and a plan that was checked: frozen data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.step import Target
from tool_catalog.model import Effect, Parameter, Repeat

#: What a failure means: the rest is skipped; go on; reverse what was done.
OnFailure = Literal["stop", "continue", "undo"]

MAX_STEPS = 1000
MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_STRING = 8 * 1024
MAX_TEXT = 64 * 1024
MAX_TEMPLATE = 4 * 1024
#: Blocks within blocks, and `parallel` within a block.
MAX_LEVELS = 2
MAX_PARALLEL = 1000
MAX_FAILURES = 100_000
#: Rows that `for_each` may give a step.
MAX_ITEMS = 1000
#: Rows of a whole plan.
MAX_ROWS = 100_000
#: Why something is run, approved or rejected.
MAX_REASON = 500
#: A week: the longest that an approval may stay open.
MAX_APPROVAL_S = 7 * 86400.0
#: A week: the longest that a plan may ask to take.
MAX_PLAN_S = 7 * 86400.0


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
    on_failure: OnFailure = "stop"
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    retries: int = 0
    backoff_s: float = 5.0
    vantage: str | None = None
    #: Of a destroying step: the name of its target, repeated (a list for several).
    confirm: Any = None
    #: A list, or the expression that gives one: the step runs once for each `item`.
    for_each: Any = None
    #: Whom to become on the target ("root"); None: whoever logs in.
    run_as: str | None = None
    #: How many rows of the step may be under way at once; None: all.
    max_parallel: int | None = None
    #: How many failed rows are borne before `on_failure` applies; None: `on_failure` at the first.
    max_failures: int | None = None
    #: What no targets at run time mean.
    on_empty: Literal["fail", "skip"] | None = None


@dataclass(frozen=True, slots=True)
class Parallel:
    """Steps of one stage: published together; the next stage begins when all are done."""

    steps: tuple[PlanStep, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Steps that each batch of targets passes through before the next batch begins."""

    steps: tuple["PlanStep | Parallel | Block", ...]
    targets: Any = None
    #: How many targets at a time: a number, or a share of them ("25%"); None: all at once.
    batch: int | str | None = None
    #: How many failed targets are borne before the rest of the block is skipped.
    max_failures: int = 0
    #: Whether a block that bore too many failures stops the plan.
    on_failure: OnFailure = "stop"
    when: str | None = None
    run_as: str | None = None
    on_empty: Literal["fail", "skip"] | None = None


#: What may stand in a plan's `steps`.
PlanEntry = PlanStep | Parallel | Block


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps as asked for."""

    steps: tuple[PlanEntry, ...]
    name: str | None = None
    targets: Any = None
    finally_steps: tuple[PlanEntry, ...] = ()
    #: What the plan asks for when it is run, in the catalogue's parameter types.
    inputs: Mapping[str, Parameter] = field(default_factory=dict)
    #: Values for them, as the caller gave them (`--set`).
    given: Mapping[str, Any] = field(default_factory=dict)
    #: A selector in text: no step acts on a target outside of it (`--limit`).
    limit: str | None = None
    run_as: str | None = None
    max_parallel: int | None = None
    max_failures: int | None = None
    on_empty: Literal["fail", "skip"] = "fail"
    #: The stored version it came from: (name, number).
    stored: tuple[str, int] | None = None
    #: Tools whose files changed since that version was saved.
    changed_tools: tuple[str, ...] = ()
    #: The execution that this one repeats.
    rerun_of: str | None = None
    #: Why it is run, as whoever submits it says; no part of the plan's identity.
    reason: str | None = None
    #: How long its approvals stay open, where that is less than the farm's own time.
    approval_timeout_s: float | None = None
    #: How long the whole execution may take; then it is cancelled. None: as long as it takes.
    timeout_s: float | None = None
    #: The plan as JSON, as it is kept and hashed.
    document: Mapping[str, Any] = field(default_factory=dict)
    #: JSON path ("steps[2].parameters.depth") to (line, column), for texts in YAML or JSON.
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """Whose yes a step needs before it runs."""

    #: "self": whoever submitted it may say yes, with a reason; "other": only somebody else.
    who: Literal["self", "other"]
    #: How many members of which groups; "approver" is everybody with the right to approve.
    groups: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cap:
    """What a row shares with others: how many may run at once, how long between two starts."""

    #: The same for all that share it, whatever the numbers are.
    key: str
    #: Who they are, as people say it: "systemctl on web-01".
    what: str
    running: int | None = None
    every_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One step on one target, ready for the ledger."""

    parameters: Mapping[str, Any]
    target: Target | None = None
    mutex: str | None = None
    #: The row's item of `for_each`.
    item: Any = None
    #: What was approved and must still hold when it runs: {"tool": digest, "login": {...}}.
    bound: Mapping[str, Any] | None = None
    caps: tuple[Cap, ...] = ()
    #: The row that this one reverses.
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """A step whose tool, operation and (if static) parameters and targets were checked.

    Inside a block with batches there is one of it for each batch, with the same position and
    key, in a stage of its own.
    """

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
    #: What rendering needs later, of a dynamic step: the PlanStep's members as JSON, with the
    #: plan's inputs that it names. Of the first step of a block whose targets or `when` an
    #: expression gives: the whole block, as `block`, and as `placeholders` how many stages, from
    #: this one on, hold the block's placeholder rows.
    template: Mapping[str, Any] | None = None
    #: Why there is nothing to do, known at submit (`when` is false, no targets): the row ends
    #: skipped with this as its summary. Such a step counts as dynamic, and its template says so,
    #: too: `check_due` answers `Skip`.
    skipped: str | None = None
    #: Place of the first row among all rows of the step: batches go on counting.
    first_index: int = 0
    run_as: str | None = None
    max_parallel: int | None = None
    #: Of a step in a block: the outermost block's.
    max_failures: int | None = None
    #: Where it stands in the plan, e.g. "steps[2].steps[0]".
    path: str = ""
    #: Number of the outermost block that the step stands in, from 1: it counts the failures.
    block: int | None = None
    #: What too many failures of that block mean; `on_failure` is the step's own.
    block_on_failure: OnFailure | None = None
    #: Whose yes it needs; None: nobody's, or not known before it is due.
    approval: Need | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody must say yes to before rows begin."""

    #: Of all that will run: parameters, targets, credentials' names, the tools' files.
    digest: str
    #: What people decide on, as JSON.
    shown: Mapping[str, Any]
    expires_s: float
    need: Need


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """Everything that `open_execution` writes."""

    name: str
    digest: str
    document: Mapping[str, Any]
    steps: tuple[CheckedStep, ...]
    #: Tool to the digest of its file.
    tools: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    stored: tuple[str, int] | None = None
    rerun_of: str | None = None
    reason: str | None = None
    approval_timeout_s: float | None = None
    timeout_s: float | None = None

    @property
    def stages(self) -> int:
        """How many stages there are."""
        return max(step.stage for step in self.steps) + 1

    @property
    def finally_stage(self) -> int:
        """The first stage of `finally`; `stages` when there is none."""
        return min((s.stage for s in self.steps if s.section == "finally"), default=self.stages)
