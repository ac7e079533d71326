"""Live progress on standard error: a table that moves on a terminal, plain lines elsewhere."""

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.cli.board import Board, Line, Row, tell_reason
from app.cli.output import cell, make_console, note
from app.step import FINAL_EXECUTION_STATES, FINAL_STATES, State

_TAIL_LINES = 8
_REFRESH_PER_SECOND = 8
_LONGEST_SUMMARY = 80

#: States that are not worth a line of their own.
_QUIET = {State.QUEUED, State.DUE, State.PENDING}
_LOOKS: Mapping[State, tuple[str, str]] = {
    State.SUCCEEDED: ("✓", "green"),
    State.FAILED: ("✗", "bold red"),
    State.CANCELLED: ("■", "yellow"),
    State.SKIPPED: ("-", "dim"),
    State.RUNNING: ("▶", "cyan"),
    State.INTERRUPTED: ("?", "bold magenta"),
    State.WAITING: ("…", "yellow"),
    State.QUEUED: ("·", ""),
    State.DUE: ("·", ""),
    State.PENDING: (" ", "dim"),
}


class Display(Protocol):
    """Shows an execution while it runs. A context manager: its end leaves the terminal clean."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *exception: object) -> None:
        """Stop showing."""

    def show(self, event: Mapping[str, Any]) -> None:
        """Take an event in."""


def make_display(execution: Mapping[str, Any]) -> Display:
    """A moving table on a terminal, plain lines elsewhere."""
    console = make_console(stderr=True)
    board = Board(execution)
    return LiveDisplay(board, console) if console.is_terminal else PlainDisplay(board)


class PlainDisplay:
    """One line for each thing that happens."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __enter__(self) -> Self:
        steps = len(self._board.lines)
        plural = "s" if steps != 1 else ""
        note(f"execution {self._board.execution_id}: {self._board.name}, {steps} step{plural}")
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to put away: every line was written whole."""

    def show(self, event: Mapping[str, Any]) -> None:
        """Print what an event says; queueing is not worth a line."""
        moved = self._board.move(event)
        if event["kind"] == "step.output":
            self._show_output(event)
        elif event["kind"] == "execution.finished":
            note(f"execution {self._board.execution_id}: {self._board.state}")
        elif event["kind"] == "execution.cancel_requested":
            note(self._board.cancel)
        elif moved and (event["kind"] == "step.waits" or moved[1].state not in _QUIET):
            note(f"{self._place(*moved)}: {_describe(moved[1])}")

    def _show_output(self, event: Mapping[str, Any]) -> None:
        found = self._board.find(event)
        place = self._place(*found) if found else "output"
        for _stream, text in event["data"]["lines"]:
            note(f"{place} | {text}")

    def _place(self, line: Line, row: Row) -> str:
        on = f" on {row.target}" if row.target else ""
        return f"[{line.position}/{len(self._board.lines)}] {_name(line)}{on}"


class LiveDisplay:
    """One line per step with state, duration and target counts; the last output below."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._live = Live(
            get_renderable=self.render,
            console=console,
            transient=True,
            refresh_per_second=_REFRESH_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        if self._board.state in FINAL_EXECUTION_STATES:
            note(f"execution {self._board.execution_id}: {self._board.state}")

    def show(self, event: Mapping[str, Any]) -> None:
        """Take an event in; the table is drawn again by its own clock."""
        self._board.move(event)
        if event["kind"] == "step.output":
            self._tail.extend(text for _stream, text in event["data"]["lines"])

    def render(self) -> Group:
        """What the terminal shows now."""
        table = Table.grid(padding=(0, 1))
        for line in self._visible_lines():
            glyph, style = _LOOKS[line.state]
            table.add_row(
                Text(glyph, style=style),
                Text(f"{line.position}/{len(self._board.lines)}", style="dim"),
                Text(_name(line)),
                Text(line.state.value, style=style),
                Text(line.counts),
                Text(_duration(line), style="dim"),
                Text(cell(line.summary, _LONGEST_SUMMARY), style="dim", overflow="ellipsis"),
            )
        header = Text(f"{self._board.name}  {self._board.execution_id}", style="bold")
        if self._board.cancel:
            header.append(f"  {cell(self._board.cancel)}", style="yellow")
        tail = [Text(cell(text), style="dim", no_wrap=True) for text in self._tail]
        return Group(header, table, *tail)

    def _visible_lines(self) -> list[Line]:
        """As many lines as fit, beginning a little before the first that is open."""
        lines = list(self._board)
        room = max(3, self._console.size.height - _TAIL_LINES - 3)
        first_open = next(
            (at for at, line in enumerate(lines) if line.state not in FINAL_STATES), len(lines)
        )
        start = max(0, min(first_open - 2, len(lines) - room))
        return lines[start : start + room]


def _name(line: Line) -> str:
    """The step's id and what it is, once where they are the same."""
    tool = (
        line.tool if line.operation in {"", "run", line.tool} else f"{line.tool} {line.operation}"
    )
    return tool if line.key in {line.tool, line.tool.replace("-", "_")} else f"{line.key} ({tool})"


def _describe(row: Row) -> str:
    if row.state is State.RUNNING:
        return f"running on worker {row.worker}" if row.worker else "running"
    took = f" in {row.duration_s:.1f} s" if row.duration_s is not None else ""
    reason = tell_reason(row.reason, row.stopped)
    summary = f": {cell(row.summary)}" if row.summary and row.summary != row.reason else ""
    return f"{row.state.value}{reason}{took}{summary}"


def _duration(line: Line) -> str:
    if line.state is State.RUNNING and line.started_at:
        elapsed_s = (datetime.now(UTC) - line.started_at).total_seconds()
        return f"{max(0.0, elapsed_s):.0f} s"
    return f"{line.duration_s:.1f} s" if line.duration_s is not None else ""
