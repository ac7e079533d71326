import io

import pytest
from rich.console import Console

from app.cli.board import Board
from app.cli.display import LiveDisplay, PlainDisplay
from tests.unit.app.cli.test_board import event, result, step

EXECUTION = {
    "execution_id": "e-1",
    "name": "nightly",
    "state": "running",
    "steps": [
        step(1, "disk", result(1, "web-1"), result(2, "web-2")),
        step(2, "df", result(3, None, "pending")),
    ],
}
EVENTS = [
    event(None, "execution.accepted", 0),
    event(1, "step.running", 1),
    event(1, "step.output", 1, lines=[["stdout", "out \x1b[31mred"], ["stderr", "err"]]),
    event(1, "step.failed", 3, reason="exit_code", summary="no such file"),
    event(2, "step.waits", 1, reason="limit: 1 running df", summary="limit: 1 running df"),
    event(2, "step.running", 1),
    event(None, "execution.cancel_requested", 4, reason="wrong host"),
    event(2, "step.cancelled", 4, reason="stopped", stopped="verified", summary="it is gone"),
    event(None, "execution.finished", 5, state="failed"),
]


def test_plain_lines(capsys):
    with PlainDisplay(Board(EXECUTION)) as display:
        for one in EVENTS:
            display.show(one)
    assert capsys.readouterr().err.splitlines() == [
        "execution e-1: nightly, 2 steps",
        "[1/2] disk (df usage) on web-1: running on worker worker-1",
        "[1/2] disk (df usage) on web-1 | out \N{REPLACEMENT CHARACTER}[31mred",
        "[1/2] disk (df usage) on web-1 | err",
        "[1/2] disk (df usage) on web-1: failed (exit_code) in 2.0 s: no such file",
        "[1/2] disk (df usage) on web-2: queued (limit: 1 running df)",
        "[1/2] disk (df usage) on web-2: running on worker worker-1",
        "cancel was asked for by worker-1: wrong host",
        "[1/2] disk (df usage) on web-2: cancelled (stopped: verified) in 3.0 s: it is gone",
        "execution e-1: failed",
    ]


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=40, no_color=True)


def test_a_moving_table_leaves_nothing_behind(screen):
    display = LiveDisplay(Board(EXECUTION), screen)
    with display:
        for one in EVENTS[:6]:
            display.show(one)
    shown = screen.file.getvalue()
    assert shown.endswith("\x1b[2K")  # the last line was erased

    screen.print(display.render())
    text = screen.file.getvalue()
    assert "nightly  e-1" in text
    assert "running" in text
    assert "1/2, 1 failed" in text
    assert "web-1: no such file" in text
    assert "\x1b[31mred" not in text


def test_a_long_plan_shows_where_it_is(screen):
    steps = [step(n, f"s{n}", result(n)) for n in range(1, 201)]
    display = LiveDisplay(Board({**EXECUTION, "steps": steps}), screen)
    for number in range(1, 121):
        display.show(event(number, "step.succeeded", 1))
    screen.print(display.render())
    text = screen.file.getvalue()
    assert "121/200" in text
    assert "120/200" in text
    assert " 1/200" not in text
    assert len(text.splitlines()) <= 40
