"""Live events of an execution as server-sent events, resumed with Last-Event-ID."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.auth import PartsOfFarm, Viewer
from app.api.sensitive import EventFilter
from app.api.shared import ExecutionId, Watching
from app.errors import Malformed, Unavailable
from app.step import FINAL_EXECUTION_STATES
from app.store.records import Cursor, Records

#: Events that may lie ready for a watcher who reads slowly; then the stream ends, and the
#: watcher resumes where it broke.
_MAILBOX_SIZE = 10_000
#: A watcher who heard nothing for so long is told what is waited for.
_QUIET_S = 2.0

router = APIRouter(prefix="/executions", tags=["executions"])


def read_last_event_id(
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event seen.")
    ] = None,
) -> Cursor:
    """The place to go on from; the beginning without one. Raises Malformed."""
    if not last_event_id:
        return Cursor()
    try:
        return Cursor.parse(last_event_id)
    except ValueError:
        raise Malformed(
            "Last-Event-ID is none of ours", hint="leave it out to get every event"
        ) from None


def plan_viewing(execution_id: ExecutionId, principal: Viewer, parts: PartsOfFarm) -> "Viewing":
    """Whether the execution has ended already, and what its reader may not see of it."""
    if principal.may_submit:
        state, run = parts.records.read_progress(execution_id)
        return Viewing(state in FINAL_EXECUTION_STATES, run, None)
    execution = parts.records.read_execution(principal.tenant, execution_id)
    return Viewing(
        execution["state"] in FINAL_EXECUTION_STATES,
        execution["run"],
        EventFilter(execution, parts.catalog),
    )


@dataclass(frozen=True, slots=True)
class Viewing:
    """One watcher's view of an execution."""

    ended: bool
    #: Which run of it: the ends of those before are past.
    run: int
    #: None where everything may be shown.
    sieve: EventFilter | None

    def is_end(self, event: dict[str, Any] | None) -> bool:
        """Whether nothing comes behind this event; None: what had happened was handed over."""
        if event is None:
            return self.ended
        finished = event["kind"] == "execution.finished"
        return bool(finished and event["data"].get("run", 1) >= self.run)

    def show(self, event: dict[str, Any]) -> ServerSentEvent:
        """An event as it is sent."""
        shown = event if self.sieve is None else self.sieve.hide(event)
        return ServerSentEvent(id=event["id"], raw_data=json.dumps(shown, ensure_ascii=False))


class Mailbox:
    """Hands events from the reader's thread to one stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._overflown = False

    def put(self, event: dict[str, Any] | None) -> None:
        """Called in the reader's thread, which outlives no loop: the application stops it first."""
        self._loop.call_soon_threadsafe(self._keep, event)

    def _keep(self, event: dict[str, Any] | None) -> None:
        self._overflown = self._overflown or self._events.qsize() >= _MAILBOX_SIZE
        if not self._overflown:
            self._events.put_nowait(event)

    @property
    def may_bring_more(self) -> bool:
        """Whether to go on taking; not once an overflow was read to its end."""
        return not (self._overflown and self._events.empty())

    async def take(self, within_s: float) -> dict[str, Any] | None:
        """The next event; None when the past was handed over. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            return await self._events.get()


class Waits:
    """What the queued rows of an execution wait for, each told when it changes."""

    def __init__(self, records: Records, execution_id: UUID) -> None:
        self._records = records
        self._execution_id = execution_id
        self._told: dict[int, str] = {}

    def look(self) -> list[dict[str, Any]]:
        """Events that were not told yet; none while the ledger does not answer."""
        try:
            found = self._records.read_waits(self._execution_id)
        except Unavailable:
            return []
        before = self._told
        self._told = {event["step_id"]: event["data"]["summary"] for event in found}
        return [
            event for event in found if before.get(event["step_id"]) != event["data"]["summary"]
        ]


async def open_mailbox(
    execution_id: ExecutionId,
    progress: Watching,
    after: Annotated[Cursor, Depends(read_last_event_id)],
) -> AsyncIterator[Mailbox]:
    """Where the events arrive until the response is over.

    A dependency, because FastAPI ends it in the loop when the watcher goes; a stream that was left
    half read is ended by the garbage collector, in whatever thread that runs.
    """
    mailbox = Mailbox()
    with progress.watch(execution_id, after, mailbox.put):
        yield mailbox


def read_waits(execution_id: ExecutionId, parts: PartsOfFarm) -> Waits:
    """What the watched execution waits for."""
    return Waits(parts.records, execution_id)


@router.get("/{execution_id}/events", response_class=EventSourceResponse)
async def watch_execution(
    viewing: Annotated[Viewing, Depends(plan_viewing)],
    mailbox: Annotated[Mailbox, Depends(open_mailbox)],
    waits: Annotated[Waits, Depends(read_waits)],
) -> AsyncIterator[ServerSentEvent]:
    """Every event of an execution, past and to come; ends after its last `execution.finished`.

    While nothing happens it tells what rows wait for (`step.waits`, without an id).
    """
    while mailbox.may_bring_more:
        try:
            event = await mailbox.take(_QUIET_S)
        except TimeoutError:
            for told in await run_in_threadpool(waits.look):
                yield viewing.show(told)
            continue
        if event is not None:
            yield viewing.show(event)
        if viewing.is_end(event):
            return
