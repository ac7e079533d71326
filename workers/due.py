"""Dynamic steps: rendered, validated and judged when their turn has come."""

import logging
from itertools import groupby
from typing import Any

from app.asking import ask_for
from app.blocks import own_rows
from app.errors import Unavailable
from app.limits import limit_steps
from app.outcome import summarise
from app.parts import FarmView, Parts
from app.step import State
from app.store.outbox import DueStep, Outbox, Unrun
from app.surroundings import Scene
from app.undo import UNDO_TOOL
from app.undo_steps import plan_reversal
from app.validate import DueFailure, Skip, check_due, name_references
from tool_catalog.model import Reason

log = logging.getLogger(__name__)


def serve_due(parts: Parts, outbox: Outbox) -> None:
    """Give every due step its rows, or end it as skipped or failed."""
    for due in outbox.due_steps():
        serve = _reverse if UNDO_TOOL in due.template else _serve
        try:
            serve(due, parts, outbox)
        except Unavailable:
            raise
        except Exception:  # one plan's step must not hold up all others
            log.exception("step %s could not be rendered", due.step_id)
            summary = "rendering it broke inside opsfarm; the dispatcher's log says where"
            broken = Unrun(State.FAILED, summary, Reason.INTERNAL)
            parts.publisher.publish(outbox.settle_due(due.step_id, broken, parts.settings.window))


def _serve(due: DueStep, parts: Parts, outbox: Outbox) -> None:
    view = FarmView(parts, due.principal.tenant)
    outcome = check_due(
        due.template,
        _make_context(due, outbox),
        parts.catalog,
        view,
        parts.rules,
        principal=due.principal,
    )
    window = parts.settings.window
    if isinstance(outcome, Skip):
        sending = outbox.settle_due(due.step_id, Unrun(State.SKIPPED, outcome.message), window)
    elif isinstance(outcome, DueFailure):
        failed = Unrun(State.FAILED, outcome.message, outcome.reason)
        sending = outbox.settle_due(due.step_id, failed, window)
    else:
        wish_s, tenant = due.approval_timeout_s, due.principal.tenant
        steps, ask = ask_for(outcome, wish_s, tenant, parts)
        sending = outbox.expand_step(due.step_id, steps, window, ask)
    parts.publisher.publish(sending)


def _reverse(due: DueStep, parts: Parts, outbox: Outbox) -> None:
    """Put what reverses an execution's rows in the place of the row that asked for it."""
    scene = Scene(FarmView(parts, due.principal.tenant), parts.rules)
    steps = plan_reversal(outbox.rows_done(due), due.position, parts.catalog, scene)
    steps = limit_steps(steps, parts.rules.policy.limits, due.principal, parts.catalog)
    window = parts.settings.window
    if steps:
        sending = outbox.expand_step(due.step_id, steps, window)
    else:
        nothing = Unrun(State.SKIPPED, "nothing to undo: no step that changes anything was done")
        sending = outbox.settle_due(due.step_id, nothing, window)
    parts.publisher.publish(sending)


def _make_context(due: DueStep, outbox: Outbox) -> dict[str, Any]:
    """What the template may see: the earlier steps that it names, and its execution."""
    keys = name_references(due.template)
    rows = own_rows(due.template, outbox.rows_before(due, keys) if keys else [])
    steps = {key: summarise(list(group)) for key, group in groupby(rows, lambda row: row["key"])}
    execution = {
        "id": str(due.execution_id),
        "state": due.execution_state,
        "name": due.plan_name,
    }
    return {"steps": steps, "execution": execution}
