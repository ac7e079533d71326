"""`/schedules`: plans that beat submits when they are due."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.parts import Parts
from app.principal import Principal
from app.schedule_reader import ScheduleRequest
from app.schedules import (
    add_schedule,
    list_schedules,
    pause_schedule,
    remove_schedule,
    resume_schedule,
)

_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ScheduleRequest.model_json_schema()}},
    }
}


async def read_body(request: Request) -> bytes:
    """The body as it came: the strict reader takes it, not FastAPI's."""
    return await request.body()


def make_schedules_router(parts: Parts, authenticate: Callable[..., Principal]) -> APIRouter:
    """The routes under `/schedules`; `authenticate` is the dependency that gives who asks."""
    router = APIRouter(prefix="/schedules", tags=["schedules"])
    asker = Depends(authenticate)

    @router.post("", status_code=HTTPStatus.CREATED, openapi_extra=_BODY)
    def add(
        body: Annotated[bytes, Depends(read_body)], principal: Annotated[Principal, asker]
    ) -> dict[str, Any]:
        """Add a schedule; the answer shows its next five due times."""
        return add_schedule(body, principal, parts)

    @router.get("")
    def list_(principal: Annotated[Principal, asker]) -> dict[str, Any]:
        """Every schedule, by name."""
        return {"schedules": list_schedules(principal, parts)}

    @router.post("/{name}/pause")
    def pause(name: str, principal: Annotated[Principal, asker]) -> dict[str, Any]:
        """Stop firing until it is resumed."""
        return pause_schedule(name, principal, parts)

    @router.post("/{name}/resume")
    def resume(name: str, principal: Annotated[Principal, asker]) -> dict[str, Any]:
        """Fire again, from the next due time on."""
        return resume_schedule(name, principal, parts)

    @router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT)
    def remove(name: str, principal: Annotated[Principal, asker]) -> None:
        """Forget the schedule; its executions stay."""
        remove_schedule(name, principal, parts)

    return router
