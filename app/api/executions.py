"""Executions: list, show, wait, cancel, rerun."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Operator, PartsOfFarm, Viewer
from app.api.sensitive import hide_output
from app.api.shared import ExecutionId, Key, WaitS, Watching, Why, show_accepted, wait_for_end
from app.cancel import cancel
from app.rerun import Rerun, rerun
from app.step import ExecutionState
from app.store.records import EXECUTIONS_LIMIT
from app.submit import Accepted

router = APIRouter(prefix="/executions", tags=["executions"])


class CancelRequest(BaseModel):
    """Why an execution is to be stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: Why = ""


class RerunRequest(BaseModel):
    """How much of an execution is to run again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    failed_only: bool = False
    reason: Annotated[Why, Field(min_length=1)] | None = None


class Repeating:
    """One request to run an execution again: which, by whom, under which key of theirs."""

    def __init__(
        self, execution_id: ExecutionId, principal: Operator, parts: PartsOfFarm, key: Key = None
    ) -> None:
        self._execution_id = execution_id
        self._principal = principal
        self._parts = parts
        self._key = key

    def start(self, body: RerunRequest) -> Accepted:
        """Submit its plan again."""
        asked = Rerun(self._execution_id, body.failed_only, body.reason)
        return rerun(asked, self._principal, self._parts, key=self._key)


@router.get("")
def list_executions(
    principal: Viewer,
    parts: PartsOfFarm,
    state: ExecutionState | None = None,
    limit: Annotated[int, Query(ge=1, le=EXECUTIONS_LIMIT)] = 50,
    before: datetime | None = None,
) -> dict[str, Any]:
    """The newest executions; `before` (a `created_at`) gives the page behind that moment."""
    found = parts.records.list_executions(principal.tenant, state=state, limit=limit, before=before)
    more = len(found) == limit
    return {"executions": found, "next_before": found[-1]["created_at"] if more else None}


@router.get("/{execution_id}")
async def show_execution(
    execution_id: ExecutionId,
    principal: Viewer,
    parts: PartsOfFarm,
    progress: Watching,
    wait_s: WaitS = 0,
) -> dict[str, Any]:
    """One execution with its steps; any unique prefix of its id (8 or more) serves."""

    def read() -> dict[str, Any]:
        execution = parts.records.read_execution(principal.tenant, execution_id)
        return hide_output(execution, principal, parts.catalog)

    return await wait_for_end(progress, execution_id, wait_s, read)


@router.post("/{execution_id}/cancel")
def cancel_execution(
    execution_id: ExecutionId, request: CancelRequest, principal: Operator, parts: PartsOfFarm
) -> dict[str, Any]:
    """Stop an execution: queued steps at once, running ones as soon as they can be ended."""
    return cancel(execution_id, principal, parts, request.reason)


@router.post("/{execution_id}/rerun", status_code=HTTPStatus.ACCEPTED)
def rerun_execution(
    body: RerunRequest, repeating: Annotated[Repeating, Depends()], request: Request
) -> dict[str, Any]:
    """Run a final execution's plan again, with its inputs and its limit, as whoever asks."""
    return show_accepted(repeating.start(body), request)
