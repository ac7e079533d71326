"""What people decide about an execution that stopped: resolve a step, resume, undo."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import PartsOfFarm, Viewer
from app.api.sensitive import hide_output
from app.api.shared import ExecutionId, Why
from app.decide import Decider, RowName
from app.store.decisions import Resolution

router = APIRouter(prefix="/executions", tags=["decisions"])

_RESOLUTIONS = {
    "succeeded": Resolution.SUCCEEDED,
    "failed": Resolution.FAILED,
    "retry": Resolution.RETRY,
    "skip": Resolution.SKIPPED,
}


class Decision(BaseModel):
    """Why somebody decides."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Why = ""


class Resolving(Decision):
    """How an interrupted step ended; or that its probe is to be asked again."""

    resolution: Literal["succeeded", "failed", "retry", "skip", "probe"] = Field(alias="as")
    #: Of a step that fanned out: whom the row acts on.
    target: str | None = Field(default=None, max_length=300)


class Resuming(Decision):
    """How much of an execution goes on."""

    failed_only: bool = False


class Deciding:
    """Somebody who decides, and what they are shown of it."""

    def __init__(self, principal: Viewer, parts: PartsOfFarm, request: Request) -> None:
        self._principal = principal
        self._parts = parts
        self._origin = request.client.host if request.client else ""

    def why(self, reason: str) -> Decider:
        """The same, with a reason."""
        return Decider(self._principal, reason, self._parts, self._origin)

    def show(self, execution: dict[str, Any]) -> dict[str, Any]:
        """An execution, as this reader may see it."""
        return hide_output(execution, self._principal, self._parts.catalog)


Person = Annotated[Deciding, Depends()]


@router.post("/{execution_id}/steps/{step}/resolve")
def resolve_step(
    execution_id: ExecutionId, step: str, body: Resolving, person: Person
) -> dict[str, Any]:
    """Say how an interrupted step ended; `step` is its id or number, or `row:` and a row's id.

    With `probe` the operation's own look is asked for again, and what it finds decides.
    """
    decider = person.why(body.reason)
    named = RowName(step, body.target)
    if body.resolution == "probe":
        return person.show(decider.ask_probe(execution_id, named))
    return person.show(decider.resolve(execution_id, named, _RESOLUTIONS[body.resolution]))


@router.post("/{execution_id}/resume")
def resume_execution(execution_id: ExecutionId, body: Resuming, person: Person) -> dict[str, Any]:
    """Let a failed or cancelled execution go on where it first failed."""
    decider = person.why(body.reason)
    return person.show(decider.resume(execution_id, only_failed=body.failed_only))


@router.post("/{execution_id}/undo")
def undo_execution(execution_id: ExecutionId, body: Decision, person: Person) -> dict[str, Any]:
    """Have reversed what a final execution did, the last first."""
    return person.show(person.why(body.reason).undo(execution_id))
