"""The catalogue and the workers, as they are now."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from app.api.auth import Admin, PartsOfFarm, Viewer
from app.errors import NotFound
from app.tool_watch import reload_farm
from app.worker_offer import REMEMBERED_S
from tool_catalog.model import Operation
from tool_catalog.names import UnknownName
from tool_catalog.schema import operation_schema, show_head

router = APIRouter(tags=["catalogue"])


@router.get("/tools")
def list_tools(_principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Every tool with its operations and their effects."""
    return {
        "digest": parts.catalog.digest,
        "tools": [show_head(tool) for tool in parts.catalog.tools.values()],
    }


@router.post("/tools/reload")
def reload_catalogue(_principal: Admin, parts: PartsOfFarm) -> dict[str, Any]:
    """Take tool files in that were added or changed, in every process of the farm."""
    return asdict(reload_farm(parts))


@router.get("/tools/{name}")
def show_tool(name: str, _principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """One tool, by its name in any case, with a JSON Schema for each operation's parameters."""
    try:
        tool = parts.catalog.find(name)
    except UnknownName as error:
        raise NotFound(str(error), hint="'opsfarm tools list' shows every tool") from error
    operations = {key: _show_operation(found) for key, found in tool.operations.items()}
    return show_head(tool) | {"operations": operations}


@router.get("/workers")
def list_workers(_principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Workers seen within a day: where they are, what they serve, what they can do."""
    return {"workers": [asdict(offer) for offer in parts.roster.offers(REMEMBERED_S)]}


def _show_operation(operation: Operation) -> dict[str, Any]:
    return {
        "summary": operation.summary,
        "effect": operation.effect.value,
        "repeat": operation.repeat.value,
        "at": operation.at,
        "sensitive": operation.sensitive,
        "root": operation.root,
        "timeout_s": operation.timeout_s,
        "needs": operation.needs.model_dump(mode="json"),
        "schema": operation_schema(operation),
        "output": {"parser": operation.output.parser, "fields": dict(operation.output.fields)},
        "examples": [example.model_dump(mode="json") for example in operation.examples],
    }
