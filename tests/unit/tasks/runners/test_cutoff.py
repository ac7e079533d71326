import socket
import threading
import time

import pytest

from tasks.runners.cutoff import CutOff


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_wait_ends_at_its_deadline(pair):
    ours, _ = pair
    cut_off = CutOff()
    started = time.monotonic()
    cut_off.watch(ours, 0.2)
    assert ours.recv(1) == b""
    assert 0.2 <= time.monotonic() - started < 5
    assert cut_off.by == "time"


def test_bytes_that_drip_in_do_not_put_it_off(pair):
    ours, theirs = pair
    cut_off = CutOff()
    theirs.sendall(b"xx")
    cut_off.watch(ours, 0.2)
    assert ours.recv(1) == b"x"
    assert ours.recv(1) == b"x"
    assert ours.recv(1) == b""


def test_a_wait_ends_when_it_is_cancelled(pair):
    ours, _ = pair
    cancelled = threading.Event()
    cut_off = CutOff(cancelled)
    cut_off.watch(ours, 60)
    cancelled.set()
    assert ours.recv(1) == b""
    assert cut_off.by == "cancel"


def test_what_has_ended_is_left_alone(pair):
    ours, theirs = pair
    cut_off = CutOff()
    cut_off.watch(ours, 0.05)
    cut_off.end()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(0.3)
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"
    assert cut_off.by is None
