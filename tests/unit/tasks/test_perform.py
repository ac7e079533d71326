"""What stands before and after an effect: reads, proof, evidence; over runners that play back."""

import threading
from types import SimpleNamespace
from uuid import UUID

import pytest

from app.errors import StepError
from app.step import State, Step
from tasks import perform as perform_module
from tasks import verify
from tasks.live_output import LiveOutput
from tasks.perform import perform
from tasks.runners.base import RawOutput
from tasks.running import Running
from tool_catalog.loader import load_tool
from tool_catalog.model import Effect, Reason, Repeat

TOOL = """
summary: A service
execution_location: automation-service
parameters:
  unit: {type: string, required: true, example: a}
operations:
  show:
    summary: Looks
    effect: read
    takes: [unit]
    parameters: {depth: {type: integer, default: 3}}
    argv: [show, '{unit}', '{depth}']
    errors: [{match: no such unit, reason: not_found, say: 'no unit {unit}'}]
    output: {parser: json, fields: {pid: integer, state: text}}
    examples: [{parameters: {unit: a}}]
  restart:
    summary: Acts
    effect: change
    repeat: probe
    takes: [unit]
    before: show
    argv: [restart, '{unit}']
    verify: {operation: show, until: output.state == 'up' and output.pid != before.pid, within_s: 5}
    examples: [{parameters: {unit: a}}]
  start:
    summary: Acts, and may act again
    effect: change
    repeat: idempotent
    takes: [unit]
    before: show
    argv: [start, '{unit}']
    examples: [{parameters: {unit: a}}]
  tell:
    summary: Acts, and tells what it changed
    effect: change
    repeat: idempotent
    takes: [unit]
    before: show
    changed_if: output == 'new'
    argv: [tell, '{unit}']
    examples: [{parameters: {unit: a}}]
  once:
    summary: Acts, and leaves no trace
    effect: change
    repeat: probe
    takes: [unit]
    argv: [once, '{unit}']
    verify: {operation: show, until: not unknown, within_s: 0.01}
    examples: [{parameters: {unit: a}}]
  sure:
    summary: Acts, and shows it
    effect: change
    repeat: probe
    takes: [unit]
    argv: [sure, '{unit}']
    verify: {operation: show, until: output.state == 'up'}
    examples: [{parameters: {unit: a}}]
  settle:
    summary: Acts, and waits until nothing moves
    effect: change
    repeat: never
    takes: [unit]
    argv: [settle, '{unit}']
    verify: {operation: show, with: {depth: 9}, until: output == previous, within_s: 5}
    examples: [{parameters: {unit: a}}]
"""
REPEATS = {
    "restart": Repeat.PROBE,
    "once": Repeat.PROBE,
    "sure": Repeat.PROBE,
    "settle": Repeat.NEVER,
}


def unit(pid, state="up"):
    return RawOutput(exit_code=0, stdout=f'{{"pid": {pid}, "state": "{state}"}}'.encode())


NO_UNIT = RawOutput(exit_code=1, stderr=b"no such unit\n")
LOST = StepError(Reason.UNREACHABLE, "the connection was lost", sent=True, transient=True)


