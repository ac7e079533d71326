"""One step from claim to finish, with a ledger and runners that keep what they were told."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from app.errors import StepError, Stopped, Unavailable
from app.privilege import show_login
from app.step import Credential, Found, Probe, State, Step, StepResult, Target
from app.store.ledger import Finished, Link, Sending
from tasks import execute
from tasks.execute import execute_step
from tasks.live_output import LiveOutput
from tasks.runners.base import RawOutput
from tasks.running import REPEATABLE, RunningSteps
from tool_catalog.loader import load_tool
from tool_catalog.model import Effect, Reason, Repeat, Verify
from tool_catalog.names import UnknownName

TOOL = """
summary: A test's tool
execution_location: automation-service
operations:
  read:
    summary: Looks
    effect: read
    argv: [look]
    output: {parser: text}
    examples: [{parameters: {}}]
  change:
    summary: Acts
    effect: change
    repeat: never
    argv: [act]
    examples: [{parameters: {}}]
  again:
    summary: Acts, and may act again
    effect: change
    repeat: idempotent
    argv: [act]
    examples: [{parameters: {}}]
  sure:
    summary: Acts, and can be looked for
    effect: change
    repeat: probe
    argv: [act]
    before: read
    verify: {operation: read, until: output != before, within_s: 0.05}
    examples: [{parameters: {}}]
  store:
    summary: Writes to the ledger's own database
    effect: change
    at: worker
    repeat: transactional
    python: asset:create
    examples: [{parameters: {}}]
