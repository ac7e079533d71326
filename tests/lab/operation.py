"""The surroundings of one Python operation, without a ledger."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from app.config import read_settings
from app.errors import NotFound, StepError
from app.step import Artifact, Credential, Secret, Step, Target
from tasks.operations.base import OperationContext
from tasks.runners.base import Runner, StepControl
from tool_catalog.loader import load_tool
from tool_catalog.model import Effect, Reason, Repeat
from tool_catalog.params import check_parameters

TOOLS = Path(__file__).parents[2] / "tool_catalog" / "tools"
EXECUTION = UUID("0190a5d2-0000-7000-8000-00000000cafe")


def checked(tool: str, given: dict, name: str | None = None) -> dict:
    """Parameters of an operation (the only one) as a worker gets them: checked, with defaults."""
    operations = load_tool(TOOLS / f"{tool}.yaml").operations
    operation = operations[name or next(iter(operations))]
    parameters, faults = check_parameters(operation, given)
    assert not faults
    return parameters


@dataclass
class Surroundings:
    """Settings, secrets and artifacts that a test plants; what the step did to its control."""

    settings: dict = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    timeout_s: float = 30
    attempt: int = 1
    target: Target | None = None
    credential: Credential | None = None
    #: What runs commands on the target.
    runner: Runner | None = None
    #: Whom to become there.
    user: str | None = None
    #: What the operation kept, by name.
    kept: dict[str, bytes] = field(default_factory=dict)
    #: Called when the step is armed.
    before_effect: Callable[[], None] = lambda: None
    #: How many times the step was armed.
    armed: int = 0
    lines: list[str] = field(default_factory=list)

    def context(self) -> OperationContext:
        self.control = StepControl(
            self.timeout_s,
            before_effect=self._arm,
            on_line=lambda _stream, line: self.lines.append(line),
        )
        return OperationContext(
            step=replace(_step(self.timeout_s, self.target), attempt=self.attempt),
            control=self.control,
            settings=read_settings(**self.settings),
            credential=self.credential,
            runner=self._find_runner,
            user=self.user,
            keep_artifact=self._keep,
            find_secret=self._find_secret,
            find_artifact=self._find_artifact,
            name_artifact=lambda artifact_id: self._find_artifact(artifact_id).name,
        )

    def _find_runner(self) -> Runner:
        if self.runner is None:
            raise StepError(Reason.UNREACHABLE, "nothing reaches this target here")
        return self.runner

    def _arm(self) -> None:
        self.armed += 1
        self.before_effect()

    def _find_artifact(self, artifact_id: str) -> Path:
        if artifact_id not in self.artifacts:
            raise NotFound(f"no artifact {artifact_id}")
        return self.artifacts[artifact_id]

    def _keep(self, path: Path, name: str) -> Artifact:
        data = path.read_bytes()
        path.unlink()
        self.kept[name] = data
        return Artifact(str(uuid4()), name, "file", len(data), sha256(data).hexdigest())

    def _find_secret(self, name: str) -> Secret:
        if name not in self.secrets:
            raise StepError(Reason.NOT_FOUND, f"no secret named {name}")
        return Secret(self.secrets[name])


def _step(timeout_s: float, target: Target | None) -> Step:
    return Step(
        id=42,
        execution_id=EXECUTION,
        tenant="default",
        plan_name="",
        position=1,
        key="step",
        tool="tool",
        operation="send",
        effect=Effect.CHANGE,
        repeat=Repeat.KEYED,
        parameters={},
        target=target,
        attempt=1,
        token=uuid4(),
        timeout_s=timeout_s,
        retries_left=0,
        backoff_s=0,
    )
