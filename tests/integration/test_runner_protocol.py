"""One protocol: the same promises, kept by the shipped fake and by the real runners."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.command import Command
from app.config import read_settings
from app.errors import StepError, Stopped
from app.step import LOCAL
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.fake import Answer, FakeRunner
from tasks.runners.local import LocalRunner
from tasks.runners.ssh import SshRunner
from tasks.runners.table import make_runners
from tasks.runners.winrm import WinrmRunner
from tests.lab.wsman import Planted
from tool_catalog.model import Reason

SAYS = Command(kind="argv", argv=("sh", "-c", "echo one; echo two; echo three >&2; exit 3"))
SLOW = Command(kind="argv", argv=("sh", "-c", "echo begun; exec sleep 30"))
MISSING = Command(kind="argv", argv=("no-such-program",))


def fake_answer(call):
    if call.command.argv == MISSING.argv:
        return Answer(error=StepError(Reason.MISSING_PROGRAM, "no-such-program is not installed"))
    if call.command.argv == SLOW.argv:
        return Answer(RawOutput(exit_code=0, stdout=b"begun\n"), takes_s=30)
    return Answer(RawOutput(exit_code=3, stdout=b"one\ntwo\n", stderr=b"three\n"))


@pytest.fixture
def over_winrm(windows):
    """The same commands as scripts, whose answers a double of a Windows host plays back."""
    missing = "ObjectNotFound: CommandNotFoundException: The term 'no-such-program' is unknown\n"
    windows.double.planted += [
        Planted(SAYS.argv[-1], pieces=(out(b"one\n"), out(b"two\n"), err(b"three\n")), exit_code=3),
        Planted(SLOW.argv[-1], pieces=(out(b"begun\n"),), gate=threading.Event()),
        Planted(MISSING.argv[-1], pieces=(err(missing.encode()),), exit_code=1),
    ]
    runner = WinrmRunner(Path("/nonexistent"))

    def run(command, control):
        script = replace(command, kind="powershell", argv=(), script=command.argv[-1])
        return runner.run(script, windows.target, windows.credential, control)

    return run


def out(data):
    return "stdout", data


def err(data):
    return "stderr", data


@pytest.fixture(params=["fake", "local", "ssh", "winrm"])
def run(request, tmp_path):
    """`run(command, control)` on one of the runners."""
    target, credential = LOCAL, None
    if request.param == "winrm":
        yield request.getfixturevalue("over_winrm")
        return
    if request.param == "fake":
        runner = FakeRunner(answer=fake_answer)
    elif request.param == "local":
        runner = LocalRunner(tmp_path)
    else:
        server = request.getfixturevalue("sshd")
        runner, target, credential = SshRunner(tmp_path), server.target, server.credential
    yield lambda command, control: runner.run(command, target, credential, control)
    runner.close()


def test_output_lines_and_exit_code(run):
    lines = []
    control = StepControl(20, on_line=lambda *line: lines.append(line))
    raw = run(SAYS, control)
    assert (raw.exit_code, raw.stdout, raw.stderr) == (3, b"one\ntwo\n", b"three\n")
    assert [text for stream, text in lines if stream == "stdout"] == ["one", "two"]
    assert ("stderr", "three") in lines
    assert [raw.timed_out, raw.truncated, raw.ran_its_time] == [False] * 3
    assert raw.duration_s >= 0


def test_arms_exactly_once_before_any_line(run):
    order = []
    control = StepControl(
        20,
        before_effect=lambda: order.append("armed"),
        on_line=lambda _stream, text: order.append(text),
    )
    run(SAYS, control)
    assert order[0] == "armed"
    assert order.count("armed") == 1


def test_a_refused_arm_starts_nothing(run):
    lines = []

    def refuse():
        raise StepError(Reason.STOPPED, "no longer ours")

    with pytest.raises(StepError, match="no longer ours"):
        run(SAYS, StepControl(20, before_effect=refuse, on_line=lambda *line: lines.append(line)))
    assert lines == []


def test_cancel_while_it_runs(run):
    cancelled = threading.Event()
    control = StepControl(20, cancelled=cancelled, on_line=lambda *_: cancelled.set())
    started = time.monotonic()
    with pytest.raises(Stopped) as info:
        run(SLOW, control)
    assert info.value.verified
    assert info.value.reason is Reason.STOPPED
    assert time.monotonic() - started < 8


def test_cancel_before_it_began(run):
    armed = []
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Stopped):
        run(SAYS, StepControl(20, cancelled=cancelled, before_effect=lambda: armed.append(1)))
    assert armed == []


def test_deadline(run):
    raw = run(SLOW, StepControl(1.5))
    assert raw.timed_out
    assert raw.stopped == "verified"
    assert raw.stdout == b"begun\n"


def test_run_for_is_no_time_out(run):
    raw = run(replace(SLOW, run_for_s=0.5), StepControl(20))
    assert raw.ran_its_time
    assert not raw.timed_out


def test_a_missing_program_is_told_by_name(run):
    with pytest.raises(StepError, match="no-such-program is not installed") as info:
        run(MISSING, StepControl(20))
    assert info.value.reason is Reason.MISSING_PROGRAM


def test_the_fake_records_and_plays_in_order():
    first, last = Answer(RawOutput(exit_code=1)), Answer(RawOutput(exit_code=2))
    fake = FakeRunner([first, last])
    codes = [fake.run(SAYS, LOCAL, None, StepControl(5)).exit_code for _ in range(3)]
    assert codes == [1, 2, 2]
    assert [call.command for call in fake.calls] == [SAYS] * 3
    fake.close()
    assert fake.closed


def test_the_table_serves_every_connection_type(tmp_path):
    runners = make_runners(read_settings(state_dir=tmp_path / "state"))
    assert set(runners) == {"local", "ssh", "winrm", "http"}
    dump = Command(kind="argv", argv=("echo", "x"), artifact="text")
    raw = runners["local"].run(dump, LOCAL, None, StepControl(10))
    assert raw.artifact.is_relative_to(tmp_path / "state")
    for runner in runners.values():
        runner.close()
