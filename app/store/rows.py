"""Checked plans, steps and results as the JSON that the ledger's functions take (pure)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.plan import CheckedPlan, CheckedRow, CheckedStep, Need
from app.step import Artifact, StepResult, Target


def plan_json(plan: CheckedPlan) -> dict[str, Any]:
    """What an execution's own row keeps of its plan."""
    name, version = plan.stored or (None, None)
    return {
        "name": plan.name,
        "plan_digest": plan.digest,
        "plan": plan.document,
        "tools": dict(plan.tools),
        "plan_name": name,
        "plan_version": version,
        "rerun_of": plan.rerun_of,
        "reason": plan.reason,
        "approval_timeout_s": plan.approval_timeout_s,
        "timeout_s": plan.timeout_s,
        "warnings": list(plan.warnings),
        "stages": plan.stages,
        "finally_stage": plan.finally_stage,
        "shaped": any(step.block is not None or _held(step) is not None for step in plan.steps),
    }


def rows_json(steps: Sequence[CheckedStep]) -> list[dict[str, Any]]:
    """Every row of these steps, one after the other."""
    sizes: Counter[int] = Counter()
    for step in steps:
        sizes[step.stage] += len(step.rows)
    return [row for step in steps for row in _rows_of(step, alone=sizes[step.stage] == 1)]


def expansion_json(steps: Sequence[CheckedStep]) -> list[dict[str, Any]]:
    """The rows that replace a due one; the first of each step is marked."""
    rows = rows_json(steps)
    first = {row["position"]: row for row in reversed(rows)}
    for row in first.values():
        row["first"] = True
    return rows


def _rows_of(step: CheckedStep, *, alone: bool) -> list[dict[str, Any]]:
    shared = {
        "position": step.position,
        "key": step.key,
        "stage": step.stage,
        "tool": step.tool,
        "operation": step.operation,
        "domain": step.domain,
        "queue": step.queue,
        "effect": step.effect.value,
        "repeat": step.repeat.value,
        # May ride in a chain: what it does is known, it completes its stage, and no limit is asked.
        "linkable": alone and not step.dynamic and step.skipped is None and not _is_capped(step),
        "dynamic": step.dynamic,
        "template": step.template,
        "secrets": list(step.secrets),
        "on_failure": step.on_failure,
        "timeout_s": step.timeout_s,
        "queue_timeout_s": step.queue_timeout_s,
        "max_retries": step.max_retries,
        "backoff_s": step.backoff_s,
        "needs": step.needs,
    } | _limits(step)
    rows = step.rows if step.skipped is None else (step.rows or (CheckedRow({}),))[:1]
    return [
        shared | {"target_index": index} | _row_json(row)
        for index, row in enumerate(rows, step.first_index)
    ]


def _limits(step: CheckedStep) -> dict[str, Any]:
    """What only some steps have; what is absent is null in the ledger."""
    given = {
        "run_as": step.run_as,
        "max_parallel": _held(step),
        "max_failures": step.max_failures,
        "block": step.block,
        "block_on_failure": step.block_on_failure,
        "skipped": step.skipped,
    }
    return {name: value for name, value in given.items() if value is not None}


def _held(step: CheckedStep) -> int | None:
    """`max_parallel` where it holds rows back."""
    most = step.max_parallel
    return most if most is not None and not step.dynamic and len(step.rows) > most else None


def _row_json(row: CheckedRow) -> dict[str, Any]:
    shown = {
        "parameters": row.parameters,
        "target": target_json(row.target),
        "asset_id": row.target.asset_id if row.target else None,
        "mutex": row.mutex,
    }
    given = {"item": row.item, "undoes": row.undoes, "bound": row.bound, "caps": _caps_json(row)}
    return shown | {name: value for name, value in given.items() if value is not None}


def _is_capped(step: CheckedStep) -> bool:
    return any(row.caps for row in step.rows)


def _caps_json(row: CheckedRow) -> list[dict[str, Any]] | None:
    """A row's caps in the order in which the ledger takes them; None where there are none."""
    caps = sorted(row.caps, key=lambda cap: cap.key)
    return [{k: v for k, v in asdict(cap).items() if v is not None} for cap in caps] or None


def need_json(need: Need | None) -> dict[str, Any] | None:
    """Whose yes is needed: {"who": "self" | "other", "groups": {name: how many}}."""
    return None if need is None else {"who": need.who, "groups": dict(need.groups)}


def target_json(target: Target | None) -> dict[str, Any] | None:
    """A target as it is kept with its row."""
    if target is None:
        return None
    return {
        "name": target.name,
        "asset_id": target.asset_id,
        "address": target.address,
        "connection": target.connection,
        "port": target.port,
        "os": target.os,
        "options": dict(target.options),
    }


def result_json(result: StepResult) -> dict[str, Any]:
    """A step's result as it is kept."""
    shown = {
        "summary": result.summary,
        "output": result.output,
        "exit_code": result.exit_code,
        "changed": result.changed,
        "stdout_tail": result.stdout_tail,
        "stderr_tail": result.stderr_tail,
        "artifacts": [_artifact_json(artifact) for artifact in result.artifacts],
        "duration_s": round(result.duration_s, 3),
        "stopped": result.stopped,
    }
    given = {"before": result.before, "after": result.after, "truncated": result.truncated or None}
    return shown | {name: value for name, value in given.items() if value is not None}


def _artifact_json(artifact: Artifact) -> Mapping[str, Any]:
    return {name: getattr(artifact, name) for name in artifact.__slots__}
