"""Approvals: what waits for a yes, and who says it."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import PartsOfFarm, Viewer
from app.api.sensitive import hide_output
from app.api.shared import ExecutionId, Why
from app.approve import Answer, approve, reject
from app.principal import Principal
from app.store.approvals import APPROVALS_LIMIT

router = APIRouter(tags=["approvals"])


class ApproveRequest(BaseModel):
    """A yes to what an execution waits with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Why = ""
    #: Number or id of a step, where several approvals wait.
    step: str | None = Field(default=None, max_length=100)
    #: `digest` of the approval that was looked at, or its first characters (8 or more).
    digest: str | None = Field(default=None, min_length=8, max_length=64)


class RejectRequest(ApproveRequest):
    """A no; it says why."""

    reason: Annotated[Why, Field(min_length=1)]


@router.get("/approvals")
def list_approvals(
    principal: Viewer,
    parts: PartsOfFarm,
    everything: Annotated[bool, Query(alias="all", description="Decided ones, too.")] = False,
    limit: Annotated[int, Query(ge=1, le=APPROVALS_LIMIT)] = 50,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only lower ids.")] = None,
) -> dict[str, Any]:
    """What waits for a yes, the newest first, in short; `next_before` gives the page behind."""
    found = parts.approvals.list(principal.tenant, decided=everything, before=before, limit=limit)
    more = len(found) == limit
    return {"approvals": found, "next_before": found[-1]["id"] if more else None}


@router.get("/approvals/{approval_id}")
def show_approval(
    approval_id: Annotated[int, Path(ge=1, lt=2**63)], principal: Viewer, parts: PartsOfFarm
) -> dict[str, Any]:
    """One approval: exactly what would run, where, with which login, and who said what."""
    return parts.approvals.read(principal.tenant, approval_id)


@router.get("/executions/{execution_id}/approvals")
def show_approvals(
    execution_id: ExecutionId, principal: Viewer, parts: PartsOfFarm
) -> dict[str, Any]:
    """Every approval that an execution asked for, whole, and what became of it."""
    return {"approvals": parts.approvals.of_execution(principal.tenant, execution_id)}


@router.post("/executions/{execution_id}/approve", status_code=HTTPStatus.OK)
def approve_execution(
    execution_id: ExecutionId,
    body: ApproveRequest,
    principal: Viewer,
    parts: PartsOfFarm,
    request: Request,
) -> dict[str, Any]:
    """Say yes to what waits; the last yes that is needed lets it run."""
    answer = Answer(execution_id, body.reason, body.step, body.digest, _origin(request))
    return _show(approve(answer, principal, parts), principal, parts)


@router.post("/executions/{execution_id}/reject", status_code=HTTPStatus.OK)
def reject_execution(
    execution_id: ExecutionId,
    body: RejectRequest,
    principal: Viewer,
    parts: PartsOfFarm,
    request: Request,
) -> dict[str, Any]:
    """Say no: what waits is cancelled; where nothing had begun, the whole execution is."""
    answer = Answer(execution_id, body.reason, body.step, body.digest, _origin(request))
    return _show(reject(answer, principal, parts), principal, parts)


def _origin(request: Request) -> str:
    return request.client.host if request.client else ""


def _show(execution: dict[str, Any], principal: Principal, parts: PartsOfFarm) -> dict[str, Any]:
    return hide_output(execution, principal, parts.catalog)
