"""Schedules: plans that beat submits when they are due."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from app.api.auth import Operator, PartsOfFarm, Viewer
from app.api.shared import Body
from app.schedule_reader import ScheduleRequest
from app.schedules import (
    add_schedule,
    list_schedules,
    pause_schedule,
    remove_schedule,
    resume_schedule,
)

router = APIRouter(prefix="/schedules", tags=["schedules"])

#: The body is read by the strict reader, not by FastAPI: its shape is told here.
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ScheduleRequest.model_json_schema()}},
    }
}


@router.get("")
def show_schedules(principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Every schedule, by name, with its next five due times and what came of it last."""
    return {"schedules": list_schedules(principal, parts)}


@router.post("", status_code=HTTPStatus.CREATED, openapi_extra=_BODY)
def add(body: Body, principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """Add a schedule, checked like a submit; the answer shows its next five due times."""
    return add_schedule(body, principal, parts)


@router.post("/{name}/pause")
def pause(name: str, principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """Start nothing until it is resumed."""
    return pause_schedule(name, principal, parts)


@router.post("/{name}/resume")
def resume(name: str, principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """Go on from the next due time; what passed meanwhile is not made up for."""
    return resume_schedule(name, principal, parts)


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove(name: str, principal: Operator, parts: PartsOfFarm) -> None:
    """Forget a schedule; the executions that it started stay."""
    remove_schedule(name, principal, parts)
