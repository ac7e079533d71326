"""Checks what stands at the head of a block: its targets, its condition (pure)."""

from dataclasses import replace
from typing import Any

from app.blocks import BlockPlace, Held
from app.drafts import Ground
from app.errors import ExpressionError
from app.faults import Faults
from app.render import evaluate_condition, knows_condition, knows_names
from app.step import Target
from app.surroundings import Scene
from app.targeting import Asker, check_target_templates, choose_targets, render_targets


class BlockHeads:
    """Finds out, once for each block, what it holds."""

    def __init__(self, scene: Scene, ground: Ground) -> None:
        self._scene = scene
        self._ground = ground
        #: By path.
        self._held = dict(ground.held)

    def resolve(self, place: BlockPlace, batch: tuple[Target, ...] | None) -> Held:
        """What a block holds within a batch of the block around it; notes its faults."""
        targets = place.block.targets
        if targets is None and batch is None:
            targets = self._ground.defaults.targets
        if place.path not in self._held:
            self._held[place.path] = self._hold(place, targets, divides=batch is not None)
        held = self._held[place.path]
        return replace(held, targets=batch) if targets is None and batch is not None else held

    def _hold(self, place: BlockPlace, targets: Any, *, divides: bool) -> Held:  # noqa: ANN401  # any form of a selector
        faults = self._ground.faults.at(place.path)
        holds = self._judge_when(place, faults)
        if holds is False:
            return Held(skipped=f"when: {place.block.when} is false")
        if targets is not None:
            found = self._find_targets(place, targets, faults)
            return replace(found, later=found.later or holds is None)
        if place.block.batch is not None and not divides:
            message = "the block has no targets that `batch` could divide"
            given = place.block.batch
            hint = "targets: <hostname or selector>"
            faults.add("batch", "missing_target", message, given=given, hint=hint)
        return Held(later=holds is None)

    def _find_targets(self, place: BlockPlace, targets: Any, faults: Faults) -> Held:  # noqa: ANN401  # any form of a selector
        if not knows_names(targets, self._ground.context):
            check_target_templates(targets, faults)
            return Held(later=True)
        on_empty = place.block.on_empty or self._ground.defaults.on_empty
        asker = Asker(f"the block {place.path}", faults, on_empty)
        try:
            rendered = render_targets(targets, self._ground.context)
        except ExpressionError as error:
            faults.add("targets", "expression", str(error))
            return Held(later=True)
        found = choose_targets(rendered, self._scene, asker)
        # A block with a fault is as good as one that is not known yet: the plan is refused.
        return Held(found.targets, skipped=found.skipped) if found else Held(later=True)

    def _judge_when(self, place: BlockPlace, faults: Faults) -> bool | None:
        """Whether the block's condition holds; None when that is only known later."""
        when, context = place.block.when, self._ground.context
        if when is None:
            return True
        if not knows_condition(when, context):
            return None
        try:
            return evaluate_condition(when, context)
        except ExpressionError as error:
            faults.add("when", "expression", str(error))
            return None
