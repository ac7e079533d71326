"""Reads what stands in a plan's `steps`: steps, `parallel` stages, blocks of them (pure)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from app.faults import Faults
from app.members import (
    check_keys,
    check_strings,
    read_on_empty,
    read_on_failure,
    read_user,
    read_when,
    read_whole,
    unalias,
)
from app.plan import MAX_FAILURES, MAX_LEVELS, Block, Parallel, PlanEntry, PlanStep
from app.step_reader import STEP_KEYS, name_step, read_step

BLOCK_KEYS = (
    "targets",
    "batch",
    "steps",
    "max_failures",
    "on_failure",
    "when",
    "run_as",
    "on_empty",
)
PARALLEL_KEYS = ("parallel",)

_PERCENT = re.compile(r"([0-9]{1,4})%")
_BATCHES = 'a whole number from 1, or a share of the targets from "1%" to "100%"'
_TO_A_STEP = dict.fromkeys(STEP_KEYS, "it belongs to a step: write it in each that it is meant for")
#: Only the outermost block counts failures.
_COUNTED_OUTSIDE = "the outermost block counts the failures: write it there"


class EntryReader:
    """Reads the entries of one plan; `finally` goes on counting where `steps` ended."""

    def __init__(self) -> None:
        self._positions = count(1)

    def read(
        self, values: Sequence[Any], part: str, faults: Faults, around: tuple[str, ...] = ()
    ) -> tuple[list[PlanEntry], list[dict[str, Any]]]:
        """The entries of the list at `part`, and their members as they are kept.

        `around` names the blocks and parallel stages that the list stands in.
        """
        read = [
            self._read_entry(value, faults.at(f"{part}[{index}]"), around)
            for index, value in enumerate(values)
        ]
        return [entry for entry, _ in read], [members for _, members in read]

    def _read_entry(
        self,
        value: Any,  # noqa: ANN401  # any JSON value
        faults: Faults,
        around: tuple[str, ...],
    ) -> tuple[PlanEntry, dict[str, Any]]:
        if isinstance(value, Mapping) and "parallel" in value:
            _check_level(faults, around, "parallel")
            return self._read_parallel(value, faults, around)
        if isinstance(value, Mapping) and ("steps" in value or _is_headless(value)):
            _check_level(faults, around, "block")
            return self._read_block(value, faults, around)
        at_step = faults.at(faults.base, name_step(next(self._positions), value))
        step, members = read_step(value, at_step)
        if "block" in around:
            _refuse(members, ("max_failures",), at_step)
            step = replace(step, max_failures=None)
        return step, members

    def _read_parallel(
        self, value: Mapping[str, Any], faults: Faults, around: tuple[str, ...]
    ) -> tuple[Parallel, dict[str, Any]]:
        check_keys(value, PARALLEL_KEYS, faults)
        inner = list_steps(value, "parallel", faults)
        entries, members = self.read(
            inner, f"{faults.base}.parallel", faults, (*around, "parallel")
        )
        steps = tuple(entry for entry in entries if isinstance(entry, PlanStep))
        return Parallel(steps), {"parallel": members}

    def _read_block(
        self, value: Mapping[str, Any], faults: Faults, around: tuple[str, ...]
    ) -> tuple[Block, dict[str, Any]]:
        check_keys(value, BLOCK_KEYS, faults, _TO_A_STEP)
        members = unalias(value, faults)
        check_strings({k: v for k, v in members.items() if k != "steps"}, "", faults)
        if "block" in around:
            _refuse(members, ("max_failures", "on_failure"), faults)
        inner = list_steps(members, "steps", faults)
        entries, documents = self.read(inner, f"{faults.base}.steps", faults, (*around, "block"))
        block = Block(
            steps=tuple(entries),
            targets=members.get("targets"),
            batch=_read_batch(members, faults),
            max_failures=read_whole(members, "max_failures", faults, limits=(0, MAX_FAILURES)) or 0,
            on_failure=read_on_failure(members, faults),
            when=read_when(members, faults),
            run_as=read_user(members, "run_as", faults),
            on_empty=read_on_empty(members, faults),
        )
        return block, {**members, "steps": documents}


def list_steps(members: Mapping[str, Any], part: str, faults: Faults) -> Sequence[Any]:
    """The list at `part`, which holds one step at least; () after noting a fault."""
    value = members.get(part)
    if isinstance(value, list) and value:
        return value
    if value in (None, []):
        hint = f"{part}: [{{tool: df}}]"
        faults.add(part, "missing", f"there is nothing in {part!r}", hint=hint)
    else:
        allowed = "a list of steps"
        faults.add(part, "wrong_type", f"{part!r} is not a list", given=value, allowed=allowed)
    return ()


def count_steps(values: Sequence[Any]) -> int:
    """How many steps a list of entries holds, in blocks and `parallel` stages, too."""
    return sum(map(_count_in, values))


def _count_in(value: Any) -> int:  # noqa: ANN401  # any JSON value
    inner = value.get("parallel", value.get("steps")) if isinstance(value, Mapping) else None
    return count_steps(inner) if isinstance(inner, list) else 1


def _is_headless(value: Mapping[str, Any]) -> bool:
    """Whether this can only be a block, although its steps are missing."""
    return "batch" in value and "tool" not in value


def _check_level(faults: Faults, around: tuple[str, ...], kind: str) -> None:
    if "parallel" in around:
        hint = "a parallel stage holds plain steps only"
        faults.add("", "nested_too_deep", f"`{kind}` inside of `parallel`", hint=hint)
    elif len(around) >= MAX_LEVELS:
        levels = " in ".join(["`parallel`" if kind == "parallel" else "a block", *around[::-1]])
        message = f"{levels.replace('in block', 'in a block')}: three levels"
        hint = "two at most: a block in a block, or `parallel` in a block"
        faults.add("", "nested_too_deep", message, hint=hint)


def _refuse(members: Mapping[str, Any], keys: Sequence[str], faults: Faults) -> None:
    for key in keys:
        if key in members:
            faults.add(
                key, "misplaced_key", f"no key `{key}` inside of a block", hint=_COUNTED_OUTSIDE
            )


def _read_batch(members: Mapping[str, Any], faults: Faults) -> int | str | None:
    value = members.get("batch")
    if value is None:
        return None
    code = "wrong_type"
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= 1:
            return value
        code = "out_of_range"
    elif isinstance(value, str):
        percent = _PERCENT.fullmatch(value.strip())
        if percent and 1 <= int(percent[1]) <= 100:  # noqa: PLR2004  # per cent
            return value.strip()
        code = "out_of_range" if percent else "bad_format"
    faults.add("batch", code, "'batch' is no number of targets", given=value, allowed=_BATCHES)
    return None
