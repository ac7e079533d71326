"""One operation of a tool, from its parameters to its result, through the real runners."""

from dataclasses import dataclass
from pathlib import Path

from app.command import build_command
from app.config import read_settings
from app.step import LOCAL, Secret, StepResult
from tasks.result import interpret
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.table import make_runners
from tool_catalog.loader import load_catalog
from tool_catalog.params import check_parameters


@dataclass
class Ran:
    """What came of it."""

    result: StepResult
    raw: RawOutput


class ToolBench:
    """Runs operations on this host, or on another; `close` lets go of the runners."""

    def __init__(self, folder: Path) -> None:
        self._runners = make_runners(read_settings(state_dir=folder))
        self._catalog = load_catalog()

    def run(
        self,
        tool,
        operation,
        given,
        *,
        target=LOCAL,
        credential=None,
        secrets=None,
        artifacts=None,
        on_line=lambda _stream, _line: None,
    ):
        """Parameters are checked as at submit; `secrets` maps names to texts, `artifacts` ids to
        local files."""
        wanted = self._catalog.operation(self._catalog.find(tool), operation)
        values, faults = check_parameters(wanted, given)
        assert faults == []
        hidden = {name: Secret(text) for name, text in (secrets or {}).items()}
        command = build_command(wanted, _with_files(values, artifacts or {}), hidden)
        control = StepControl(wanted.timeout_s, on_line=on_line)
        raw = self._runners[target.connection].run(command, target, credential, control)
        return Ran(interpret(wanted, values, raw), raw)

    def close(self):
        for runner in self._runners.values():
            runner.close()


def _with_files(values, artifacts):
    return {
        name: str(artifacts[value["$artifact"]])
        if isinstance(value, dict) and "$artifact" in value
        else value
        for name, value in values.items()
    }
