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


def on_hosts(step: CheckedStep, hosts: Iterable[str], **members) -> CheckedStep:
    """The step with a row for each host."""
    rows = tuple(CheckedRow({}, Target(host)) for host in hosts)
    return replace(step, rows=rows, **members)


def lay_out(entries: Iterable[Entry | Batches], position=1, stage=0) -> list[CheckedStep]:
    """Each entry in the stages behind the one before it; the batches of a block one by one."""
    placed: list[CheckedStep] = []
    for entry in entries:
        if isinstance(entry, Batches):
            made = list(_batches(entry, position, stage))
        else:
            steps = entry if isinstance(entry, tuple) else (entry,)
            made = [
                replace(step, position=position + n, stage=stage) for n, step in enumerate(steps)
            ]
        placed += made
        position = max(step.position for step in made) + 1
        stage = max(step.stage for step in made) + 1
    return placed


def _batches(block: Batches, position: int, stage: int) -> Iterator[CheckedStep]:
    rules = {
        "block": block.number,
        "max_failures": block.max_failures,
        "block_on_failure": block.on_failure,
    }
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
