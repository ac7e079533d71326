"""The HTTP API: wires routes, limits and errors together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app.api import (
    approvals,
    assets,
    deadletters,
    decisions,
    events,
    executions,
    health,
    locks,
    plans,
    principals,
    schedules,
    stored_plans,
    tools,
    vault,
)
from app.api.body_limit import BodyLimit
from app.api.departures import QuietDepartures
from app.api.problems import add_problem_handlers
from app.observe.progress import FINAL_CHANNEL, Progress
from app.parts import Parts
from app.plan import MAX_BODY_BYTES
from app.store.listener import Listener
from app.tool_watch import ToolWatch

#: What has routes; of two that fit a path the first answers.
_MODULES = (
    plans,
    stored_plans,
    executions,
    approvals,
    decisions,
    deadletters,
    locks,
    events,
    schedules,
    tools,
    assets,
    vault,
    principals,
    health,
)
_DESCRIPTION = """
Plans in, trustworthy executions out. Every endpoint but `/health/*` and this description needs
an API key (`Authorization: Bearer <key>`). Errors are RFC 9457 problems.
"""


class OpsfarmApi(FastAPI):
    """The application, with a description that readers of OpenAPI 3.1 take."""

    def openapi(self) -> dict[str, Any]:
        """The description without `itemSchema`, a member that only OpenAPI 3.2 knows."""
        document = super().openapi()
        operation = document["paths"]["/executions/{execution_id}/events"]["get"]
        operation["responses"]["200"]["content"]["text/event-stream"].pop("itemSchema", None)
        return document


def create_api(parts: Parts) -> FastAPI:
    """The application over the farm's parts; its one reader of events lives as long as it."""
    progress = Progress(parts.records, lambda: Listener(parts.engine, FINAL_CHANNEL))

    watch = ToolWatch(parts)

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        progress.start()
        watch.start()
        yield
        watch.stop()
        progress.stop()

    api = OpsfarmApi(
        title="opsfarm",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages would load scripts from elsewhere: docs/http-api.md is our reference.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Request telemetry of the framework's own: traces of ours come from the ledger's story.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    api.state.parts = parts
    api.state.progress = progress
    api.add_middleware(
        BodyLimit, max_bytes=MAX_BODY_BYTES, larger={"/assets/import": assets.MAX_IMPORT_BYTES}
    )
    api.add_middleware(QuietDepartures)
    add_problem_handlers(api)
    for module in _MODULES:
        api.include_router(module.router)
    return api
