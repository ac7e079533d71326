"""The dead-letter desk: failed and interrupted steps, until somebody says what becomes of them."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.auth import PartsOfFarm, Viewer
from app.api.decisions import Decision, Person
from app.api.sensitive import HIDDEN_NOTE, TELLING, hide_output, is_sensitive
from app.parts import Parts
from app.principal import Principal
from app.store.deadletters import LETTERS_LIMIT, Wanted
from tool_catalog.model import Reason
from tool_catalog.names import normalise

router = APIRouter(prefix="/deadletter", tags=["deadletter"])

#: Of an event's data, what may tell a sensitive output.
_TOLD = TELLING | {"lines"}
#: A row's id, as `results` and the list show it.
StepId = Annotated[int, Path(ge=1, lt=2**63)]


def _in_utc(given: datetime) -> datetime:
    return given if given.tzinfo else given.replace(tzinfo=UTC)


class Filters(BaseModel):
    """Which letters are asked for."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason | None = None
    tool: str | None = Field(default=None, max_length=100)
    target: str | None = Field(default=None, max_length=300)
    #: Without a zone it is UTC.
    since: Annotated[datetime, AfterValidator(_in_utc)] | None = None
    before: int | None = Field(default=None, ge=1, lt=2**63, description="Only lower `step_id`s.")
    limit: int = Field(default=50, ge=1, le=LETTERS_LIMIT)


@router.get("")
def list_letters(
    filters: Annotated[Filters, Query()], principal: Viewer, parts: PartsOfFarm
) -> dict[str, Any]:
    """The newest first; `next_before` gives the page behind."""
    given = filters.model_dump()
    if filters.tool is not None:
        given["tool"] = normalise(filters.tool)
    found = parts.dead_letters.list(principal.tenant, Wanted(**given))
    more = len(found) == filters.limit
    return {
        "letters": [_hide_summary(letter, principal, parts) for letter in found],
        "next_before": found[-1]["step_id"] if more else None,
    }


@router.get("/{step_id}")
def show_letter(step_id: StepId, principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """One row with what it left behind, what speaks for which end, and its history."""
    return _hide(parts.dead_letters.read(principal.tenant, step_id), principal, parts)


@router.post("/{step_id}/requeue")
def requeue_letter(step_id: StepId, body: Decision, person: Person) -> dict[str, Any]:
    """Run the row again, and what was skipped because of it; gives its execution."""
    return person.show(person.why(body.reason).requeue(step_id))


@router.post("/{step_id}/discard")
def discard_letter(
    step_id: StepId, body: Decision, person: Person, principal: Viewer, parts: PartsOfFarm
) -> dict[str, Any]:
    """Take a failed row from the desk: it stays failed, and is not listed any more."""
    return _hide(person.why(body.reason).discard(step_id), principal, parts)


def _hide_summary(letter: dict[str, Any], principal: Principal, parts: Parts) -> dict[str, Any]:
    if principal.may_submit or not is_sensitive(parts.catalog, letter["tool"], letter["operation"]):
        return letter
    return {**letter, "summary": HIDDEN_NOTE}


def _hide(letter: dict[str, Any], principal: Principal, parts: Parts) -> dict[str, Any]:
    [step] = hide_output({"steps": [letter["step"]]}, principal, parts.catalog)["steps"]
    shown = {**letter, "step": step}
    if step is not letter["step"]:
        shown["history"] = [
            {**event, "data": {n: v for n, v in event["data"].items() if n not in _TOLD}}
            for event in letter["history"]
        ]
    return shown
