"""What several routes take: the body, the wait, the execution meant, the reader of events."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import AfterValidator, StringConstraints

from app.api.auth import PartsOfFarm, Viewer
from app.observe.progress import Progress
from app.observe.redact import redact
from app.plan import MAX_REASON
from app.step import FINAL_EXECUTION_STATES
from app.submit import Accepted

LONGEST_WAIT_S = 300


async def read_body(request: Request) -> bytes:
    """The body as it was sent; `BodyLimit` guards its size."""
    return await request.body()


def get_progress(request: Request) -> Progress:
    """The one reader of events for all watchers."""
    progress: Progress = request.app.state.progress
    return progress


def find_execution(execution_id: str, principal: Viewer, parts: PartsOfFarm) -> UUID:
    """The execution of an id or of a unique prefix of it; raises NotFound or Conflict."""
    return parts.records.find_execution_id(principal.tenant, execution_id)


async def wait_for_end(
    progress: Progress, execution_id: UUID, wait_s: float, read: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The execution once it is final, or as it is after `wait_s`; holds no thread meanwhile.

    `read` reads the execution.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    deadline = loop.time() + wait_s

    def look() -> None:
        loop.call_soon_threadsafe(changed.set)

    with progress.await_end(execution_id, look):
        while True:
            changed.clear()
            execution = await run_in_threadpool(read)
            left_s = deadline - loop.time()
            if execution["state"] in FINAL_EXECUTION_STATES or left_s <= 0:
                return execution
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left_s)


def _refuse_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text with a NUL, which no database keeps")
    return text


#: Why somebody does something; kept with it, but for what looks like a secret.
Why = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MAX_REASON),
    AfterValidator(_refuse_nul),
    AfterValidator(redact),
]
Body = Annotated[bytes, Depends(read_body)]
Watching = Annotated[Progress, Depends(get_progress)]
ExecutionId = Annotated[UUID, Depends(find_execution)]
WaitS = Annotated[
    float, Query(alias="wait", ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for the end.")
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Your own key: the same key and plan give the first execution again.",
    ),
]


def show_accepted(accepted: Accepted, request: Request) -> dict[str, Any]:
    """The answer to a submit: what was accepted, and where to look."""
    execution_id = str(accepted.execution_id)
    return {
        "execution_id": execution_id,
        "state": accepted.state,
        "url": str(request.url_for("show_execution", execution_id=execution_id)),
        "events_url": str(request.url_for("watch_execution", execution_id=execution_id)),
        "delivery": accepted.delivery,
        "created": accepted.created,
        "warnings": list(accepted.warnings),
    }
