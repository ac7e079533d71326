"""Blocks and batches: which step acts on which targets in which stage (pure geometry)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from app.plan import MAX_ROWS, Block, Parallel, Plan, PlanEntry, PlanStep
from app.step import Target

Section = Literal["main", "finally"]


class TooManyRows(Exception):
    """A plan whose blocks give more rows than one execution may have."""


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """A block where it stands in its plan."""

    block: Block
    #: e.g. "steps[2].steps[0]".
    path: str
    #: Position of its first step.
    first: int
    #: Number of the outermost block, from 1.
    number: int
    #: The block as JSON, as it is kept.
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A step where it stands in its plan."""

    step: PlanStep
    position: int
    section: Section
    path: str
    #: The blocks around it, outermost first.
    blocks: tuple[BlockPlace, ...] = ()
    #: Path of the `parallel` stage that it stands in.
    parallel: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The steps of one `parallel` stage."""

    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class BlockNode:
    """A block with what stands in it."""

    place: BlockPlace
    nodes: "tuple[Node, ...]"


Node = Leaf | Group | BlockNode


@dataclass(frozen=True, slots=True)
class Held:
    """What a block holds: its targets, as far as they are known."""

    #: None: none were named, so that its steps act as they would outside of it.
    targets: tuple[Target, ...] | None = None
    #: An expression gives its targets or its `when` later.
    later: bool = False
    #: Why the whole block is skipped.
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """One step in one stage: the share of it that a batch of targets makes up."""

    leaf: Leaf
    stage: int
    #: Targets of the batch; None outside of blocks, or where they are not known.
    batch: tuple[Target, ...] | None = None
    #: The block that is rendered before it is known what this becomes.
    waits_for: BlockPlace | None = None
    #: Of the first step of such a block: for how many stages it stands.
    placeholders: int = 0
    #: The batch of the block around that block.
    outer: tuple[Target, ...] | None = None
    skipped: str | None = None


#: Says what a block holds, given the batch of the block around it.
Resolve = Callable[[BlockPlace, tuple[Target, ...] | None], Held]


class Planter:
    """Gives every step and block its place; `finally` goes on counting where `steps` ended."""

    def __init__(self, position: int = 1, number: int = 1) -> None:
        self._position = position
        self._number = number

    def plant(
        self,
        entries: Sequence[PlanEntry],
        documents: Sequence[Mapping[str, Any]],
        section: Section,
        path: str,
        around: tuple[BlockPlace, ...] = (),
    ) -> tuple[Node, ...]:
        """The entries of the list at `path`, with the JSON that they were read from."""
        return tuple(
            self._plant_entry(entry, document, section, f"{path}[{index}]", around)
            for index, (entry, document) in enumerate(zip(entries, documents, strict=True))
        )

    def _plant_entry(
        self,
        entry: PlanEntry,
        document: Mapping[str, Any],
        section: Section,
        path: str,
        around: tuple[BlockPlace, ...],
    ) -> Node:
        if isinstance(entry, PlanStep):
            return self._plant_step(entry, section, path, around)
        if isinstance(entry, Parallel):
            return Group(
                tuple(
                    self._plant_step(step, section, f"{path}.parallel[{index}]", around, path)
                    for index, step in enumerate(entry.steps)
                )
            )
        number = around[0].number if around else self._number
        self._number += not around
        place = BlockPlace(entry, path, self._position, number, document)
        inner = self.plant(
            entry.steps, document["steps"], section, f"{path}.steps", (*around, place)
        )
        return BlockNode(place, inner)

    def _plant_step(
        self,
        step: PlanStep,
        section: Section,
        path: str,
        around: tuple[BlockPlace, ...],
        parallel: str | None = None,
    ) -> Leaf:
        leaf = Leaf(step, self._position, section, path, around, parallel)
        self._position += 1
        return leaf


def plant_plan(plan: Plan) -> tuple[Node, ...]:
    """A plan's steps and blocks in their places, `finally` behind the main part."""
    planter = Planter()
    document = plan.document
    main = planter.plant(plan.steps, document["steps"], "main", "steps")
    last = planter.plant(plan.finally_steps, document.get("finally", ()), "finally", "finally")
    return main + last


