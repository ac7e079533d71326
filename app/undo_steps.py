"""The steps that reverse what an execution did, each linked to the row that it reverses (pure)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from app.errors import CannotUndo
from app.faults import Faults
from app.parameter_check import find_secrets
from app.placement import find_needs, find_queue
from app.plan import MAX_FAILURES, CheckedRow, CheckedStep, PlanStep
from app.row_check import find_timeout
from app.safety import effect_of, judge_target
from app.step import Target
from app.surroundings import Draft, Scene
from app.targeting import lock_key
from app.undo import Done, Undo, plan_undo
from tool_catalog.loader import Catalog
from tool_catalog.model import Effect, Operation, Repeat, Tool
from tool_catalog.names import UnknownName

#: Stands before the id of the step that is reversed: no id of a plan holds a colon.
PREFIX = "undo:"


def plan_reversal(
    rows: Sequence[Mapping[str, Any]], position: int, catalog: Catalog, scene: Scene
) -> tuple[CheckedStep, ...]:
    """One step with one row for each of these rows, in stages from 0; the last one comes first.

    `rows` are those of `Outbox.rows_done`. Rows of one stage are reversed side by side, but one
    after the other where they are of the same target. `position` is that of the first step. What
    has nothing to reverse, or declares no undo, comes out skipped; what cannot be reversed
    although its tool says so comes out dynamic, and fails when it is due.
    """
    places: dict[int, int] = {}
    used: Counter[int] = Counter()
    steps = []
    for stage, row in _stage_rows(rows):
        place = places.setdefault(row["position"], position + len(places))
        seat = _Seat(stage, place, used[place])
        used[place] += 1
        steps.append(_Reversal(row, seat, catalog, scene).make_step())
    return tuple(sorted(steps, key=lambda step: (step.stage, step.position)))


def _stage_rows(
    rows: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row with its stage: the stages backwards, and in each its targets' rows backwards."""
    first = 0
    ordered = sorted(rows, key=lambda row: (row["stage"], row["finished_at"], row["id"]))
    for _, group in groupby(reversed(ordered), key=lambda row: row["stage"]):
        seen: Counter[str | None] = Counter()
        for row in group:
            target = row["target"]["name"] if row["target"] else None
            yield first + seen[target], row
            seen[target] += 1
        first += max(seen.values())


@dataclass(frozen=True, slots=True)
class _Seat:
    """Where one reversal stands."""

    stage: int
    position: int
    #: Among the rows of its position.
    index: int


@dataclass(frozen=True, slots=True)
class _Reversal:
    """One row on its way to the step that reverses it."""

    row: Mapping[str, Any]
    seat: _Seat
    catalog: Catalog
    scene: Scene

    def make_step(self) -> CheckedStep:
        row = self.row
        try:
            tool = self.catalog.find(row["tool"])
            operation = self.catalog.operation(tool, row["operation"])
        except UnknownName as error:
            return self._leave(fails=str(error))
        if operation.undo is None:
            return self._leave(skip=f"{_name(row)} declares no undo: what it did stays")
        if row["result"].get("changed") is False:
            return self._leave(skip=f"nothing to undo: {_name(row)} changed nothing")
        try:
            undo = plan_undo(tool, self._done())
            if undo is None:
                told = f"nothing to undo: not {operation.undo.if_}"
                return self._leave(skip=told)
            return self._reverse(tool, tool.operations[undo.operation], undo)
        except CannotUndo as error:
            return self._leave(fails=str(error))

    def _done(self) -> Done:
        result = self.row["result"]
        return Done(
            operation=self.row["operation"],
            parameters=self.row["parameters"],
            output=result.get("output"),
            before=result.get("before"),
            after=result.get("after"),
        )

    def _reverse(self, tool: Tool, operation: Operation, undo: Undo) -> CheckedStep:
        target = self._find_target(operation)
        policy = self.scene.rules.policy
        verdict = judge_target(target, policy)
        if not verdict.allowed:
            raise CannotUndo(f"{verdict.fault}; {verdict.hint}")
        draft = self._draft(tool, operation)
        effect = effect_of(operation, undo.parameters, policy)
        mutex = lock_key(operation, effect, target)
        checked = CheckedRow(
            undo.parameters, target, mutex, self.row["item"], undoes=self.row["id"]
        )
        return CheckedStep(
            **self._frame(),
            tool=tool.name,
            operation=operation.name,
            domain=tool.domain.value,
            queue=find_queue(draft, self.scene),
            effect=effect,
            repeat=operation.repeat,
            dynamic=False,
            timeout_s=find_timeout(draft, undo.parameters),
            max_retries=self.row["max_retries"],
            rows=(checked,),
            secrets=find_secrets(undo.parameters),
            needs=find_needs(draft, undo.parameters, (target,) if target else ()),
            run_as=self.row["run_as"],
        )

    def _find_target(self, operation: Operation) -> Target | None:
        if operation.at == "worker":
            return None
        if self.row["target"] is None:
            raise CannotUndo(f"{_name(self.row)} had no target, and {operation.name} needs one")
        return Target(**self.row["target"])

    def _draft(self, tool: Tool, operation: Operation) -> Draft:
        """What queue, needs and time are found from; its parameters were checked."""
        step = PlanStep(tool.name, operation.name, vantage=self.row["needs"].get("vantage"))
        key = self._frame()["key"]
        return Draft(self.seat.position, key, "main", step, tool, operation, None, Faults())

    def _leave(self, *, skip: str | None = None, fails: str | None = None) -> CheckedStep:
        """Nothing will be run for the row: it ends skipped, or failed in its turn."""
        row = self.row
        told = {"skip": skip} if skip is not None else {"fails": fails}
        target = Target(**row["target"]) if row["target"] else None
        return CheckedStep(
            **self._frame(),
            tool=row["tool"],
            operation=row["operation"],
            domain=row["domain"],
            queue=row["queue"],
            effect=Effect(row["effect"]),
            repeat=Repeat(row["repeat"]),
            dynamic=True,
            timeout_s=row["timeout_s"],
            max_retries=0,
            rows=(CheckedRow({}, target, item=row["item"], undoes=row["id"]),),
            template=told,
            skipped=skip,
        )

    def _frame(self) -> dict[str, Any]:
        """What all reversals share. A target whose reversal fails is left out of what follows."""
        return {
            "position": self.seat.position,
            "key": PREFIX + self.row["key"],
            "stage": self.seat.stage,
            "first_index": self.seat.index,
            "section": "main",
            "on_failure": "stop",
            "block": self.row["free_block"],
            "block_on_failure": "continue",
            "max_failures": MAX_FAILURES,
            "queue_timeout_s": self.scene.rules.default_queue_timeout_s,
            "backoff_s": self.row["backoff_s"],
        }


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['tool']} {row['operation']}"
