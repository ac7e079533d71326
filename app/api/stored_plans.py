"""Stored plans: save, list, show."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from app.api.auth import Operator, PartsOfFarm, Viewer
from app.api.shared import Body
from app.stored_plans import SaveRequest, list_plans, list_versions, save_plan, show_plan

router = APIRouter(prefix="/plans", tags=["stored plans"])

#: The body is read by the strict reader, not by FastAPI: its shape is told here.
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": SaveRequest.model_json_schema()}},
    }
}


@router.post("", status_code=HTTPStatus.CREATED, openapi_extra=_BODY)
def save(body: Body, principal: Operator, parts: PartsOfFarm, response: Response) -> dict[str, Any]:
    """Check a plan and keep it: 201 with the new version, 200 where the newest is the same."""
    saved = save_plan(body, principal, parts)
    if not saved["created"]:
        response.status_code = HTTPStatus.OK
    return saved


@router.get("")
def show_plans(principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """The newest version of each stored plan, by name."""
    return {"plans": list_plans(principal, parts)}


@router.get("/{name}")
def show(name: str, principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """One version with its text and its inputs: `NAME@VERSION`, or `NAME` for the newest."""
    return show_plan(name, principal, parts)


@router.get("/{name}/versions")
def show_versions(name: str, principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Every version, the newest first."""
    return {"versions": list_versions(name, principal, parts)}
