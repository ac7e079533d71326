import threading

import pytest

from app.errors import StepError, Stopped
from tasks.runners.base import StepControl
from tasks.runners.opening import open_unless_stopped
from tool_catalog.model import Reason


class Door:
    """Opens when it is told to; says when it was closed."""

    def __init__(self, error=None):
        self.error = error
        self.may_open = threading.Event()
        self.closed = threading.Event()

    def open(self):
        assert self.may_open.wait(10)
        if self.error:
            raise self.error
        return self

    def close(self):
        self.closed.set()


@pytest.fixture
def opened():
    """A door that opens at once."""
    door = Door()
    door.may_open.set()
    return door


def test_what_opened_is_given(opened):
    assert open_unless_stopped(opened.open, Door.close, StepControl(5)) is opened
    assert not opened.closed.is_set()


def test_what_went_wrong_is_raised():
    door = Door(StepError(Reason.AUTH_FAILED, "no"))
    door.may_open.set()
    with pytest.raises(StepError, match="no"):
        open_unless_stopped(door.open, Door.close, StepControl(5))


def test_a_cancel_waits_for_nothing_and_what_opens_late_is_closed():
    door, cancelled = Door(), threading.Event()
    cancelled.set()
    with pytest.raises(Stopped) as info:
        open_unless_stopped(door.open, Door.close, StepControl(5, cancelled=cancelled))
    assert info.value.verified
    door.may_open.set()
    assert door.closed.wait(10)


def test_a_late_failure_troubles_nobody():
    door, cancelled = Door(StepError(Reason.UNREACHABLE, "gone")), threading.Event()
    cancelled.set()
    with pytest.raises(Stopped):
        open_unless_stopped(door.open, Door.close, StepControl(5, cancelled=cancelled))
    door.may_open.set()
    assert not door.closed.wait(0.05)


def test_nothing_is_waited_for_beyond_the_deadline():
    door = Door()
    with pytest.raises(StepError, match=r"no connection within 0\.05 s") as info:
        open_unless_stopped(door.open, Door.close, StepControl(0.05))
    assert (info.value.reason, info.value.transient) == (Reason.TIMEOUT, True)
    door.may_open.set()
    assert door.closed.wait(10)
