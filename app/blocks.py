"""Blocks and batches: which step acts on which targets in which stage (pure)."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any


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
