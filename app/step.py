"""A step on its way through a worker: frozen data that each hop takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from tool_catalog.model import Effect, Reason, Repeat


class State(StrEnum):
    """The states of a step row; an execution has those of `ExecutionState`."""

    PENDING = "pending"
    DUE = "due"
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


FINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED})


class ExecutionState(StrEnum):
    """The state of an execution: a pure function of its steps' states."""

    ATTENTION = "attention"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"


FINAL_EXECUTION_STATES = frozenset(
    {ExecutionState.FAILED, ExecutionState.CANCELLED, ExecutionState.SUCCEEDED}
)


class Secret:
    """A decrypted value that prints as `***`; `reveal()` is the only way in."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: hand it to a library, never to a log, an argv or an exception."""
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Target:
    """The asset a step acts on, as it was when the step was given its row."""

    name: str
    #: None for the built-in `local`: the worker's own host.
    asset_id: int | None = None
    #: Host name or address to connect to.
    address: str = ""
    #: "local", "ssh", "winrm" or "http".
    connection: str = "local"
    port: int | None = None
    os: str | None = None
    #: Runner settings of the asset's `connection` field, beside type and port.
    options: Mapping[str, Any] = field(default_factory=dict)


LOCAL = Target(name="local", address="localhost", connection="local")


@dataclass(frozen=True, slots=True)
class Credential:
    """How to log in to a target."""

    name: str
    username: str
    #: Of the login; the private key's passphrase where there is one.
    password: Secret | None = None
    #: A private key in PEM or OpenSSH form.
    private_key: Secret | None = None
    #: e.g. {"method": "sudo", "user": "root"}.
    become: Mapping[str, Any] | None = None
    #: What sudo asks for where it is not the password of the login.
    become_password: Secret | None = None


class Found(StrEnum):
    """What a probe found after an unknown outcome."""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "no answer"


@dataclass(frozen=True, slots=True)
class Probe:
    """A worker is asked to look what became of a step; it runs nothing of it."""

    #: The ledger's own clock, as it wrote it.
    asked_at: str
    #: What the operation's `before` read gave when the step was armed.
    before: Any


@dataclass(frozen=True, slots=True)
class Step:
    """A claimed step row: everything that a worker needs, read in one round trip."""

    id: int
    execution_id: UUID
    tenant: str
    plan_name: str
    #: 1-based place in the plan.
    position: int
    #: The step's id in expressions.
    key: str
    tool: str
    operation: str
    effect: Effect
    repeat: Repeat
    parameters: Mapping[str, Any]
    target: Target | None
    attempt: int
    token: UUID
    timeout_s: float
    #: How many more attempts a failure may have.
    retries_left: int
    backoff_s: float
    secrets: tuple[str, ...] = ()
    principal: str = ""
    #: Whom to become on the target; None: whoever logs in.
    run_as: str | None = None
    #: What was approved and must still hold: {"tool": digest, "login": {...}}; None: nothing.
    bound: Mapping[str, Any] | None = None
    #: It is interrupted, and not ours to run: its token is that of whoever ran it.
    probe: Probe | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a step left behind."""

    id: str
    name: str
    kind: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step leaves in the ledger. JSON-safe and already scrubbed of secrets."""

    state: State
    summary: str
    reason: Reason | None = None
    output: Any = None
    exit_code: int | None = None
    changed: bool | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    artifacts: Sequence[Artifact] = ()
    duration_s: float = 0.0
    #: The failure may pass by itself: a retry makes sense.
    transient: bool = False
    #: The effect may have happened although we saw no answer.
    unknown: bool = False
    #: "verified" or "unverified" where the step was stopped.
    stopped: str | None = None
    #: Part of the output is in an artifact only.
    truncated: bool = False
    #: What the operation's `before` read gave, ahead of the effect and after it.
    before: Any = None
    after: Any = None
