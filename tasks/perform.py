"""Perform a claimed step's operation: open its inputs, run it, read its meaning."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from app.command import build_command
from app.errors import OpsfarmError, StepError, Stopped, Unavailable
from app.step import LOCAL, Credential, Secret, State, Step, StepResult, Target
from tasks.operations.base import OperationContext
from tasks.result import interpret
from tasks.runners.base import RawOutput, Runner, StepControl
from tasks.running import Running
from tasks.scrub import Scrubber
from tasks.workshop import Workshop
from tool_catalog.model import Effect, Operation, ParameterType, Reason

log = logging.getLogger(__name__)

USERNAME = "credential.username"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Parameters ready to use, and the secrets that were opened for them."""

    parameters: Mapping[str, Any]
    #: By secret name, and the target's login as "credential.username" and ".password".
    secrets: Mapping[str, Secret]
    credential: Credential | None

    def hidden(self) -> Iterator[Secret]:
        """What no output may show. A user name is no secret: hiding it would shred the text."""
        return (value for name, value in self.secrets.items() if name != USERNAME)


def perform(running: Running, operation: Operation, shop: Workshop) -> StepResult:
    """Run the operation and give its result, scrubbed. Raises Unavailable only."""
    step = running.step
    scrub = Scrubber(())
    try:
        inputs = _open_inputs(step, operation, shop)
        scrub = Scrubber(inputs.hidden())
        lines = shop.live_output.open(step)
        try:
            control = StepControl(
                step.timeout_s,
                cancelled=running.cancelled,
                before_effect=partial(arm, running, shop),
                on_line=lambda stream, line: lines.add(stream, scrub.scrub_line(stream, line)),
            )
            result = _run(step, operation, inputs, control, shop)
        finally:
            shop.live_output.close(lines)
    except Stopped as stopped:
        result = _stopped(stopped)
    except StepError as error:
        result = _failed(error, armed=running.armed)
    except Unavailable:
        raise  # nothing more can be written down: the sweeper will find the step
    except OpsfarmError as error:
        result = StepResult(State.FAILED, str(error), Reason.INTERNAL, unknown=running.armed)
    except Exception:  # a bug in one tool must not take the worker's other steps along
        log.exception("step %s: %s.%s broke", step.id, step.tool, operation.name)
        text = f"{step.tool} broke inside opsfarm; the log of worker {shop.worker} says where"
        result = StepResult(State.FAILED, text, Reason.INTERNAL, unknown=running.armed)
    return scrub.scrub_result(result)


def arm(running: Running, shop: Workshop) -> None:
    """Tell the ledger that the effect comes now. Raises Stopped when it must not."""
    step = running.step
    if step.effect is Effect.READ or running.armed:
        return
    if running.cancelled.is_set() or not shop.ledger.arm_step(step):
        raise Stopped("stopped before it began", verified=True)
    running.armed = True


def _open_inputs(step: Step, operation: Operation, shop: Workshop) -> Inputs:
    secrets = {name: shop.secrets.open_secret(step, name) for name in step.secrets}
    credential = None
    if operation.at == "target" and step.target is not None and step.target.asset_id is not None:
        credential = _open_login(step, operation, shop)
    parameters = {
        name: _open_value(operation, name, value, step, shop)
        for name, value in step.parameters.items()
    }
    return Inputs(parameters, secrets | _login(credential), credential)


def _open_login(step: Step, operation: Operation, shop: Workshop) -> Credential | None:
    """The login of the step's asset: the one that a parameter of type credential names, if any."""
    kinds = {name: parameter.type for name, parameter in operation.parameters.items()}
    named = (n for n, kind in kinds.items() if kind is ParameterType.CREDENTIAL)
    name = next((step.parameters[n] for n in named if n in step.parameters), None)
    credential = shop.secrets.open_credential(step, name)
    if credential is None and name is not None:
        message = f"the credential {name!r} is gone, or does not serve this asset"
        raise StepError(Reason.NOT_FOUND, message)
    return credential


def _login(credential: Credential | None) -> dict[str, Secret]:
    """The credential's values: for `{credential.password}`, and for the scrubber."""
    if credential is None:
        return {}
    values = {
        USERNAME: Secret(credential.username),
        "credential.password": credential.password,
        "credential.private_key": credential.private_key,
        "credential.become_password": credential.become_password,
    }
    return {name: value for name, value in values.items() if value is not None}


def _open_value(
    operation: Operation, name: str, value: object, step: Step, shop: Workshop
) -> object:
    """An argv takes an artifact as a local path; everything else stays what it is."""
    known = operation.parameters.get(name)
    is_artifact = known is not None and known.type is ParameterType.ARTIFACT
    if operation.argv is None or not is_artifact or not isinstance(value, Mapping):
        return value
    return str(shop.artifacts.fetch(step.tenant, value["$artifact"]))


def _run(
    step: Step, operation: Operation, inputs: Inputs, control: StepControl, shop: Workshop
) -> StepResult:
    target = LOCAL if operation.at == "worker" or step.target is None else step.target
    if operation.python is not None:
        context = OperationContext(
            step=step,
            control=control,
            settings=shop.settings,
            credential=inputs.credential,
            runner=partial(_find_runner, target, shop),
            find_secret=_finder(inputs),
            find_artifact=partial(shop.artifacts.fetch, step.tenant),
            name_artifact=partial(shop.artifacts.name_of, step.tenant),
        )
        result: StepResult = shop.operations[operation.python](inputs.parameters, context)
        return result
    command = build_command(operation, inputs.parameters, inputs.secrets)
    raw = _find_runner(target, shop).run(command, target, inputs.credential, control)
    result = interpret(operation, inputs.parameters, raw)
    if raw.artifact is None:
        return result
    return _keep_artifact(result, raw, operation, step, shop)


def _find_runner(target: Target, shop: Workshop) -> Runner:
    """Raises StepError where this worker has none for the target's connection."""
    runner = shop.runners.get(target.connection)
    if runner is None:
        raise StepError(
            Reason.UNREACHABLE,
            f"{target.name} is reached by {target.connection}, which has no runner here; "
            f"there are: {', '.join(sorted(shop.runners))}",
        )
    return runner


def _finder(inputs: Inputs) -> Callable[[str], Secret]:
    def find(name: str) -> Secret:
        try:
            return inputs.secrets[name]
        except KeyError:
            raise StepError(Reason.NOT_FOUND, f"no secret {name!r} was given") from None

    return find


def _keep_artifact(
    result: StepResult, raw: RawOutput, operation: Operation, step: Step, shop: Workshop
) -> StepResult:
    """Move the file to the store; a failed run keeps what it captured, too."""
    path: Path = raw.artifact or Path()
    kind = operation.output.artifact or "file"
    artifact = shop.artifacts.put(
        path,
        tenant=step.tenant,
        step_id=step.id,
        execution_id=step.execution_id,
        name=f"{step.tool}-{step.id}.{kind}",
        kind=kind,
    )
    found = result.output if isinstance(result.output, Mapping) else {}
    output = {**found, "artifact": artifact.id, "size_bytes": artifact.size_bytes}
    return replace(result, artifacts=(artifact,), output=output)


def _stopped(stopped: Stopped) -> StepResult:
    return StepResult(
        State.CANCELLED,
        stopped.message,
        Reason.STOPPED,
        stopped="verified" if stopped.verified else "unverified",
    )


def _failed(error: StepError, *, armed: bool) -> StepResult:
    unknown = error.sent or (armed and error.reason is Reason.TIMEOUT)
    return StepResult(
        State.FAILED, error.message, error.reason, transient=error.transient, unknown=unknown
    )