"""
REPEATS = {
    "read": Repeat.READ,
    "change": Repeat.NEVER,
    "again": Repeat.IDEMPOTENT,
    "sure": Repeat.PROBE,
}
NEXT = Sending(run=(Link(8, 0, "q", "df", "usage", 2),))


def make(operation="read", **members):
    standard = {
        "id": 7,
        "execution_id": UUID(int=1),
        "tenant": "default",
        "plan_name": "p",
        "position": 1,
        "key": "a",
        "tool": "test",
        "operation": operation,
        "effect": Effect.READ if operation == "read" else Effect.CHANGE,
        "repeat": REPEATS.get(operation, Repeat.TRANSACTIONAL),
        "parameters": {},
        "target": None,
        "attempt": 1,
        "token": UUID(int=2),
        "timeout_s": 5.0,
        "retries_left": 0,
        "backoff_s": 0.0,
    }
    return Step(**{**standard, **members})


@dataclass
class FakeLedger:
    """Hands out one step and keeps every word about it."""

    step: object = None
    words: list = field(default_factory=list)
    may_arm: bool = True
    may_retry: bool = True
    armed: bool = False
    accepts: bool = True
    #: Calls that find the ledger away first.
    away: int = 0

    def _say(self, word, *more):
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        self.words.append((word, *more))

    @property
    def said(self):
        return [word for word, *_ in self.words]

    def claim_step(self, step_id, attempt, token, worker, queues):
        self._say("claim", step_id, attempt, queues)
        ours = isinstance(self.step, Step) and self.step.probe is None
        return replace(self.step, token=token) if ours else self.step

    def arm_step(self, step, before=None):
        self._say("arm", before)
        self.armed = self.may_arm
        return self.may_arm

    def finish_step(self, step, result, *, link, send, connection=None):
        self._say("finish", result, link)
        sending = Sending(link=True) if link else NEXT
        return Finished(self.accepts, sending if self.accepts else Sending())

    def retry_step(self, step, result, **_more):
        self._say("retry", result)
        return self.may_retry and (not self.armed or step.repeat in REPEATABLE)

    def interrupt_step(self, step, result):
        self._say("interrupt", result)
        return True

    def probe_step(self, step, found, result, *, pause_s, send):
        self._say("probe", step.token, found, result)
        return Finished(self.accepts, NEXT if found is Found.DONE else Sending())

    def release_step(self, step):
        self._say("release")
        return True


class FakeRunner:
    """Arms, then does what a test planted."""

    def __init__(self):
        self.raw = RawOutput(exit_code=0, stdout=b"fine\n")
        self.error = None
        self.before = lambda: None

    def run(self, command, target, credential, control):
        self.before()
        control.before_effect()
        if self.error:
            raise self.error
        return self.raw


class FakeSessions:
    """Tells whether the transaction stayed."""

    def __init__(self):
        self.kept = None

    @contextmanager
    def begin(self):
        self.kept = True
        session = SimpleNamespace(info={}, connection=lambda: None, rollback=self._undo)
        try:
            yield session
        except BaseException:
            self.kept = False
            raise

    def _undo(self):
        self.kept = False


@pytest.fixture
def shop(tmp_path, monkeypatch):
    path = tmp_path / "test.yaml"
    path.write_text(TOOL)
    tool = load_tool(path)
    monkeypatch.setattr(execute.time, "sleep", lambda _seconds: None)
    ledger = FakeLedger(make())
    catalog = SimpleNamespace(
        find=lambda _name: tool, operation=lambda found, name: found.operations[name]
    )
    return SimpleNamespace(
        worker="w",
        queues=("automation",),
        settings=SimpleNamespace(window=64, resend_s=10, self_kill_s=20.0),
        catalog=catalog,
        ledger=ledger,
        sessions=FakeSessions(),
        secrets=None,
        artifacts=None,
        runners={"local": FakeRunner()},
        operations={},
        running=RunningSteps(ledger, "w", 20),
        live_output=LiveOutput(None),
    )


def run(shop, operation="read", link=None, **members):
    shop.ledger.step = make(operation, **members)
    return execute_step(7, 0, link, shop)


def finished(shop):
    [(_, result, link)] = [word for word in shop.ledger.words if word[0] == "finish"]
    return result, link


def test_a_step_that_is_not_ours_ends_quietly(shop):
    shop.ledger.step = None
    ended = execute_step(7, 0, 8, shop)
    assert (ended.sending, ended.failure) == (Sending(), None)
    assert shop.ledger.words == [("claim", 7, 0, ("automation",))]


def test_a_step_that_was_settled_instead_hands_on_what_follows(shop):
    shop.ledger.step = NEXT
    ended = execute_step(7, 0, None, shop)
    assert (ended.sending, ended.failure) == (NEXT, Reason.REFUSED_BY_POLICY)


def test_a_read_is_claimed_and_finished_and_never_armed(shop):
    ended = run(shop, link=8)
    assert shop.ledger.said == ["claim", "finish"]
    result, link = finished(shop)
    assert (result.state, result.output, link) == (State.SUCCEEDED, "fine\n", 8)
    assert (ended.sending.link, ended.failure) == (True, None)
    assert shop.running.list() == []


def test_a_change_is_armed_between(shop):
    run(shop, "change")
    assert shop.ledger.said == ["claim", "arm", "finish"]


def test_a_step_that_must_not_arm_does_nothing(shop):
    shop.ledger.may_arm = False
    ended = run(shop, "change", link=8)
    assert shop.ledger.said == ["claim", "arm", "finish"]
    result, link = finished(shop)
    assert (result.state, result.stopped, link) == (State.CANCELLED, "verified", None)
    assert ended.failure is Reason.STOPPED


def test_a_failure_ends_the_chain_and_hands_on_what_follows(shop):
    shop.runners["local"].raw = RawOutput(exit_code=3)
    ended = run(shop, link=8)
    result, link = finished(shop)
    assert (result.state, result.reason, link) == (State.FAILED, Reason.EXIT_CODE, None)
    assert (ended.sending, ended.failure) == (NEXT, Reason.EXIT_CODE)


def test_a_failure_with_retries_left_goes_back(shop):
    shop.runners["local"].raw = RawOutput(exit_code=3)
    ended = run(shop, retries_left=1)
    assert shop.ledger.said == ["claim", "retry"]
    assert (ended.sending, ended.failure) == (Sending(), Reason.EXIT_CODE)


def test_a_retry_that_the_ledger_refuses_is_a_failure(shop):
    shop.runners["local"].raw = RawOutput(exit_code=3)
    shop.ledger.may_retry = False
    run(shop, retries_left=1)
    assert shop.ledger.said == ["claim", "retry", "finish"]


def test_a_cancelled_step_is_not_tried_again(shop):
    def cancel():
        shop.running.list()[0].cancelled.set()

    shop.runners["local"].before = cancel
    shop.runners["local"].raw = RawOutput(exit_code=3)
    run(shop, retries_left=1)
    assert shop.ledger.said == ["claim", "finish"]


def test_an_armed_step_without_an_answer_asks_a_person(shop):
    shop.runners["local"].raw = RawOutput(timed_out=True, stopped="verified")
    ended = run(shop, "change", link=8)
    assert shop.ledger.said == ["claim", "arm", "interrupt"]
    assert (ended.sending, ended.failure) == (Sending(), Reason.TIMEOUT)


def test_a_connection_lost_after_the_effect_asks_a_person(shop):
    shop.runners["local"].error = StepError(Reason.UNREACHABLE, "gone", sent=True)
    run(shop, "change")
    assert shop.ledger.said[-1] == "interrupt"
    assert "finish" not in shop.ledger.said


def test_a_connection_that_failed_before_arming_is_a_failure(shop):
    def fail():
        raise StepError(Reason.UNREACHABLE, "no route", transient=True)

    shop.runners["local"].before = fail
    run(shop, "change")
    assert shop.ledger.said == ["claim", "finish"]


def test_an_unknown_outcome_that_may_repeat_is_tried_again(shop):
    shop.runners["local"].raw = RawOutput(timed_out=True, stopped="verified")
    run(shop, "again")
    assert shop.ledger.said == ["claim", "arm", "retry"]


def test_a_stop_that_was_checked_is_a_cancel(shop):
    shop.runners["local"].error = Stopped("stopped", verified=True)
    run(shop, "change", link=8)
    result, link = finished(shop)
    assert (result.state, result.stopped, link) == (State.CANCELLED, "verified", None)


def test_a_stop_of_a_change_that_was_not_checked_asks_a_person(shop):
    shop.runners["local"].error = Stopped("it may run on", verified=False)
    run(shop, "change")
    assert shop.ledger.said == ["claim", "arm", "interrupt"]


def test_a_stop_of_a_read_that_was_not_checked_says_so(shop):
    shop.runners["local"].error = Stopped("it may run on", verified=False)
    run(shop)
    assert finished(shop)[0].stopped == "unverified"


def in_runner(shop, **flags):
    """Set members of what runs, from within."""

    def change():
        for name, value in flags.items():
            setattr(shop.running.list()[0], name, value)

    return change


@pytest.mark.parametrize("flag", ["draining", "lost"])
@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("read", ["claim", "release"]),
        ("change", ["claim", "arm", "interrupt"]),
        ("again", ["claim", "arm"]),
    ],
)
def test_what_we_had_to_end_was_not_cancelled_by_anybody(shop, flag, operation, words):
    shop.runners["local"].before = in_runner(shop, **{flag: True})
    shop.runners["local"].error = Stopped("ended", verified=True)
    ended = run(shop, operation, link=8)
    assert shop.ledger.said == words
    assert (ended.sending, ended.failure) == (Sending(), Reason.STOPPED)


def test_a_step_that_ends_while_we_drain_is_finished(shop):
    shop.runners["local"].before = in_runner(shop, draining=True)
    run(shop, "change")
    assert shop.ledger.said == ["claim", "arm", "finish"]


@pytest.mark.parametrize("operation", ["read", "change"])
def test_a_tool_that_breaks_ends_its_own_step_only(shop, operation):
    shop.runners["local"].error = ZeroDivisionError("planted")
    run(shop, operation)
    assert shop.ledger.said[-1] == ("finish" if operation == "read" else "interrupt")
    assert "planted" not in str(shop.ledger.words[-1][1].summary)
    assert shop.running.list() == []


def test_a_result_is_offered_until_the_ledger_takes_it(shop):
    def go_away():
        shop.ledger.away = 5

    shop.runners["local"].before = go_away
    ended = run(shop)
    assert shop.ledger.said == ["claim", "finish"]
    assert ended.failure is None


@pytest.mark.parametrize("when", ["claim", "arm"])
def test_a_ledger_that_is_away_leaves_the_row_to_the_sweeper(shop, when):
    if when == "claim":
        shop.ledger.away = 1
    else:
        shop.runners["local"].before = lambda: setattr(shop.ledger, "away", 1)
    ended = run(shop, "change")
    assert shop.ledger.said == (["claim"] if when == "arm" else [])
    assert (ended.sending, ended.failure) == (Sending(), Reason.INTERNAL)
    assert shop.running.list() == []


def test_a_finish_that_comes_too_late_sends_nothing(shop):
    shop.ledger.accepts = False
    assert run(shop).sending == Sending()


def test_a_tool_that_this_worker_does_not_know_is_a_named_failure(shop):
    def find(name):
        raise UnknownName(kind="tool", name=name, suggestion=None, allowed=())

    shop.catalog.find = find
    assert run(shop).failure is Reason.INTERNAL
    assert finished(shop)[0].summary == "on worker w: no tool 'test'"


def test_what_was_approved_runs_while_the_tools_file_is_the_same(shop):
    approved = {"tool": shop.catalog.find("test").digest, "login": show_login(None)}
    assert run(shop, "change", bound=approved).failure is None
    assert shop.ledger.said == ["claim", "arm", "finish"]


@pytest.mark.parametrize("operation", ["read", "change", "store"])
def test_another_tool_file_than_the_approved_one_is_not_run(shop, operation):
    store(shop, StepResult(State.SUCCEEDED, "kept"))
    ended = run(shop, operation, bound={"tool": "another", "login": show_login(None)})
    assert ended.failure is Reason.REFUSED_BY_POLICY
    assert shop.ledger.said == ["claim", "finish"]
    assert finished(shop)[0].summary == (
        "not run: the file of test on worker w is not what was approved; submit the plan again"
    )
    assert shop.sessions.kept is None


SUDO = {"method": "sudo", "user": "root"}
LOGINS = [
    (("old", "deploy"), ("new", "deploy"), "the credential of web-01 is new as deploy, was old as"),
    (("old", "deploy"), None, "the credential of web-01 is none, was old as deploy"),
    (None, ("new", "deploy"), "the credential of web-01 is new as deploy, was none"),
    (("key", "deploy"), ("key", "root"), "is key as root, was key as deploy"),
    (("key", "deploy"), ("key", "deploy", SUDO), "is key as deploy, sudo to root, was key as"),
]


def login(given):
    name, user, *become = given
    return Credential(name, user, become=become[0] if become else None)


@pytest.mark.parametrize(("approved", "now", "words"), LOGINS)
def test_another_login_than_the_approved_one_is_not_used(shop, approved, now, words):
    shop.secrets = SimpleNamespace(open_credential=lambda _step, _name: now and login(now))
    shown = show_login(approved and login(approved))
    bound = {"tool": shop.catalog.find("test").digest, "login": shown}
    ended = run(shop, "change", bound=bound, target=Target("web-01", 1))
    assert ended.failure is Reason.REFUSED_BY_POLICY
    assert shop.ledger.said == ["claim", "finish"]
    assert words in finished(shop)[0].summary


def test_a_login_that_a_step_names_itself_is_bound_by_its_name(shop):
    shop.secrets = SimpleNamespace(open_credential=lambda _step, _name: login(("key", "root")))
    bound = {"tool": shop.catalog.find("test").digest, "login": {"credential": "key"}}
    assert run(shop, "change", bound=bound, target=Target("web-01", 1)).failure is None


def store(shop, outcome):
    def act(session, parameters):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    shop.operations["asset:create"] = act


def test_effect_and_finish_are_one_transaction(shop):
    store(shop, StepResult(State.SUCCEEDED, "kept"))
    ended = run(shop, "store", link=8)
    assert shop.ledger.said == ["claim", "finish"]
    assert shop.sessions.kept
    assert ended.sending.link


def test_an_effect_of_a_step_that_is_not_ours_any_more_is_undone(shop):
    store(shop, StepResult(State.SUCCEEDED, "kept"))
    shop.ledger.accepts = False
    assert run(shop, "store").sending == Sending()
    assert shop.sessions.kept is False


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StepError(Reason.NOT_FOUND, "no asset"), Reason.NOT_FOUND),
        (ZeroDivisionError("planted"), Reason.INTERNAL),
    ],
)
def test_a_transaction_that_fails_writes_its_failure_only(shop, error, reason):
    store(shop, error)
    ended = run(shop, "store")
    assert shop.sessions.kept is False
    result, _ = finished(shop)
    assert (result.state, result.reason, ended.failure) == (State.FAILED, reason, reason)
    assert "planted" not in result.summary


def test_a_transaction_that_loses_the_ledger_is_left_to_the_sweeper(shop):
    store(shop, Unavailable("away"))
    ended = run(shop, "store")
    assert shop.ledger.said == ["claim"]
    assert ended.failure is Reason.INTERNAL


# A step whose worker was lost: looked at, never run.

OLD = UUID(int=9)


def probe(shop, before, **members):
    """What the ledger was told of a step to be probed: (found, result); nothing was armed."""
    asked = Probe("2026-03-02T10:00:00+00:00", before)
    ended = run(shop, "sure", link=8, token=OLD, probe=asked, **members)
    assert shop.ledger.said == ["claim", "probe"]
    assert shop.running.list() == []
    [_, (_, token, found, result)] = shop.ledger.words
    assert token == OLD, "the token of whoever ran it"
    return ended, found, result


def test_a_probe_that_sees_the_effect_tells_so_and_hands_on_what_follows(shop):
    ended, found, result = probe(shop, "old\n")
    assert (found, result.output, result.after) == (Found.DONE, "fine\n", "fine\n")
    assert (result.before, result.changed) == ("old\n", True)
    assert (ended.sending, ended.failure) == (NEXT, None)


def test_a_probe_that_does_not_see_the_effect_tells_what_it_saw(shop):
    ended, found, result = probe(shop, "fine\n")
    assert (found, result.output) == (Found.NOT_DONE, "fine\n")
    assert "last seen: fine" in result.summary
    assert ended.failure is None


@pytest.mark.parametrize(
    "error",
    [
        StepError(Reason.UNREACHABLE, "no route"),
        ValueError("a bug"),
        Stopped("drained", verified=True),
    ],
)
def test_a_probe_without_an_answer_says_so(shop, error):
    shop.runners["local"].error = error
    _, found, result = probe(shop, "old\n")
    assert (found, result.output) == (Found.UNKNOWN, None)


def test_a_probe_that_cannot_be_judged_is_no_answer(shop):
    shop.catalog.operation = lambda tool, _name: tool.operations["sure"].model_copy(
        update={"verify": Verify(operation="read", until="output.state == 1", within_s=0.01)}
    )
    _, found, _ = probe(shop, None)
    assert found is Found.UNKNOWN


def test_another_tool_file_than_the_approved_one_is_not_asked(shop):
    _, found, result = probe(shop, "old\n", bound={"tool": "another", "credential": None})
    assert found is Found.UNKNOWN
    assert "not what was approved" in result.summary


def test_what_was_approved_and_changed_is_not_tried_again(shop):
    bound = {"tool": "another", "credential": None}
    run(shop, retries_left=3, bound=bound)
    assert shop.ledger.said == ["claim", "finish"]
    assert finished(shop)[0].reason is Reason.REFUSED_BY_POLICY
