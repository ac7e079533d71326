"""The bench of tool authors: a step as a worker performs it, without ledger and broker.

Parameters are checked, the real runner runs the real command, reads before and after are made, the
effect is armed, looked for and interpreted. A Python operation by itself: `tests.lab.operation`;
one that lives in a transaction: `tests.lab.inventory`.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

from app.config import read_settings
from app.safety import effect_of, read_policy
from app.step import Artifact, Secret, Step, StepResult
from tasks.perform import perform
from tasks.runners.table import make_runners
from tasks.running import Running
from tasks.workshop import find_operations
from tool_catalog.loader import Catalog, load_catalog
from tool_catalog.params import check_parameters


@dataclass
class Kept:
    """What the step told and left behind."""

    #: What `before` gave, for each time that the step was armed.
    armed: list = field(default_factory=list)
    #: Files by artifact id.
    files: dict[str, bytes] = field(default_factory=dict)
    #: What earlier steps left behind, by artifact id.
    planted: Mapping[str, Path] = field(default_factory=dict)

    def arm_step(self, _step, before):
        self.armed.append(before)
        return True

    def fetch(self, _tenant, artifact_id):
        return self.planted[artifact_id]

    def name_of(self, _tenant, artifact_id):
        return self.planted[artifact_id].name

    def put(self, path, *, name, kind, **_owner):
        artifact = Artifact(str(uuid4()), name, kind, path.stat().st_size, "")
        self.files[artifact.id] = path.read_bytes()
        path.unlink()
        return artifact


@dataclass
class Performed:
    """What came of it."""

    result: StepResult
    kept: Kept


@dataclass
class Watched:
    """The lines of a running step go to whoever asked for them: `on_line(stream, line)`."""

    on_line: Callable[[str, str], object]

    def open(self, _step):
        return self

    def add(self, stream, line):
        self.on_line(stream, line)

    def close(self, _lines):
        """Nothing is kept."""


class ToolBench:
    """Performs steps on this host, or on a target with a login; `close` lets go of the runners."""

    def __init__(
        self, folder: Path, tools: Path | None = None, *, catalog: Catalog | None = None, **settings
    ) -> None:
        self._settings = read_settings(state_dir=folder, **settings)
        self._runners = make_runners(self._settings)
        self._catalog = catalog or load_catalog(str(tools or ""))

    def run(
        self,
        tool,
        operation,
        given,
        *,
        target=None,
        credential=None,
        secrets=None,
        artifacts=None,
        cancelled=None,
        on_line=lambda _stream, _line: None,
        **members,
    ):
        """Parameters are checked as at submit; `members` are those of the Step (run_as, ...).

        `secrets` maps names to texts, `artifacts` ids to local files.
        """
        found = self._catalog.find(tool)
        wanted = self._catalog.operation(found, operation)
        values, faults = check_parameters(wanted, given)
        assert faults == []
        hidden = {name: Secret(text) for name, text in (secrets or {}).items()}
        kept = Kept(planted=artifacts or {})
        shop = SimpleNamespace(
            worker="bench",
            settings=self._settings,
            ledger=kept,
            artifacts=kept,
            secrets=SimpleNamespace(
                open_secret=lambda _step, name: hidden[name],
                open_credential=lambda _step, _name=None: credential,
            ),
            runners=self._runners,
            operations=find_operations(self._catalog),
            live_output=Watched(on_line),
        )
        step = _step(wanted, tool, values, target, secrets=tuple(hidden), **members)
        running = Running(step, cancelled or threading.Event())
        return Performed(perform(running, found, wanted, shop), kept)

    def close(self):
        for runner in self._runners.values():
            runner.close()


def _step(operation, tool, values, target, **members):
    standard = {
        "id": 7,
        "execution_id": UUID(int=1),
        "tenant": "default",
        "plan_name": "",
        "position": 1,
        "key": "step",
        "tool": tool,
        "operation": operation.name,
        "effect": effect_of(operation, values, read_policy()),
        "repeat": operation.repeat,
        "parameters": values,
        "target": target,
        "attempt": 1,
        "token": uuid4(),
        "timeout_s": operation.timeout_s,
        "retries_left": 0,
        "backoff_s": 0,
    }
    return Step(**{**standard, **members})
