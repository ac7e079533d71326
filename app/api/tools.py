"""The catalogue and the workers, as they are now."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from app.api.auth import PartsOfFarm, Viewer
from app.errors import NotFound
from tool_catalog.model import Operation, Tool
from tool_catalog.names import UnknownName
from tool_catalog.schema import operation_schema

#: Workers that were not seen for so long are not listed.
_REMEMBERED_S = 24 * 3600

router = APIRouter(tags=["catalogue"])


@router.get("/tools")
def list_tools(_principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Every tool with its operations and their effects."""
    return {
        "digest": parts.catalog.digest,
        "tools": [_show_head(tool) for tool in parts.catalog.tools.values()],
    }


@router.get("/tools/{name}")
def show_tool(name: str, _principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """One tool, by its name in any case, with a JSON Schema for each operation's parameters."""
    try:
        tool = parts.catalog.find(name)
    except UnknownName as error:
        raise NotFound(str(error), hint="'opsfarm tools list' shows every tool") from error
    operations = {key: _show_operation(found) for key, found in tool.operations.items()}
    return _show_head(tool) | {"operations": operations}


@router.get("/workers")
def list_workers(_principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """Workers seen within a day: where they are, what they serve, what they can do."""
    return {"workers": [asdict(offer) for offer in parts.roster.offers(_REMEMBERED_S)]}


def _show_head(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "summary": tool.summary,
        "domain": tool.domain.value,
        "folder": tool.folder,
        "default": tool.default,
        "operations": {
            name: {"summary": operation.summary, "effect": operation.effect.value}
            for name, operation in tool.operations.items()
        },
    }


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
