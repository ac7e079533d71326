"""tcp-analyzer against real sockets on loopback."""

import socket
import threading
import time
from contextlib import ExitStack

import pytest

from app.errors import StepError, Stopped
from app.step import State
from tasks.operations.network import tcp
from tests.lab.operation import Surroundings, checked
from tool_catalog.model import Reason


def connect(given, context=None):
    return tcp.connect(checked("network/analyzers/tcp-analyzer", given), context or new_context())


def new_context():
    return Surroundings().context()


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def port_of(server):
    return server.getsockname()[1]


@pytest.mark.proves("tcp-analyzer", "connect")
def test_an_open_port_and_its_greeting(listener):
    def greet():
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 planted greeting\r\n")

    thread = threading.Thread(target=greet)
    thread.start()
    result = connect({"host": "localhost", "port": port_of(listener)})
    thread.join()
    assert result.state is State.SUCCEEDED
    assert result.output["state"] == "open"
    assert result.output["banner"] == "220 planted greeting\r\n"
    assert result.output["port"] == port_of(listener)
    assert result.output["address"] == "127.0.0.1"
    assert result.output["connect_ms"] >= 0


def test_a_silent_port_has_no_greeting(listener):
    given = {"host": "127.0.0.1", "port": port_of(listener), "banner_wait_s": 0.05}
    assert connect(given).output["banner"] == ""


def test_nul_bytes_of_a_greeting_are_replaced(listener):
    def greet():
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"\0\xff")

    thread = threading.Thread(target=greet)
    thread.start()
    result = connect({"host": "127.0.0.1", "port": port_of(listener)})
    thread.join()
    assert result.output["banner"] == "\ufffd\ufffd"


def test_a_closed_port_is_an_answer_not_a_failure(listener):
    port = port_of(listener)
    listener.close()
    result = connect({"host": "127.0.0.1", "port": port})
    assert result.state is State.SUCCEEDED
    assert result.output["state"] == "closed"
    assert result.summary == f"127.0.0.1 port {port} is closed"


def test_what_is_not_as_expected_fails_and_says_so(listener):
    port = port_of(listener)
    listener.close()
    result = connect({"host": "127.0.0.1", "port": port, "expect": "open"})
    assert result.state is State.FAILED
    assert result.reason is Reason.CHECK_FAILED
    assert result.summary == f"127.0.0.1 port {port} is closed, not open"


@pytest.fixture
def full_listener():
    """A port that lets nobody in any more: further SYNs are dropped."""
    with socket.socket() as full, ExitStack() as kept:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full


def test_a_port_that_does_not_answer_is_filtered(full_listener):
    given = {"host": "127.0.0.1", "port": port_of(full_listener), "wait_s": 0.2}
    assert connect(given).output["state"] == "filtered"


def test_a_name_without_an_address_fails():
    with pytest.raises(StepError, match="has no address") as caught:
        connect({"host": "nothing-here.invalid", "port": 80})
    assert caught.value.reason is Reason.NOT_FOUND


def test_an_address_without_a_route_is_unreachable():
    with pytest.raises(StepError, match="no way to") as caught:
        connect({"host": "255.255.255.255", "port": 80})
    assert caught.value.reason is Reason.UNREACHABLE


def test_a_stopped_probe_says_so(listener):
    context = new_context()
    context.control.cancelled.set()
    with pytest.raises(Stopped):
        connect({"host": "127.0.0.1", "port": port_of(listener)}, context)


def test_a_probe_that_nobody_answers_is_stopped_at_once(full_listener):
    context = new_context()
    cancel = threading.Timer(0.3, context.control.cancelled.set)
    cancel.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        connect({"host": "127.0.0.1", "port": port_of(full_listener), "wait_s": 8}, context)
    assert time.monotonic() - began < 2
    cancel.join()
