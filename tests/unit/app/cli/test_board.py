from app.cli.board import Board, tell_cancel, tell_reason
from app.step import State


def result(step_id, target="local", state="queued"):
    return {
        "step_id": step_id,
        "target": target,
        "state": state,
        "reason": None,
        "summary": "",
        "duration_s": None,
        "worker": None,
    }


def step(position, key, *results):
    return {
        "position": position,
        "id": key,
        "tool": "df",
        "operation": "usage",
        "results": list(results),
    }


def event(step_id, kind, second, **data):
    return {
        "step_id": step_id,
        "kind": kind,
        "at": f"2026-01-01T00:00:{second:02}+00:00",
        "actor": "worker-1",
        "data": data,
    }


def board(*steps):
    return Board({"execution_id": "e-1", "name": "n", "state": "running", "steps": list(steps)})


def test_a_row_moves_with_its_events():
    moving = board(step(1, "a", result(11)))
    line, row = moving.move(event(11, "step.running", 1))
    assert (line.state, row.worker) == (State.RUNNING, "worker-1")
    moving.move(event(11, "step.succeeded", 4, summary="45 % used"))
    assert (line.state, line.duration_s, line.summary) == (State.SUCCEEDED, 3.0, "45 % used")


def test_several_targets_are_counted():
    moving = board(step(1, "a", *(result(n, f"web-{n}") for n in (1, 2, 3))))
    for number, kind in ((1, "step.succeeded"), (2, "step.failed")):
        moving.move(event(number, "step.running", 1))
        moving.move(event(number, kind, 2, reason="timeout"))
    (line,) = moving
    assert line.counts == "2/3, 1 failed"
    assert line.state is State.QUEUED
    assert line.summary == "web-2: timeout"


def test_rows_that_were_rendered_since_are_added():
    moving = board(step(1, "a", result(1)), step(2, "b", result(2, None, "pending")))
    line, row = moving.move(event(99, "step.running", 1, position=2, key="b", target="web-9"))
    assert (line.key, row.target, row.state) == ("b", "web-9", State.RUNNING)
    assert moving.move(event(99, "step.failed", 2))[1].state is State.FAILED


def test_steps_that_reverse_others_are_added():
    moving = board(step(1, "a", result(1)), step(2, "undo", result(2, None, "due")))
    names = {"tool": "df", "operation": "usage"}
    line, row = moving.move(event(2, "step.running", 1, position=2, key="undo:a", **names))
    assert (line.key, row.state) == ("undo:a", State.RUNNING)
    moving.move(event(4, "step.skipped", 1, position=3, key="undo:z", **names))
    assert [line.key for line in moving] == ["a", "undo:a", "undo:z"]


def test_what_a_row_waits_for_is_told_until_it_moves():
    moving = board(step(1, "a", result(1)))
    _line, row = moving.move(event(1, "step.waits", 1, summary="blocked by step b"))
    assert (row.state, row.summary) == (State.QUEUED, "blocked by step b")
    moving.move(event(1, "step.running", 2))
    assert (row.state, row.summary) == (State.RUNNING, "")


def test_who_asked_for_the_cancel_is_kept():
    moving = board(step(1, "a", result(1)))
    moving.move(event(None, "execution.cancel_requested", 1, reason="wrong host"))
    assert moving.cancel == "cancel was asked for by worker-1: wrong host"
    assert tell_cancel(None, "timeout: 3 s") == "cancel was asked for by the farm: timeout: 3 s"


def test_what_was_stopped_says_whether_it_is_gone():
    assert tell_reason(None, None) == ""
    assert tell_reason("exit_code", None) == " (exit_code)"
    assert tell_reason("stopped", "verified") == " (stopped: verified)"
    assert tell_reason("timeout", "unverified") == " (timeout, stopped: unverified)"


def test_a_retry_runs_again():
    moving = board(step(1, "a", result(1)))
    moving.move(event(1, "step.running", 1))
    moving.move(event(1, "step.queued", 2))
    _line, row = moving.move(event(1, "step.running", 5))
    moving.move(event(1, "step.succeeded", 7))
    assert row.duration_s == 2.0


def test_the_end_is_kept_and_strangers_are_ignored():
    moving = board(step(1, "a", result(1)))
    assert moving.move(event(None, "execution.finished", 1, state="failed")) is None
    assert moving.state == "failed"
    assert moving.move(event(5, "step.running", 1)) is None
    assert moving.move(event(1, "step.armed", 1)) is None
