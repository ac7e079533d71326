"""A checked plan as JSON: what it would be, and the exact commands that it would run (pure)."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from app.approval_policy import join_needs
from app.limits import tell_cap
from app.plan import CheckedPlan, CheckedRow, CheckedStep
from app.preview import show_run
from app.privilege import Login
from app.store.rows import need_json
from app.undo import lasts
from app.worker_offer import WorkerOffer
from tool_catalog.loader import Catalog


def show_check(plan: CheckedPlan) -> dict[str, Any]:
    """Each step with its tool, effect, queue and targets, in batches where it has several."""
    return {
        "ok": True,
        "name": plan.name,
        "plan": {"name": plan.stored[0], "version": plan.stored[1]} if plan.stored else None,
        "digest": plan.digest,
        "approval": need_json(join_needs(step.approval for step in plan.steps)),
        "steps": [_show_step(passes) for passes in _group(plan)],
        "warnings": list(plan.warnings),
    }


def show_dry_run(
    plan: CheckedPlan,
    catalog: Catalog,
    workers: Sequence[WorkerOffer],
    logins: Mapping[int, Login],
    held: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """As the check, and for each row its masked commands, login, lock and the live workers.

    `lasts`: the step changes something and cannot be undone.
    `logins` are those of `named_assets`, by asset; `held` are those who hold `named_locks` now.
    """
    shown = show_check(plan)
    for passes, members in zip(_group(plan), shown["steps"], strict=True):
        queue = passes[0].queue
        members["lasts"] = lasts(passes[0], catalog)
        members["workers"] = [
            worker.name for worker in workers if queue in worker.queues and not worker.stopped
        ]
        members["commands"] = [
            command
            for number, step in enumerate(passes, 1)
            if not step.dynamic
            for command in _commands(step, number if len(passes) > 1 else None, catalog, logins)
        ]
        for command in members["commands"]:
            command["blocked_by"] = held.get(command["lock"])
    return shown


def named_assets(plan: CheckedPlan) -> set[int]:
    """The ids of the assets that the plan's rows act on."""
    targets = (row.target for step in plan.steps for row in step.rows if row.target)
    return {target.asset_id for target in targets if target.asset_id is not None}


def named_locks(plan: CheckedPlan) -> set[str]:
    """What the plan's rows lock while they run."""
    return {row.mutex for step in plan.steps for row in step.rows if row.mutex is not None}


def _group(plan: CheckedPlan) -> list[list[CheckedStep]]:
    """The steps in the order of their positions: each with one entry for each batch."""
    ordered = sorted(plan.steps, key=lambda step: (step.position, step.stage))
    return [list(group) for _, group in groupby(ordered, key=lambda step: step.position)]


def _show_step(passes: Sequence[CheckedStep]) -> dict[str, Any]:
    step = passes[0]
    batches = [_name_targets(each) for each in passes]
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
        "skipped": step.skipped,
        "targets": list(dict.fromkeys(name for batch in batches for name in batch)),
        "batches": batches if len(batches) > 1 else None,
        "block": step.block,
        "run_as": step.run_as,
        "max_parallel": step.max_parallel,
        "max_failures": step.max_failures,
        "timeout_s": step.timeout_s,
        "secrets": list(step.secrets),
        "approval": need_json(join_needs(each.approval for each in passes)),
    }


def _name_targets(step: CheckedStep) -> list[str]:
    """Whom a step acts on in one stage; of a dynamic step in a block, its batch."""
    if step.dynamic:
        targets = (step.template or {}).get("targets")
        return list(targets["names"]) if isinstance(targets, Mapping) and "names" in targets else []
    return list(dict.fromkeys(row.target.name for row in step.rows if row.target))


def _commands(
    step: CheckedStep, batch: int | None, catalog: Catalog, logins: Mapping[int, Login]
) -> list[dict[str, Any]]:
    tool = catalog.find(step.tool)
    operation = catalog.operation(tool, step.operation)
    return [
        {
            "batch": batch,
            "target": row.target.name if row.target else None,
            "item": row.item,
            "address": row.target.address if row.target else None,
            "connection": row.target.connection if row.target else None,
            "port": row.target.port if row.target else None,
            "lock": row.mutex,
            "limits": [tell_cap(cap) for cap in row.caps],
            **show_run(tool, operation, row, step.run_as, _login_of(row, logins)),
        }
        for row in step.rows
    ]


def _login_of(row: CheckedRow, logins: Mapping[int, Login]) -> Login | None:
    asset_id = row.target.asset_id if row.target else None
    return None if asset_id is None else logins.get(asset_id)
