"""Checked plans of every shape: stages side by side, blocks and their batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from app.plan import CheckedRow, CheckedStep
from app.step import Target

#: A step, or several that share a stage.
Entry = CheckedStep | tuple[CheckedStep, ...]


@dataclass(frozen=True)
class Batches:
    """A block: each batch of hosts passes through all steps before the next one begins."""

    steps: tuple[Entry, ...]
    batches: tuple[tuple[str, ...], ...]
    number: int = 1
    max_failures: int = 0
    on_failure: str = "stop"


@dataclass(frozen=True)
class LateBlock:
    """A block whose targets an expression gives: a placeholder for each step."""

    block: Batches


def on_hosts(step: CheckedStep, hosts: Iterable[str], **members) -> CheckedStep:
    """The step with a row for each host."""
    rows = tuple(CheckedRow({}, Target(host)) for host in hosts)
    return replace(step, rows=rows, **members)


def lay_out(
    entries: Iterable[Entry | Batches | LateBlock], position=1, stage=0
) -> list[CheckedStep]:
    """Each entry in the stages behind the one before it; the batches of a block one by one."""
    placed: list[CheckedStep] = []
    for entry in entries:
        if isinstance(entry, Batches):
            made = list(_batches(entry, position, stage))
        elif isinstance(entry, LateBlock):
            made = _placeholders(entry.block, position, stage)
        else:
            steps = entry if isinstance(entry, tuple) else (entry,)
            made = [
                replace(step, position=position + n, stage=stage) for n, step in enumerate(steps)
            ]
        placed += made
        position = max(step.position for step in made) + 1
        stage = max(step.stage for step in made) + 1
    return placed


def _placeholders(block: Batches, position: int, stage: int) -> list[CheckedStep]:
    """One dynamic row in a stage of its own for each inner step; the first one tells how many."""
    leaves = lay_out(block.steps, position)
    first = {"block": {"position": position}, "placeholders": len(leaves)}
    row = (CheckedRow({}),)
    return [
        replace(
            step,
            stage=stage + n,
            rows=row,
            dynamic=True,
            template={} if n else first,
            **_rules(block),
        )
        for n, step in enumerate(leaves)
    ]


def _rules(block: Batches) -> dict:
    return {
        "block": block.number,
        "max_failures": block.max_failures,
        "block_on_failure": block.on_failure,
    }


def _batches(block: Batches, position: int, stage: int) -> Iterator[CheckedStep]:
    rules = _rules(block)
    before = 0
    for batch in block.batches:
        inner = lay_out(block.steps, position, stage)
        for step in inner:
            if step.dynamic:
                yield replace(step, template={"batch": list(batch)}, first_index=before, **rules)
            else:
                yield on_hosts(step, batch, first_index=before, **rules)
        before += len(batch)
        stage = max(step.stage for step in inner) + 1