def leaves_of(nodes: Sequence[Node]) -> Iterator[Leaf]:
    """Every step, in the order of positions."""
    for node in nodes:
        if isinstance(node, Leaf):
            yield node
        elif isinstance(node, Group):
            yield from node.leaves
        else:
            yield from leaves_of(node.nodes)


def places_of(nodes: Sequence[Node]) -> Iterator[BlockPlace]:
    """Every block, outer ones first."""
    for node in nodes:
        if isinstance(node, BlockNode):
            yield node.place
            yield from places_of(node.nodes)


def split_batches(targets: Sequence[Target], batch: int | str | None) -> list[tuple[Target, ...]]:
    """Targets in batches: `batch` at a time, or a share of them ("25%", rounded up)."""
    if isinstance(batch, str):
        size = -(-len(targets) * int(batch.removesuffix("%")) // 100)
    else:
        size = batch or len(targets)
    size = max(size, 1)
    return [tuple(targets[start : start + size]) for start in range(0, len(targets), size)]


def lay_out(nodes: Sequence[Node], resolve: Resolve) -> list[Pass]:
    """Every step in every stage that it has a share of, in the order of stages.

    A block passes each batch through all its steps before the next batch begins. Raises
    TooManyRows.
    """
    layout = _Layout(resolve)
    for node in nodes:
        layout.lay(node, None)
    return layout.passes


class _Layout:
    def __init__(self, resolve: Resolve) -> None:
        self.passes: list[Pass] = []
        self._resolve = resolve
        self._stage = 0
        self._rows = 0

    def lay(self, node: Node, batch: tuple[Target, ...] | None) -> None:
        if isinstance(node, BlockNode):
            self._lay_block(node, batch)
            return
        for leaf in (node,) if isinstance(node, Leaf) else node.leaves:
            self._add(Pass(leaf, self._stage, batch))
        self._stage += 1

    def _lay_block(self, node: BlockNode, batch: tuple[Target, ...] | None) -> None:
        held = self._resolve(node.place, batch)
        if held.later or held.skipped is not None:
            self._lay_placeholders(node, batch, held)
            return
        parts: Sequence[tuple[Target, ...] | None] = (None,)
        if held.targets is not None:
            parts = split_batches(held.targets, node.place.block.batch)
        for part in parts:
            for inner in node.nodes:
                self.lay(inner, part)

    def _lay_placeholders(
        self, node: BlockNode, batch: tuple[Target, ...] | None, held: Held
    ) -> None:
        leaves = list(leaves_of(node.nodes))
        place = node.place if held.later else None
        for number, leaf in enumerate(leaves):
            stands_for = len(leaves) if held.later and number == 0 else 0
            self._add(
                Pass(
                    leaf,
                    self._stage,
                    batch=held.targets,
                    waits_for=place,
                    placeholders=stands_for,
                    outer=batch,
                    skipped=held.skipped,
                )
            )
            self._stage += 1

    def _add(self, share: Pass) -> None:
        self._rows += 1 if share.waits_for else len(share.batch or ()) or 1
        if self._rows > MAX_ROWS:
            raise TooManyRows
        self.passes.append(share)


def own_rows(
    template: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Of the rows of earlier steps, those that a due step may see, ordered by key and stage.

    `rows` have `key`, `stage`, `target_index` and `target` ({"name": ...} or None). A step in a
    block sees of the block's other steps what its own batch left behind: the rows of its own
    targets, or, of a step that acts elsewhere, those of its latest stage. It sees all rows of the
    steps outside of the block.
    """
    ordered = sorted(rows, key=lambda row: (row["key"], row["stage"], row["target_index"]))
    inside, batch = set(template.get("inside", ())), set(template.get("batch", ()))
    found: list[Mapping[str, Any]] = []
    for key, group in groupby(ordered, key=lambda row: row["key"]):
        held = list(group)
        if key in inside:
            own = [row for row in held if row["target"] and row["target"]["name"] in batch]
            held = own or [row for row in held if row["stage"] == held[-1]["stage"]]
        found += held
    return found
