"""One kept process: how it ends, comes back, and is told from a stranger with its number."""

import os
import signal
import sys
import time

import pytest

from app.admin import child as module
from app.admin.child import Child, end_leftovers, is_running, last_line
from app.admin.state import ProcessState, ProcessStatus


@pytest.fixture
def make(tmp_path):
    children = []

    def make(code, **more):
        argv = [sys.executable, "-S", "-c", code]
        children.append(Child("one", argv, tmp_path / "one.log", dict(os.environ), **more))
        return children[-1]

    yield make
    for child in children:
        child.kill()


def watch_until(child, state, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while child.state is not state:
        child.watch()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_it_wrote_last_explains_its_end(make):
    child = make("print('first'); print('no such disk'); print(); raise SystemExit(4)")
    child.start()
    watch_until(child, ProcessState.RESTARTING)
    assert child.status.note == "ended with exit status 4: no such disk"
    assert child.status.pid is None


def test_a_wrong_configuration_is_told_and_tried_again(make):
    child = make("print('policy x: limits: no tool'); raise SystemExit(78)")
    child.start()
    watch_until(child, ProcessState.REFUSED)
    assert child.note == "policy x: limits: no tool"
    watch_until(child, ProcessState.RUNNING)


def test_a_signal_is_named(make):
    child = make("import os; os.kill(os.getpid(), 9)")
    child.start()
    watch_until(child, ProcessState.RESTARTING)
    assert child.note.startswith("ended with signal SIGKILL")


def test_pauses_grow_and_are_capped(make, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.04)
    child = make("raise SystemExit(1)")
    child._pause_s = 0.01
    child.start()
    for expected in (0.02, 0.04, 0.04):
        watch_until(child, ProcessState.RESTARTING)
        assert child._pause_s == expected
        watch_until(child, ProcessState.RUNNING)
    assert child.restarts == 3


def test_what_is_not_possible_here_is_not_tried_again(make):
    child = make("print('no raw sockets'); raise SystemExit(77)")
    child.start()
    watch_until(child, ProcessState.NOT_POSSIBLE)
    assert child.note == "no raw sockets"
    assert not child.watch()
    child.ask_to_end()
    assert child.state is ProcessState.NOT_POSSIBLE


def test_what_was_asked_to_end_stays_ended(make):
    child = make("import signal; print('up', flush=True); signal.pause()")
    child.start()
    while last_line(child.log) != "up":
        time.sleep(0.01)
    child.ask_to_end()
    child.process.wait(10)
    assert not child.watch()
    assert child.ended
    assert child.state is ProcessState.STOPPED


def test_a_log_that_grew_large_keeps_one_old_part(make, monkeypatch):
    child = make("print('new')")
    child.log.write_text("x" * 20_000_001)
    child.start()
    child.process.wait()
    assert child.log.read_text() == "new\n"
    assert child.log.with_suffix(".log.old").stat().st_size == 20_000_001


def test_the_last_line_of_nothing(tmp_path):
    assert last_line(tmp_path / "none.log") == ""


def test_a_process_is_known_by_its_start_not_by_its_number_alone(make):
    child = make("import signal; signal.pause()")
    child.start()
    status = child.status
    assert is_running(status)
    stranger = ProcessStatus("one", status.state, status.pid, status.since - 3600, 0)
    assert not is_running(stranger)
    end_leftovers([stranger], patience_s=0)
    assert is_running(status)


def test_leftovers_are_ended_by_force_when_they_do_not_listen(make):
    code = (
        "import signal; signal.signal(2, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    )
    child = make(code)
    child.start()
    while last_line(child.log) != "up":
        time.sleep(0.01)
    status = child.status
    end_leftovers([ProcessStatus("redis", status.state, status.pid, status.since, 0)], 0.1)
    assert child.process.wait(10) == -signal.SIGKILL


def test_a_zombie_is_not_running(make):
    child = make("raise SystemExit(0)")
    child.start()
    status = child.status
    os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(status)
