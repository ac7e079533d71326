"""One step as a worker performs it, over the real runners: before, arm, act, verify, after."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

from app.config import read_settings
from app.step import Credential, Secret, Step, StepResult, Target
from tasks.perform import perform
from tasks.runners.table import make_runners
from tasks.running import Running
from tasks.workshop import find_operations
from tool_catalog.loader import load_catalog
from tool_catalog.params import check_parameters


@dataclass
class Performed:
    """What came of a step."""

    result: StepResult
    #: What the ledger was told had been before, each time the step armed.
    armed: list = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class StepBench:
    """Performs steps without a ledger; `close` lets go of the runners."""

    def __init__(self, folder: Path, **settings) -> None:
        self._settings = read_settings(state_dir=folder, **settings)
        self._catalog = load_catalog()
        self._operations = find_operations(self._catalog)
        self.runners = make_runners(self._settings)

    def run(
        self,
        name: str,
        given: dict | None = None,
        *,
        target: Target | None = None,
        credential: Credential | None = None,
        cancelled: threading.Event | None = None,
        secrets: dict[str, str] | None = None,
        files: dict[str, Path] | None = None,
        **members,
    ) -> Performed:
        """`name` is "tool operation"; parameters are checked as at submit.

        `secrets` maps names to texts, `files` ids of artifacts to local files; `members` are the
        step's own.
        """
        tool_name, operation_name = name.split()
        tool = self._catalog.find(tool_name)
        operation = tool.operations[operation_name]
        values, faults = check_parameters(operation, given or {})
        assert faults == []
        performed = Performed(result=None)
        members = {"target": target, "secrets": tuple(secrets or {}), **members}
        step = _step(tool_name, operation, values, members)
        shop = self._shop(performed, credential, secrets or {}, files or {})
        running = Running(step, cancelled or threading.Event())
        performed.result = perform(running, tool, operation, shop)
        return performed

    def close(self) -> None:
        for runner in self.runners.values():
            runner.close()

    def _shop(self, performed, credential, secrets, files):
        def arm_step(_step, before):
            performed.armed.append(before)
            return True

        sink = SimpleNamespace(add=lambda _stream, line: performed.lines.append(line))
        return SimpleNamespace(
            worker="bench",
            settings=self._settings,
            ledger=SimpleNamespace(arm_step=arm_step),
            artifacts=SimpleNamespace(
                fetch=lambda _tenant, artifact_id: files[artifact_id],
                name_of=lambda _tenant, artifact_id: files[artifact_id].name,
            ),
            secrets=SimpleNamespace(
                open_secret=lambda _step, name: Secret(secrets[name]),
                open_credential=lambda _step, _name=None: credential,
            ),
            runners=self.runners,
            operations=self._operations,
            live_output=SimpleNamespace(open=lambda _step: sink, close=lambda _lines: None),
        )


def _step(tool, operation, values, members):
    standard = {
        "id": 42,
        "execution_id": UUID(int=1),
        "tenant": "default",
        "plan_name": "bench",
        "position": 1,
        "key": "step",
        "tool": tool,
        "operation": operation.name,
        "effect": operation.effect,
        "repeat": operation.repeat,
        "parameters": values,
        "attempt": 1,
        "token": UUID(int=2),
        "timeout_s": operation.timeout_s,
        "retries_left": 0,
        "backoff_s": 0.0,
    }
    return Step(**{**standard, **members})
