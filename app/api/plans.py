"""Plans: submit, check, dry-run."""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.auth import Operator, PartsOfFarm, Viewer
from app.api.plan_views import named_assets, named_locks, show_check, show_dry_run
from app.api.shared import Body, Key, WaitS, Watching, show_accepted, wait_for_end
from app.errors import Malformed
from app.plan_reader import read_request
from app.plan_schema import plan_schema
from app.step import FINAL_EXECUTION_STATES
from app.stored_plans import open_request
from app.submit import Accepted, check, submit
from app.worker_offer import LIVE_S

_PLAN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "A plan, bare or as `{execution_id, plan, inputs, limit}`, whose `plan` is the plan, "
            "its text, or `NAME` or `NAME@VERSION` of a stored one; JSON or YAML."
        ),
        "content": {
            media: {
                "schema": {"type": "object"},
                "examples": {
                    "bare": {"value": {"steps": [{"tool": "df", "parameters": {"path": "/"}}]}},
                    "stored": {
                        "value": {"plan": "nightly@3", "inputs": {"path": "/"}, "limit": "web-01"}
                    },
                },
            }
            for media in ("application/json", "application/yaml")
        },
    }
}

router = APIRouter(tags=["plans"])


class Submission:
    """One request to submit a plan: what, by whom, under which key of theirs."""

    def __init__(
        self, body: Body, principal: Operator, parts: PartsOfFarm, key: Key = None
    ) -> None:
        self._body = body
        self._principal = principal
        self._parts = parts
        self._key = key

    def submit(self) -> Accepted:
        """Read and submit the plan."""
        request = read_request(self._body)
        if self._key and request.key and self._key != request.key:
            raise Malformed(
                "the Idempotency-Key header and the envelope's execution_id differ",
                hint="both are your own key for this plan: send one of them",
            )
        plan = open_request(request, self._principal, self._parts)
        return submit(plan, self._principal, self._parts, key=self._key or request.key)

    def read(self, execution_id: UUID) -> dict[str, Any]:
        """The execution as it is now."""
        return self._parts.records.read_execution(self._principal.tenant, execution_id)


@router.post("/execute-plan", status_code=202, openapi_extra=_PLAN_BODY)
async def execute_plan(
    request: Request,
    response: Response,
    submission: Annotated[Submission, Depends()],
    progress: Watching,
    wait_s: WaitS = 0,
) -> dict[str, Any]:
    """Accept a plan: 202; with `?wait=` 200 and the whole execution once it is final."""
    accepted = await run_in_threadpool(submission.submit)
    answer = show_accepted(accepted, request)
    response.headers["Location"] = answer["url"]
    if not wait_s:
        return answer
    read = partial(submission.read, accepted.execution_id)
    execution = await wait_for_end(progress, accepted.execution_id, wait_s, read)
    if execution["state"] not in FINAL_EXECUTION_STATES:
        return answer | {"state": execution["state"]}
    response.status_code = 200
    return execution


@router.get("/plans/schema")
def show_schema(_principal: Viewer, parts: PartsOfFarm) -> dict[str, Any]:
    """One JSON Schema (2020-12) of a whole plan, for editors: tools, operations, parameters."""
    return plan_schema(parts.catalog)


@router.post("/plans/check", openapi_extra=_PLAN_BODY)
def check_plan(body: Body, principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """What a plan would be, or every fault in it; nothing is written."""
    return show_check(check(open_request(read_request(body), principal, parts), principal, parts))


@router.post("/plans/dry-run", openapi_extra=_PLAN_BODY)
def dry_run_plan(body: Body, principal: Operator, parts: PartsOfFarm) -> dict[str, Any]:
    """The exact masked commands on each target, against the real inventory; nothing runs."""
    plan = check(open_request(read_request(body), principal, parts), principal, parts)
    logins = parts.vault.logins(principal.tenant, named_assets(plan))
    locks = parts.records.list_locks(principal.tenant, sorted(named_locks(plan)))
    held = {lock["lock"]: lock["held_by"] for lock in locks}
    return show_dry_run(plan, parts.catalog, parts.roster.offers(LIVE_S), logins, held)