class ScriptedRunner:
    """Answers each call with the next of its script; the last one repeats."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = []

    def run(self, command, target, credential, control):
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.calls.append((command.argv, control))
        control.before_effect()
        if callable(answer):
            answer = answer()
        if isinstance(answer, StepError):
            raise answer
        return answer

    @property
    def argvs(self):
        return [" ".join(argv) for argv, _ in self.calls]


class ArmedLedger:
    def __init__(self, answers=()):
        self.armed = []
        self.answers = list(answers)

    def arm_step(self, step, before):
        self.armed.append(before)
        return self.answers.pop(0)() if self.answers else True


@pytest.fixture
def bench(tmp_path, monkeypatch):
    path = tmp_path / "service.yaml"
    path.write_text(TOOL)
    tool = load_tool(path)
    monkeypatch.setattr(verify, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(verify, "_LONGEST_PAUSE_S", 0.002)

    def run(operation, *script, cancelled=None, arms=(), **members):
        ledger = ArmedLedger(arms)
        runner = ScriptedRunner(*script)
        shop = SimpleNamespace(
            worker="w",
            settings=SimpleNamespace(self_kill_s=20.0),
            ledger=ledger,
            artifacts=None,
            secrets=None,
            runners={"local": runner},
            operations={},
            live_output=LiveOutput(None),
        )
        running = Running(step_of(operation, **members), cancelled or threading.Event())
        result = perform(running, tool, tool.operations[operation], shop)
        return SimpleNamespace(result=result, calls=runner.argvs, armed=ledger.armed, runner=runner)

    return run


def step_of(operation, **members):
    standard = {
        "id": 7,
        "execution_id": UUID(int=1),
        "tenant": "default",
        "plan_name": "p",
        "position": 1,
        "key": "a",
        "tool": "service",
        "operation": operation,
        "effect": Effect.CHANGE,
        "repeat": REPEATS.get(operation, Repeat.IDEMPOTENT),
        "parameters": {"unit": "web"},
        "target": None,
        "attempt": 1,
        "token": UUID(int=2),
        "timeout_s": 20.0,
        "retries_left": 0,
        "backoff_s": 0.0,
    }
    return Step(**{**standard, **members})


DONE = RawOutput(exit_code=0, stdout=b"new")


def test_before_and_after_are_kept_and_compared(bench):
    ran = bench("start", unit(1, "down"), DONE, unit(5))
    assert ran.calls == ["show web 3", "start web", "show web 3"]
    assert ran.result.before == {"pid": 1, "state": "down"}
    assert ran.result.after == {"pid": 5, "state": "up"}
    assert (ran.result.state, ran.result.changed) == (State.SUCCEEDED, True)


def test_what_was_before_is_told_when_the_step_arms(bench):
    ran = bench("start", unit(1, "password=hunter2"), DONE, unit(5))
    assert ran.armed == [{"pid": 1, "state": "password=***"}]
    assert ran.result.before["state"] == "password=***"


def test_nothing_changed_where_nothing_differs(bench):
    ran = bench("start", unit(1), DONE, unit(1))
    assert (ran.result.state, ran.result.changed) == (State.SUCCEEDED, False)


def test_the_operation_itself_may_tell_what_it_changed(bench):
    assert bench("tell", unit(1), DONE, unit(1)).result.changed is True
    old = RawOutput(exit_code=0, stdout=b"old")
    assert bench("tell", unit(1), old, unit(2)).result.changed is False


@pytest.mark.parametrize("operation", ["start", "restart"])
def test_a_failed_read_before_it_arms_nothing(bench, operation):
    ran = bench(operation, NO_UNIT)
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert ran.result.summary == "no unit web"
    assert (ran.calls, ran.armed) == (["show web 3"], [])


def test_a_failed_read_after_it_leaves_the_success(bench):
    ran = bench("start", unit(1), DONE, NO_UNIT)
    assert (ran.result.state, ran.result.changed) == (State.SUCCEEDED, True)
    assert ran.result.summary == "new; what it changed is not known: no unit web"


def test_a_failed_effect_is_not_looked_at_again(bench):
    ran = bench("start", unit(1), RawOutput(exit_code=1, stderr=b"broken\n"))
    assert (ran.result.reason, ran.result.before) == (Reason.EXIT_CODE, {"pid": 1, "state": "up"})
    assert len(ran.calls) == 2


def test_an_effect_is_looked_for_until_it_is_there(bench):
    ran = bench("restart", unit(1), DONE, unit(1), NO_UNIT, unit(2, "starting"), unit(2))
    assert ran.result.state is State.SUCCEEDED
    assert ran.calls == ["show web 3", "restart web", *["show web 3"] * 4]
    assert ran.result.after == {"pid": 2, "state": "up"}
    assert ran.result.changed is True
    assert len(ran.armed) == 1


def test_an_effect_that_never_comes_is_not_verified(bench, monkeypatch):
    monkeypatch.setattr(verify.time, "monotonic", fast_clock())
    ran = bench("restart", unit(1), DONE, unit(1))
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.NOT_VERIFIED)
    words = "not so within 5 s: last seen: pid 1, state up; wanted: output.state == 'up' and"
    assert ran.result.summary.startswith(words)
    assert (ran.result.unknown, ran.result.after) == (False, {"pid": 1, "state": "up"})


def fast_clock():
    """Each look at the clock takes a quarter of a second."""
    now = [0.0]

    def tick():
        now[0] += 0.25
        return now[0]

    return tick


def test_the_previous_answer_and_other_parameters_may_count(bench):
    ran = bench("settle", DONE, unit(1), unit(2), unit(2))
    assert ran.result.state is State.SUCCEEDED
    assert ran.calls == ["settle web", *["show web 9"] * 3]
    assert (ran.result.before, ran.result.changed) == (None, True)


def test_a_cancel_ends_the_looking_and_says_that_it_has_happened(bench):
    cancelled = threading.Event()

    def cancel():
        cancelled.set()
        return unit(1)

    ran = bench("restart", unit(1), DONE, cancel, unit(1), cancelled=cancelled)
    assert (ran.result.state, ran.result.stopped) == (State.CANCELLED, "verified")
    assert ran.result.summary == "stopped while its effect was looked for; it has happened: new"
    assert (ran.result.before, ran.result.changed) == ({"pid": 1, "state": "up"}, True)
    assert len(ran.calls) == 3


def test_an_unknown_outcome_is_settled_by_evidence(bench):
    ran = bench("restart", unit(1), LOST, NO_UNIT, unit(2))
    result = ran.result
    assert (result.state, result.unknown, result.reason) == (State.SUCCEEDED, False, None)
    assert result.summary.startswith("no end was seen (the connection was lost), but its effect")
    assert (result.before["pid"], result.after["pid"], result.changed) == (1, 2, True)


def test_an_unknown_outcome_whose_effect_is_not_there_failed(bench, monkeypatch):
    monkeypatch.setattr(verify.time, "monotonic", fast_clock())
    timed_out = RawOutput(timed_out=True, stopped="verified")
    ran = bench("restart", unit(1), timed_out, unit(1))
    assert (ran.result.state, ran.result.unknown) == (State.FAILED, False)
    assert ran.result.reason is Reason.NOT_VERIFIED


def test_an_unknown_outcome_that_nobody_can_ask_about_stays_unknown(bench, monkeypatch):
    monkeypatch.setattr(verify.time, "monotonic", fast_clock())
    ran = bench("restart", unit(1), LOST, NO_UNIT)
    assert (ran.result.state, ran.result.unknown) == (State.FAILED, True)
    assert ran.result.summary == "the connection was lost; show: no unit web"


def test_nobody_asks_for_a_step_that_shall_end(bench):
    cancelled = threading.Event()

    def cancel():
        cancelled.set()
        return LOST

    ran = bench("restart", unit(1), cancel, unit(2), cancelled=cancelled)
    assert ran.result.unknown
    assert ran.calls == ["show web 3", "restart web"]


def test_looking_knows_whether_the_end_was_seen(bench):
    assert bench("once", DONE, unit(1)).result.state is State.SUCCEEDED
    ran = bench("once", LOST, unit(1))
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.NOT_VERIFIED)


def test_what_was_settled_by_evidence_changed_something(bench):
    ran = bench("sure", LOST, unit(1))
    assert (ran.result.state, ran.result.changed) == (State.SUCCEEDED, True)


def test_only_probe_asks(bench):
    ran = bench("start", unit(1), LOST, unit(2))
    assert ran.result.unknown
    assert ran.calls == ["show web 3", "start web"]


def test_reads_take_no_longer_than_the_step_has(bench):
    ran = bench("start", unit(1), DONE, unit(1), timeout_s=2.0)
    assert all(control.timeout_s <= 2.0 for _, control in ran.runner.calls)


def test_a_process_that_was_frozen_past_its_time_does_not_act(bench):
    ran = bench("sure", unit(1), timeout_s=0.0)
    assert (ran.result.reason, ran.result.unknown) == (Reason.TIMEOUT, False)


@pytest.fixture
def frozen(monkeypatch):
    """`frozen(then)`: half a minute passes before this answer of the ledger is heard."""
    passed = [0.0]
    real = perform_module.time.monotonic
    clock = SimpleNamespace(monotonic=lambda: real() + passed[0])
    monkeypatch.setattr(perform_module, "time", clock)

    def answer(then):
        passed[0] += 30.0
        return then

    return lambda then: lambda: answer(then)


def test_a_process_that_was_frozen_asks_again_whether_it_may_act(bench, frozen):
    ran = bench("start", unit(1), DONE, unit(2), arms=[frozen(True)], timeout_s=90.0)
    assert (ran.result.state, len(ran.armed)) == (State.SUCCEEDED, 2)


def test_a_process_that_lost_its_step_while_it_was_frozen_does_not_act(bench, frozen):
    ran = bench("start", unit(1), DONE, arms=[frozen(True), lambda: False], timeout_s=90.0)
    assert (ran.result.state, ran.result.stopped) == (State.CANCELLED, "verified")
    assert (len(ran.armed), ran.calls) == (2, ["show web 3", "start web"])
