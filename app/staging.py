"""Steps in their stages: each checked once, then given its share of every batch (pure)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from app.block_check import BlockHeads
from app.blocks import BlockPlace, Leaf, Node, Pass, TooManyRows, lay_out
from app.drafts import Ground, Nameless
from app.known_steps import Seat
from app.plan import MAX_ROWS, CheckedRow, CheckedStep
from app.references import check_block_expressions, check_expressions
from app.render import knows_names
from app.step import Target
from app.step_check import check_step
from app.surroundings import Draft, Scene
from app.targeting import render_targets

#: Stands for as many rows as the batch has targets.
_OF_THE_BATCH = -1

_RowsByName = Mapping[str, Sequence[CheckedRow]]
Drafts = Mapping[int, Draft | Nameless]


def stage_steps(
    nodes: Sequence[Node], drafts: Drafts, scene: Scene, ground: Ground
) -> tuple[CheckedStep, ...]:
    """Every step in every stage, in the order of stages; notes every fault.

    `drafts` are by position.
    """
    try:
        passes = lay_out(nodes, BlockHeads(scene, ground).resolve)
    except TooManyRows:
        _refuse_rows(ground)
        return ()
    shares = defaultdict[int, list[Pass]](list)
    for share in passes:
        shares[share.leaf.position].append(share)
    spreader = _Spreader(scene, ground)
    steps: list[CheckedStep] = []
    for position, draft in drafts.items():
        spreader.check_expressions(draft, shares[position][0].leaf)
        if isinstance(draft, Draft):
            steps += spreader.spread(draft, shares[position])
    if sum(len(step.rows) for step in steps) > MAX_ROWS:
        _refuse_rows(ground)
    return tuple(sorted(steps, key=lambda step: (step.stage, step.position)))


def show_block(step: CheckedStep) -> dict[str, Any]:
    """The outermost block around a step, as a template keeps it."""
    if step.block is None:
        return {}
    return {
        "number": step.block,
        "max_failures": step.max_failures,
        "on_failure": step.block_on_failure,
    }


def read_block(within: Mapping[str, Any]) -> dict[str, Any]:
    """Members of a checked step that tell of the block around it."""
    if not within:
        return {}
    return {
        "block": within["number"],
        "max_failures": within["max_failures"],
        "block_on_failure": within["on_failure"],
    }


def _refuse_rows(ground: Ground) -> None:
    ground.faults.add(
        "steps",
        "too_many",
        "the steps have too many rows, one for each target and item",
        allowed=f"at most {MAX_ROWS:,}",
        hint="split the plan, or select fewer targets",
    )


class _Spreader:
    """Checks one step after the other and gives each its place in every stage it has."""

    def __init__(self, scene: Scene, ground: Ground) -> None:
        self._scene = scene
        self._ground = ground
        self._around = ground.around
        self._seen: set[str] = set()
        self._inside: dict[int, list[str]] = defaultdict(list)

    def check_expressions(self, draft: Draft | Nameless, leaf: Leaf) -> None:
        """Note what is wrong in the expressions of a step, and at the head of its blocks."""
        if self._ground.due:
            return  # done when it was submitted
        known, faults = self._ground.known, self._ground.faults
        for place in leaf.blocks:
            if place.path not in self._seen:
                self._seen.add(place.path)
                seat = Seat(known, place.first, block=place.number)
                check_block_expressions(place.block, seat, faults.at(place.path))
        block = leaf.blocks[0].number if leaf.blocks else None
        seat = Seat(known, leaf.position, draft.key, block, leaf.parallel)
        check_expressions(draft.step, draft.targets, seat, draft.faults)

    def spread(self, draft: Draft, shares: Sequence[Pass]) -> list[CheckedStep]:
        """A step in each of its stages, with its share of the rows."""
        leaf = shares[0].leaf
        if leaf.blocks:
            self._inside[leaf.blocks[0].number].append(draft.key)
        follows = draft.operation.at == "target" and bool(leaf.blocks) and draft.targets is None
        draft = replace(
            draft,
            members=_join(shares) if follows else None,
            waits=shares[0].waits_for is not None,
            skipped=shares[0].skipped,
        )
        noted = len(draft.faults)
        checked = replace(check_step(draft, self._scene), path=leaf.path)
        checked = replace(checked, **self._tell_block(leaf))
        steps = []
        first_index = 0
        by_name = _group_rows(checked) if draft.members is not None else {}
        for share in shares:
            step = replace(checked, stage=share.stage, first_index=first_index)
            step = self._fill(step, draft, share, by_name)
            first_index += len(step.rows)
            steps.append(step)
        if len(draft.faults) == noted:
            self._note_rows(draft, steps, shares)
        return steps

    def _tell_block(self, leaf: Leaf) -> dict[str, Any]:
        if self._around.within or not leaf.blocks:
            return read_block(self._around.within)
        place = leaf.blocks[0]
        return {
            "block": place.number,
            "max_failures": place.block.max_failures,
            "block_on_failure": place.block.on_failure,
        }

    def _fill(
        self, step: CheckedStep, draft: Draft, share: Pass, by_name: _RowsByName
    ) -> CheckedStep:
        """A step with its share of the rows, or the template that gives it those."""
        if step.skipped is not None:
            return step
        if share.waits_for is not None:
            return replace(step, template=self._write_block(step, share.waits_for, share))
        if step.dynamic:
            return replace(step, template=self._write_template(step, draft, share))
        if draft.members is not None and share.batch is not None:
            # One item of `for_each` after the other.
            by_item = zip(*(by_name[target.name] for target in share.batch), strict=True)
            return replace(step, rows=tuple(row for rows in by_item for row in rows))
        return step

    def _write_template(self, checked: CheckedStep, draft: Draft, share: Pass) -> dict[str, Any]:
        """The template of a dynamic step, narrowed to its batch."""
        template = dict(checked.template or {})
        within = show_block(checked)
        if within:
            template["within"] = within
        names = [target.name for target in share.batch] if share.batch is not None else None
        inside = set(self._list_inside(within)) & self._ground.known.steps[draft.key].refers_to
        if inside:
            batch = names or list(self._around.batch)
            template |= {"inside": sorted(inside), "batch": batch}
        if draft.members is not None and names is not None:
            template["targets"] = {"names": names}
            confirm = draft.step.confirm
            if isinstance(confirm, list) and knows_names(confirm, {}):
                template["confirm"] = [name for name in confirm if name in set(names)]
        return template

    def _write_block(self, checked: CheckedStep, place: BlockPlace, share: Pass) -> dict[str, Any]:
        """The template of the first step of a block that is rendered later: the whole block."""
        head = {
            "position": checked.position,
            "key": checked.key,
            "section": checked.section,
            "tool": checked.tool,
            "operation": checked.operation,
        }
        if not share.placeholders:
            return head
        ground, scene = self._ground, self._scene
        within = show_block(checked)
        outer = share.outer or ()
        defaults = replace(ground.defaults, **_inherit(share.leaf, place))
        return head | {
            "block": place.document,
            "placeholders": share.placeholders,
            "defaults": {k: v for k, v in asdict(defaults).items() if v is not None},
            "within": within,
            "inside": self._list_inside(within),
            "batch": [target.name for target in outer] or list(self._around.batch),
            "inputs": dict(ground.context["inputs"]),
            **({"limit": scene.limit.text} if scene.limit else {}),
        }

    def _list_inside(self, within: Mapping[str, Any]) -> list[str]:
        """The ids of the steps, so far, of the outermost block."""
        if not within:
            return []
        return list(dict.fromkeys([*self._around.inside, *self._inside[within["number"]]]))

    def _note_rows(
        self, draft: Draft, steps: Sequence[CheckedStep], shares: Sequence[Pass]
    ) -> None:
        """Let later expressions know whether the step has one row or several."""
        waits = steps[0].dynamic and steps[0].skipped is None
        own = self._count_own(draft) if waits else None
        counts = [self._count(step, share, own) for step, share in zip(steps, shares, strict=True)]
        if None not in counts:
            known = self._ground.known.steps[draft.key]
            known.fanned_out = sum(filter(None, counts)) > 1
            known.fanned_out_in_batch = max(filter(None, counts)) > 1

    def _count(self, step: CheckedStep, share: Pass, own: int | None) -> int | None:
        if step.skipped is not None or not step.dynamic:
            return len(step.rows) or None
        return own if own != _OF_THE_BATCH else len(share.batch or ()) or None

    def _count_own(self, draft: Draft) -> int | None:
        """How many rows a dynamic step has in a stage; None when only run time shows it."""
        if draft.waits or draft.step.for_each is not None:
            return None
        if draft.members is not None:
            return _OF_THE_BATCH
        if draft.operation.at == "worker" or draft.targets is None:
            return 1
        if not knows_names(draft.targets, draft.context):
            return None
        targets = self._scene.select(render_targets(draft.targets, draft.context)).targets
        return len(self._scene.keep_limit(targets)) or None


def _inherit(leaf: Leaf, place: BlockPlace) -> dict[str, Any]:
    """What a block takes over from those around it; the inner one has the last word."""
    inherited: dict[str, Any] = {}
    for outer in leaf.blocks[: leaf.blocks.index(place)]:
        block = outer.block
        inherited |= {"run_as": block.run_as} if block.run_as is not None else {}
        inherited |= {"on_empty": block.on_empty} if block.on_empty is not None else {}
    return inherited


def _join(shares: Sequence[Pass]) -> tuple[Target, ...] | None:
    """All targets of a block's batches, each once; None where the block has none."""
    batches = [share.batch for share in shares if share.batch is not None]
    if not batches:
        return None
    return tuple({target.name: target for batch in batches for target in batch}.values())


def _group_rows(step: CheckedStep) -> _RowsByName:
    """The rows of each target, in the order of items."""
    by_name = defaultdict[str, list[CheckedRow]](list)
    for row in step.rows:
        if row.target is not None:
            by_name[row.target.name].append(row)
    return by_name
