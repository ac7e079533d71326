"""A checked plan as JSON: what it would be, and the exact commands that it would run (pure)."""

from collections.abc import Sequence
from typing import Any

from app.command import build_command, show_command
from app.errors import StepError
from app.plan import CheckedPlan, CheckedRow, CheckedStep
from app.worker_offer import WorkerOffer
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation


def show_check(plan: CheckedPlan) -> dict[str, Any]:
    """Each step with its tool, effect, queue and targets."""
    return {
        "ok": True,
        "name": plan.name,
        "digest": plan.digest,
        "steps": [_show_step(step) for step in plan.steps],
        "warnings": list(plan.warnings),
    }


def show_dry_run(
    plan: CheckedPlan, catalog: Catalog, workers: Sequence[WorkerOffer]
) -> dict[str, Any]:
    """As the check, and for each target the masked command, its lock and the live workers."""
    shown = show_check(plan)
    for step, members in zip(plan.steps, shown["steps"], strict=True):
        members["workers"] = [
            worker.name for worker in workers if step.queue in worker.queues and not worker.stopped
        ]
        members["commands"] = [] if step.dynamic else _commands(step, catalog)
    return shown


def _show_step(step: CheckedStep) -> dict[str, Any]:
    return {
        "position": step.position,
        "id": step.key,
        "tool": step.tool,
        "operation": step.operation,
        "effect": step.effect.value,
        "repeat": step.repeat.value,
        "section": step.section,
        "stage": step.stage,
        "queue": step.queue,
        "dynamic": step.dynamic,
        "targets": [row.target.name for row in step.rows if row.target],
        "timeout_s": step.timeout_s,
        "secrets": list(step.secrets),
    }


def _commands(step: CheckedStep, catalog: Catalog) -> list[dict[str, Any]]:
    operation = catalog.operation(catalog.find(step.tool), step.operation)
    return [
        {
            "target": row.target.name if row.target else None,
            "connection": row.target.connection if row.target else None,
            "lock": row.mutex,
            "command": _show_row(operation, row),
        }
        for row in step.rows
    ]


def _show_row(operation: Operation, row: CheckedRow) -> dict[str, Any]:
    """Parameters hold secrets by name only, so they may be shown."""
    try:
        shown = show_command(build_command(operation, row.parameters))
    except StepError as error:
        return {"kind": "refused", "message": error.message}
    if shown["kind"] == "python":
        shown["parameters"] = dict(row.parameters)
    return shown
