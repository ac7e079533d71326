"""What a step's operations are given: opened secrets, the target's login, local files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import StepError
from app.privilege import show_login, tell_login
from app.step import Credential, Secret, Step
from tasks.workshop import Workshop
from tool_catalog.model import Operation, ParameterType, Reason

_USERNAME = "credential.username"
#: The end of why a step that was approved does not run.
NOT_APPROVED = "is not what was approved; submit the plan again"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Secrets and login of one step, opened once for all that it runs."""

    #: By secret name, and the target's login as "credential.username" and ".password".
    secrets: Mapping[str, Secret]
    credential: Credential | None

    def hidden(self) -> Iterator[Secret]:
        """What no output may show. A user name is no secret: hiding it would shred the text."""
        return (value for name, value in self.secrets.items() if name != _USERNAME)

    def find_secret(self, name: str) -> Secret:
        """A secret that the step names; raises StepError."""
        try:
            return self.secrets[name]
        except KeyError:
            raise StepError(Reason.NOT_FOUND, f"no secret {name!r} was given") from None


def open_inputs(step: Step, operation: Operation, shop: Workshop) -> Inputs:
    """Ask the ledger for what the step may have; raises StepError, Unavailable."""
    secrets = {name: shop.secrets.open_secret(step, name) for name in step.secrets}
    credential = None
    if operation.at == "target" and step.target is not None and step.target.asset_id is not None:
        credential = _open_login(step, operation, shop)
        _refuse_changed(step, step.target.name, credential)
    return Inputs(secrets | _login(credential), credential)


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


def _refuse_changed(step: Step, target: str, credential: Credential | None) -> None:
    """Whoever approved the step approved of one login."""
    if step.bound is None:
        return
    was, now = step.bound["login"], show_login(credential)
    if any(now[name] != was[name] for name in was):
        message = f"not run: the credential of {target} is {tell_login(now)}, "
        message += f"was {tell_login(was)}; it {NOT_APPROVED}"
        raise StepError(Reason.REFUSED_BY_POLICY, message)


def _login(credential: Credential | None) -> dict[str, Secret]:
    """The credential's values: for `{credential.password}`, and for the scrubber."""
    if credential is None:
        return {}
    values = {
        _USERNAME: Secret(credential.username),
        "credential.password": credential.password,
        "credential.private_key": credential.private_key,
        "credential.become_password": credential.become_password,
    }
    return {name: value for name, value in values.items() if value is not None}


def open_parameters(
    operation: Operation, parameters: Mapping[str, Any], step: Step, shop: Workshop
) -> dict[str, Any]:
    """The parameters to run with: an argv takes an artifact as a local path."""
    return {
        name: _open_value(operation, name, value, step, shop) for name, value in parameters.items()
    }


def _open_value(
    operation: Operation, name: str, value: object, step: Step, shop: Workshop
) -> object:
    known = operation.parameters.get(name)
    is_artifact = known is not None and known.type is ParameterType.ARTIFACT
    if operation.argv is None or not is_artifact or not isinstance(value, Mapping):
        return value
    return str(shop.artifacts.fetch(step.tenant, value["$artifact"]))
