import pytest

from app.errors import Stopped
from tasks.operations.comms.retries import pause, wait_before
from tasks.runners.base import StepControl


def test_a_wait_is_spread_and_stays_within_the_tries_and_the_time():
    control = StepControl(timeout_s=30)
    waits = {wait_before(1, 4.0, control) for _ in range(50)}
    assert all(3.0 <= wait <= 5.0 for wait in waits)
    assert len(waits) > 1
    assert wait_before(0, 4.0, control) is None
    assert wait_before(1, 60.0, control) is None


@pytest.mark.parametrize("unknown", [True, False])
def test_a_stop_is_verified_unless_something_may_have_arrived(unknown):
    lines = []
    control = StepControl(30, on_line=lambda stream, line: lines.append((stream, line)))
    control.cancelled.set()
    with pytest.raises(Stopped) as caught:
        pause(control, "they are busy", 9.0, unknown=unknown)
    assert caught.value.verified is not unknown
    assert lines == [("stderr", "they are busy; next try in 9.0 s")]
