"""What somebody is asked to say yes to: shown whole, and bound to a digest (pure)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from app.approval_policy import join_needs
from app.json_text import write_json
from app.plan import Ask, CheckedRow, CheckedStep
from app.preview import show_run
from app.privilege import Login, show_login, tell_login
from app.step import Target
from app.store.rows import need_json, target_json
from app.undo import lasts
from tool_catalog.loader import Catalog
from tool_catalog.model import Operation, ParameterType
from tool_catalog.names import UnknownName

Logins = Mapping[int, Login]
#: By asset, how it is reached now; what is gone, or rests, is not in it.
Targets = Mapping[int, Target]

#: What of a target decides where a command arrives.
_PLACE = ("name", "address", "connection", "port", "options")


def asking_assets(steps: Iterable[CheckedStep]) -> set[int]:
    """The ids of the assets whose logins an approval names."""
    targets = (row.target for step in steps if step.approval for row in step.rows)
    return {t.asset_id for t in targets if t is not None and t.asset_id is not None}


def bind_steps(
    steps: Sequence[CheckedStep], catalog: Catalog, logins: Logins
) -> tuple[CheckedStep, ...]:
    """The steps; the rows of those that need an approval hold what must be so when they run."""
    return tuple(_bind(step, catalog, logins) if step.approval else step for step in steps)


def make_ask(
    steps: Sequence[CheckedStep], catalog: Catalog, logins: Logins, expires_s: float
) -> Ask | None:
    """One question for all bound steps that need an approval; None where none does."""
    asking = sorted((step for step in steps if step.approval), key=_place)
    need = join_needs(step.approval for step in asking)
    if need is None:
        return None
    shown = [
        _show_step(list(passes), catalog, logins)
        for _, passes in groupby(asking, key=lambda step: step.position)
    ]
    return Ask(_digest(asking), {"steps": shown}, expires_s, need)


def find_changes(
    shown: Mapping[str, Any], catalog: Catalog, logins: Logins, targets: Targets
) -> list[str]:
    """What is not any more as it was when it was asked for: tools' files, targets, logins."""
    changes: dict[str, None] = {}
    for step in shown["steps"]:
        if _digest_of(step["tool"], catalog) != step["tool_digest"]:
            changes[f"the file of {step['tool']} changed"] = None
        for target in (each for command in step["commands"] for each in command["targets"]):
            if target["asset_id"] is not None:
                changes |= dict.fromkeys(_find_moved(target, targets))
                changes |= dict.fromkeys(_find_login(target, logins))
    return list(changes)


def shown_assets(shown: Mapping[str, Any]) -> set[int]:
    """The ids of the assets in what was shown."""
    commands = (command for step in shown["steps"] for command in step["commands"])
    ids = (target["asset_id"] for command in commands for target in command["targets"])
    return {each for each in ids if each is not None}


def _find_moved(shown: Mapping[str, Any], targets: Targets) -> Iterator[str]:
    target = targets.get(shown["asset_id"])
    if target is None:
        yield f"{shown['name']} is gone, in maintenance or retired"
        return
    now = target_json(target) or {}
    for name in _PLACE:
        if now[name] != shown[name]:
            told = f" was {shown[name]}, is {now[name]}" if name != "options" else " changed"
            yield f"the {name if name != 'options' else 'connection'} of {shown['name']}{told}"


def _find_login(shown: Mapping[str, Any], logins: Logins) -> Iterator[str]:
    now = show_login(logins.get(shown["asset_id"]))
    if not shown["fixed"] and any(now[name] != shown[name] for name in now):
        was = tell_login(shown)
        yield f"the credential of {shown['name']} was {was}, is {tell_login(now)}"


def _bind(step: CheckedStep, catalog: Catalog, logins: Logins) -> CheckedStep:
    tool = catalog.find(step.tool)
    operation = catalog.operation(tool, step.operation)
    rows = (
        replace(row, bound={"tool": tool.digest, "login": _login(operation, row, logins)})
        for row in step.rows
    )
    return replace(step, rows=tuple(rows))


def _login(operation: Operation, row: CheckedRow, logins: Logins) -> dict[str, Any]:
    """The login that a row uses: the one that it names, by name alone, else its asset's."""
    named = _named_credential(operation, row)
    if named is not None:
        return {"credential": named}
    if operation.at != "target" or row.target is None or row.target.asset_id is None:
        return show_login(None)
    return show_login(logins.get(row.target.asset_id))


def _named_credential(operation: Operation, row: CheckedRow) -> str | None:
    kinds = {name: parameter.type for name, parameter in operation.parameters.items()}
    named = (n for n, kind in kinds.items() if kind is ParameterType.CREDENTIAL)
    return next((row.parameters[n] for n in named if n in row.parameters), None)


def _show_step(passes: Sequence[CheckedStep], catalog: Catalog, logins: Logins) -> dict[str, Any]:
    """One step with its commands; targets that run the same stand together."""
    step = passes[0]
    tool = catalog.find(step.tool)
    operation = catalog.operation(tool, step.operation)
    commands: dict[str, dict[str, Any]] = {}
    no_login = show_login(None)
    for row in (row for each in passes for row in each.rows):
        login = logins.get(row.target.asset_id or 0) if row.target else None
        run = show_run(tool, operation, row, step.run_as, login)
        run = {"item": row.item} | {k: v for k, v in run.items() if k not in no_login}
        shown = commands.setdefault(write_json(run), {**run, "targets": []})
        if row.target is not None:
            shown["targets"].append(_show_target(operation, row, row.target))
    return {
        "position": step.position,
        "id": step.key,
        "tool": step.tool,
        "operation": step.operation,
        "effect": step.effect.value,
        "run_as": step.run_as,
        "needs": need_json(step.approval),
        "lasts": lasts(step, catalog),
        "tool_digest": tool.digest,
        "commands": list(commands.values()),
    }


def _show_target(operation: Operation, row: CheckedRow, target: Target) -> dict[str, Any]:
    own = operation.at == "target" and _named_credential(operation, row) is None
    # Where the asset's own login is not used, another one changes nothing.
    return {**(target_json(target) or {}), **(row.bound or {})["login"], "fixed": not own}


def _digest(steps: Sequence[CheckedStep]) -> str:
    """SHA-256, hex, of all that will run: parameters, targets, credentials, the tools' files."""
    digest = hashlib.sha256()
    for step in steps:
        head = [step.position, step.stage, step.tool, step.operation, step.run_as]
        for row in step.rows:
            whole = [*head, row.parameters, target_json(row.target), row.item, row.bound]
            digest.update(write_json(whole).encode() + b"\n")
    return digest.hexdigest()


def _digest_of(tool: str, catalog: Catalog) -> str | None:
    try:
        return catalog.find(tool).digest
    except UnknownName:
        return None


def _place(step: CheckedStep) -> tuple[int, int]:
    return step.position, step.stage
