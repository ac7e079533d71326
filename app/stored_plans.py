"""Stored plans: saved once they were checked, opened by name to be run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.changed_tools import find_changed
from app.errors import Fault, NotFound, PlanRejected
from app.parts import Parts
from app.plan import CheckedPlan, Plan
from app.plan_name import ALLOWED, NAME, PlanName, read_plan_name
from app.plan_reader import PlanRequest, fill_plan, read_plan_or_text, read_plan_text
from app.principal import Principal
from app.request_reader import place_in_plan, read_body
from app.store.models import PlanRow
from app.store.plans import NewPlan
from app.submit import check
from tool_catalog.document import read_document
from tool_catalog.loader import Catalog
from tool_catalog.names import did_you_mean, shorten, suggest

_SHOWN_NAMES = 20


class SaveRequest(BaseModel):
    """What `POST /plans` takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: The plan's text in YAML or JSON, kept as it is; or the plan itself.
    plan: dict[str, Any] | str
    #: The plan's own `name` when left out.
    name: str | None = None
    note: Annotated[str, Field(max_length=500)] = ""


def save_plan(body: bytes, principal: Principal, parts: Parts) -> dict[str, Any]:
    """Check a plan and keep it as the newest version of its name.

    The same text over the same tools gives the version that there is (`created: false`). Raises
    Malformed, PlanRejected (every fault), Forbidden, Unavailable.
    """
    request = read_body(body, SaveRequest, "a stored plan", '{"name": ..., "plan": ...}')
    text = as_text(request.plan)
    try:
        plan = read_plan_or_text(request.plan)
        checked = check(plan, principal, parts, unfilled=True)
    except PlanRejected as error:
        raise PlanRejected(place_in_plan(error.faults)) from None
    name = _choose_name(request.name, plan.name)
    new = NewPlan(
        tenant=principal.tenant,
        name=name,
        document=text,
        saved_by=principal.name,
        tools=tools_of(checked, parts.catalog),
        note=request.note,
    )
    row, created = parts.plans.save(new)
    warnings = list(checked.warnings)
    return show_head(row, parts.catalog) | {"created": created, "warnings": warnings}


def open_request(request: PlanRequest, principal: Principal, parts: Parts) -> Plan:
    """The plan that a request brings or names, with what it is run with.

    Raises PlanRejected: no such plan or version; a stored text that is not read any more.
    """
    wanted = read_plan_name(request.stored or "")
    if wanted is None:
        return request.plan or Plan(())
    return open_plan(wanted, request, principal.tenant, parts)


def open_plan(wanted: PlanName, request: PlanRequest, tenant: str, parts: Parts) -> Plan:
    """A stored version with what `request` gives; places are those of the saved text.

    Raises PlanRejected: no such plan or version; a stored text that is not read any more.
    """
    row = parts.plans.find(tenant, wanted)
    if row is None:
        raise PlanRejected([_explain_missing(wanted, tenant, parts)])
    name = PlanName(row.name, row.version)
    try:
        plan = read_plan_text(row.document)
    except PlanRejected as error:
        raise PlanRejected(error.faults, str(name)) from None
    # The request's own places would be taken for lines of the saved text.
    plan = fill_plan(plan, replace(request, places={}), stored=(row.name, row.version))
    return replace(plan, changed_tools=find_changed(row.tools, parts.catalog))


def find_origin(plan: Plan, origin: PlanName, tenant: str, parts: Parts) -> Plan:
    """A plan of the ledger with the stored version it came from: its lines, what changed since."""
    row = parts.plans.find(tenant, origin)
    if row is None or origin.version is None:
        return plan
    return replace(
        plan,
        stored=(origin.name, origin.version),
        changed_tools=find_changed(row.tools, parts.catalog),
        places=read_document(row.document, source=str(origin)).places,
    )


def show_plan(name: str, principal: Principal, parts: Parts) -> dict[str, Any]:
    """One version with its text and its inputs; raises NotFound."""
    wanted = _read_name(name)
    row = parts.plans.find(principal.tenant, wanted)
    if row is None:
        raise _not_found(_explain_missing(wanted, principal.tenant, parts))
    inputs = read_document(row.document, source=name).value.get("inputs") or {}
    return show_head(row, parts.catalog) | {"inputs": inputs, "text": row.document}


def list_plans(principal: Principal, parts: Parts) -> list[dict[str, Any]]:
    """The newest version of each plan, by name."""
    return [show_head(row, parts.catalog) for row in parts.plans.list_newest(principal.tenant)]


def list_versions(name: str, principal: Principal, parts: Parts) -> list[dict[str, Any]]:
    """Every version of a plan, the newest first; raises NotFound."""
    wanted = PlanName(_read_name(name).name)
    rows = parts.plans.list_versions(principal.tenant, wanted.name)
    if not rows:
        raise _not_found(_explain_missing(wanted, principal.tenant, parts))
    return [show_head(row, parts.catalog) for row in rows]


def show_head(row: PlanRow, catalog: Catalog) -> dict[str, Any]:
    """A version without its text."""
    return {
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "note": row.note,
        "saved_by": row.saved_by,
        "saved_at": row.saved_at.isoformat(),
        "tools": dict(row.tools),
        "changed_tools": list(find_changed(row.tools, catalog)),
    }


def as_text(given: Mapping[str, Any] | str) -> str:
    """A plan as the text that is kept."""
    return given if isinstance(given, str) else json.dumps(given, indent=2, ensure_ascii=False)


def tools_of(checked: CheckedPlan, catalog: Catalog) -> dict[str, str]:
    """Each tool of a plan with the digest of its file."""
    return {step.tool: catalog.find(step.tool).digest for step in checked.steps}


def _choose_name(asked: str | None, own: str | None) -> str:
    """The name to save under; raises PlanRejected."""
    name = asked or own
    if name is not None and NAME.fullmatch(name):
        return name
    message = "the plan has no name to be kept under" if name is None else "no name of a plan"
    given = None if name is None else shorten(name)
    hint = "give another with --name (`name` beside the plan)"
    raise PlanRejected([Fault("name", "bad_format", message, None, given, ALLOWED, hint)])


def _read_name(text: str) -> PlanName:
    wanted = read_plan_name(text)
    if wanted is None:
        raise NotFound(f"{text[:80]!r} names no stored plan", hint="nightly, or nightly@3")
    return wanted


def _not_found(fault: Fault) -> NotFound:
    allowed = f"there is {fault.allowed}; " if fault.allowed else ""
    return NotFound(fault.message, hint=f"{allowed}{fault.hint}")


def _explain_missing(wanted: PlanName, tenant: str, parts: Parts) -> Fault:
    newest = parts.plans.find(tenant, PlanName(wanted.name))
    if newest is not None:
        return Fault(
            path="plan",
            code="unknown_version",
            message=f"the stored plan '{wanted.name}' has no version {wanted.version}",
            given=str(wanted),
            allowed="version 1" if newest.version == 1 else f"versions 1 to {newest.version}",
            hint=f"'opsfarm plans list {wanted.name}' shows them",
        )
    names = parts.plans.list_names(tenant)
    return Fault(
        path="plan",
        code="unknown_plan",
        message=f"no stored plan '{wanted.name}'{did_you_mean(suggest(wanted.name, names))}",
        given=str(wanted),
        allowed=", ".join(names[:_SHOWN_NAMES]) or "no plan is stored yet",
        hint="'opsfarm plans list' shows them",
    )
