"""What a Python operation is given beside its parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.step import Artifact, Credential, Secret, Step
from tasks.runners.base import Runner, StepControl


@dataclass(frozen=True, slots=True)
class OperationContext:
    """The surroundings of one run of a Python operation.

    An operation is `function(parameters, context) -> StepResult`. A `transactional` one (the
    asset domain) is `function(session, parameters) -> StepResult` instead: it runs inside the
    transaction that finishes its step, and finds tenant and actor in `session.info`.
    """

    step: Step
    control: StepControl
    settings: Settings
    #: The login of the step's target; None where it has none, or there is no target.
    credential: Credential | None
    #: Finds what runs commands on the step's target; raises StepError where there is none.
    runner: Callable[[], Runner]
    #: Whom to become on the target, where an operation can; None: whoever logs in.
    user: str | None
    #: Moves a file into the artifact store, under a name for people: `keep_artifact(path, name)`.
    keep_artifact: Callable[[Path, str], Artifact]
    #: The decrypted value of a named secret that the step refers to.
    find_secret: Callable[[str], Secret]
    #: A local, readable copy of an artifact's bytes, by id.
    find_artifact: Callable[[str], Path]
    #: The name that an artifact was given, by id.
    name_artifact: Callable[[str], str] = str
