"""An execution as a watcher sees it: folded from its first picture and its events (pure)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.step import FINAL_STATES, State

#: Event kinds that move a row, and the state they move it to.
_MOVES = {f"step.{state.value}": state for state in State} | {"step.waits": State.QUEUED}


@dataclass(slots=True)
class Row:
    """One step on one target."""

    target: str | None
    state: State
    started_at: datetime | None = None
    duration_s: float | None = None
    worker: str | None = None
    summary: str = ""
    reason: str | None = None
    #: Whether what ran there is verified to be gone, of a row that was stopped.
    stopped: str | None = None


@dataclass(slots=True)
class Line:
    """One step with all its rows."""

    position: int
    key: str
    tool: str
    operation: str
    rows: dict[int, Row] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """One word for all rows: what is open first, then the worst."""
        states = {row.state for row in self.rows.values()}
        order = (
            State.INTERRUPTED,
            State.RUNNING,
            State.WAITING,
            State.QUEUED,
            State.DUE,
            State.PENDING,
            State.FAILED,
            State.CANCELLED,
            State.SUCCEEDED,
        )
        return next((state for state in order if state in states), State.SKIPPED)

    @property
    def started_at(self) -> datetime | None:
        """When the first row began."""
        return min((row.started_at for row in self.rows.values() if row.started_at), default=None)

    @property
    def duration_s(self) -> float | None:
        """How long the longest row took."""
        return max(
            (row.duration_s for row in self.rows.values() if row.duration_s is not None),
            default=None,
        )

    @property
    def counts(self) -> str:
        """`3/10, 1 failed` of a step with several targets."""
        if len(self.rows) < 2:  # noqa: PLR2004  # one target needs no count
            return ""
        states = [row.state for row in self.rows.values()]
        done = sum(state in FINAL_STATES for state in states)
        failed = sum(state is State.FAILED for state in states)
        return f"{done}/{len(states)}" + (f", {failed} failed" if failed else "")

    @property
    def summary(self) -> str:
        """What the only row said, or the first that went wrong."""
        rows = list(self.rows.values())
        if len(rows) == 1:
            return rows[0].summary or rows[0].reason or ""
        bad = next((row for row in rows if row.state in {State.FAILED, State.INTERRUPTED}), None)
        return f"{bad.target}: {bad.summary or bad.reason or bad.state.value}" if bad else ""


class Board:
    """Every step of an execution, moved on by its events."""

    def __init__(self, execution: Mapping[str, Any]) -> None:
        self.execution_id = str(execution["execution_id"])
        self.name = str(execution["name"])
        self.state = str(execution["state"])
        #: Who asked for its cancel, and why; empty while nobody did.
        self.cancel = ""
        self.lines: dict[int, Line] = {}
        self._found: dict[int, tuple[Line, Row]] = {}
        for step in execution["steps"]:
            line = self.lines[step["position"]] = _read_line(step)
            self._found |= {step_id: (line, row) for step_id, row in line.rows.items()}

    def __iter__(self) -> Iterator[Line]:
        return iter(sorted(self.lines.values(), key=lambda line: line.position))

    def move(self, event: Mapping[str, Any]) -> tuple[Line, Row] | None:
        """Take an event in; gives the line and row that it moved, if any."""
        if event["kind"] == "execution.finished":
            self.state = event["data"]["state"]
        elif event["kind"] == "execution.cancel_requested":
            self.cancel = tell_cancel(event.get("actor"), event["data"].get("reason"))
        state = _MOVES.get(event["kind"])
        found = self.find(event)
        if state is None or found is None:
            return None
        _move_row(found[1], state, event)
        return found

    def find(self, event: Mapping[str, Any]) -> tuple[Line, Row] | None:
        """The line and row that an event speaks of; what was rendered since is added."""
        step_id, data = event.get("step_id"), event["data"]
        if step_id is None:
            return None
        known = self._found.get(step_id)
        if known and data.get("key", known[0].key) == known[0].key:
            return known
        if "key" not in data:
            return None
        line = self.lines.get(data["position"])
        if line is None or line.key != data["key"]:  # a step that reverses another
            line = Line(data["position"], data["key"], data["tool"], data["operation"])
            self.lines[line.position] = line
        row = line.rows[step_id] = Row(data.get("target"), State.PENDING)
        self._found[step_id] = (line, row)
        return line, row


def tell_cancel(actor: str | None, reason: str | None) -> str:
    """Who asked for a cancel, and why; the farm itself when a plan took too long."""
    why = f": {reason}" if reason else ""
    return f"cancel was asked for by {actor or 'the farm'}{why}"


def tell_reason(reason: str | None, stopped: str | None) -> str:
    """Why a row ended so, and whether what was stopped is gone: ` (stopped: verified)`."""
    if stopped is None:
        return f" ({reason})" if reason else ""
    before = f"{reason}, " if reason not in {None, "stopped"} else ""
    return f" ({before}stopped: {stopped})"


def _read_line(step: Mapping[str, Any]) -> Line:
    line = Line(step["position"], step["id"], step["tool"], step["operation"])
    for result in step["results"]:
        line.rows[result["step_id"]] = Row(
            target=result["target"],
            state=State(result["state"]),
            duration_s=result["duration_s"],
            worker=result["worker"],
            summary=result["summary"],
            reason=result["reason"],
            stopped=result.get("stopped"),
        )
    return line


def _move_row(row: Row, state: State, event: Mapping[str, Any]) -> None:
    data, moment = event["data"], datetime.fromisoformat(event["at"])
    row.state = state
    row.target = data.get("target") or row.target
    row.reason = data.get("reason")
    row.summary = data.get("summary") or ""
    row.stopped = data.get("stopped")
    if state is State.RUNNING:
        row.started_at, row.duration_s = moment, None
        row.worker = event.get("actor")
    elif row.started_at is not None and state in FINAL_STATES:
        row.duration_s = (moment - row.started_at).total_seconds()
