"""Runs operations for one step: its own, and the reads that stand before and after it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from app.command import build_command
from app.errors import StepError
from app.privilege import find_user
from app.step import LOCAL, Artifact, State, Step, StepResult, Target
from tasks.inputs import Inputs, open_parameters
from tasks.operations.base import OperationContext
from tasks.result import interpret
from tasks.runners.base import RawOutput, Runner, StepControl
from tasks.scrub import Scrubber
from tasks.whole_output import keep_output, keep_whole, read_more
from tasks.workshop import Workshop
from tool_catalog.links import LinkError, link_parameters
from tool_catalog.model import Operation, Reason, Tool
from tool_catalog.params import check_parameters


@dataclass(frozen=True, slots=True)
class Caller:
    """The operations of one tool, on a step's target, with what was opened for the step.

    All run by the same runner: over SSH the connection is kept between them.
    """

    step: Step
    tool: Tool
    inputs: Inputs
    shop: Workshop
    #: Takes the step's secrets out of what is kept.
    scrub: Scrubber

    def act(self, operation: Operation, control: StepControl) -> StepResult:
        """The step's own operation; raises StepError."""
        parameters = open_parameters(operation, self.step.parameters, self.step, self.shop)
        if operation.python is not None:
            result = self._call_python(operation, parameters, control)
            return keep_output(result, self._put_output, self.scrub)
        raw = self._run(operation, parameters, control, keeps_whole=True)
        try:
            result = interpret(operation, parameters, read_more(raw))
            if raw.artifact is not None:
                result = self._keep_artifact(result, raw.artifact, operation)
            return keep_whole(result, raw, self._put_output, self.scrub)
        finally:
            for whole in raw.whole.values():
                whole.path.unlink(missing_ok=True)

    def read(
        self, name: str, with_: Mapping[str, Any], before: object, control: StepControl
    ) -> Any:  # noqa: ANN401  # any JSON value
        """The output of a read of the same tool, with the step's parameters and those of `with`.

        Raises StepError also where the read itself failed.
        """
        operation = self.tool.operations[name]
        quiet = StepControl(
            min(operation.timeout_s, control.seconds_left), cancelled=control.cancelled
        )
        try:
            given = link_parameters(operation, self.step.parameters, with_, before)
        except LinkError as error:
            raise StepError(Reason.INVALID_PARAMETER, f"{name}: {error}") from None
        parameters, faults = check_parameters(operation, given)
        if faults:
            raise StepError(Reason.INVALID_PARAMETER, f"{name}: {faults[0].message}")
        result = self._look(operation, parameters, quiet)
        if result.state is not State.SUCCEEDED:
            reason = result.reason or Reason.INTERNAL
            raise StepError(reason, result.summary, transient=result.transient)
        return result.output

    def _look(
        self, operation: Operation, given: Mapping[str, Any], control: StepControl
    ) -> StepResult:
        parameters = open_parameters(operation, given, self.step, self.shop)
        if operation.python is not None:
            return self._call_python(operation, parameters, control)
        return interpret(operation, parameters, self._run(operation, parameters, control))

    def _call_python(
        self, operation: Operation, parameters: Mapping[str, Any], control: StepControl
    ) -> StepResult:
        function = self.shop.operations[operation.python or ""]
        result: StepResult = function(parameters, self._context(operation, control))
        return result

    def _run(
        self,
        operation: Operation,
        parameters: Mapping[str, Any],
        control: StepControl,
        *,
        keeps_whole: bool = False,
    ) -> RawOutput:
        on_worker = operation.at == "worker" or self.step.target is None
        target = LOCAL if on_worker or self.step.target is None else self.step.target
        credential = self.inputs.credential
        command = replace(
            build_command(operation, parameters, self.inputs.secrets),
            run_as=find_user(operation, self.step.run_as, target, credential),
            keeps_whole=keeps_whole,
        )
        return self._find_runner(target).run(command, target, credential, control)

    def _find_runner(self, target: Target) -> Runner:
        """Raises StepError where this worker has none for the target's connection."""
        runner = self.shop.runners.get(target.connection)
        if runner is None:
            raise StepError(
                Reason.UNREACHABLE,
                f"{target.name} is reached by {target.connection}, which has no runner here; "
                f"there are: {', '.join(sorted(self.shop.runners))}",
            )
        return runner

    def _context(self, operation: Operation, control: StepControl) -> OperationContext:
        tenant, artifacts = self.step.tenant, self.shop.artifacts
        target, credential = self.step.target or LOCAL, self.inputs.credential
        return OperationContext(
            step=self.step,
            control=control,
            settings=self.shop.settings,
            credential=credential,
            runner=partial(self._find_runner, target),
            user=find_user(operation, self.step.run_as, target, credential),
            keep_artifact=partial(self._put, kind="file"),
            find_secret=self.inputs.find_secret,
            find_artifact=partial(artifacts.fetch, tenant),
            name_artifact=partial(artifacts.name_of, tenant),
        )

    def _keep_artifact(self, result: StepResult, path: Path, operation: Operation) -> StepResult:
        """Move the file to the store; a failed run keeps what it captured, too."""
        kind = operation.output.artifact or "file"
        artifact = self._put_output(path, kind, kind)
        found = result.output if isinstance(result.output, Mapping) else {}
        output = {**found, "artifact": artifact.id, "size_bytes": artifact.size_bytes}
        return replace(result, artifacts=(artifact,), output=output)

    def _put_output(self, path: Path, ending: str, kind: str) -> Artifact:
        return self._put(path, f"{self.step.tool}-{self.step.id}.{ending}", kind)

    def _put(self, path: Path, name: str, kind: str) -> Artifact:
        return self.shop.artifacts.put(
            path,
            tenant=self.step.tenant,
            step_id=self.step.id,
            execution_id=self.step.execution_id,
            name=name,
            kind=kind,
        )
