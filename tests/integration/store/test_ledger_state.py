"""Random walks over random plans: the counters and the state say what the rows say."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.outcome import derive_state
from app.step import FINAL_STATES, State, Step
from tests.lab.ledger_bench import FAILED, LedgerBench, done, make_plan, make_step
from tool_catalog.model import Effect, Reason, Repeat

KEPT = (State.PENDING, State.DUE, State.QUEUED)
UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)


@st.composite
def plans(draw):
    """Up to four stages of up to three rows, and up to two stages of `finally`."""

    def step(number):
        changes = draw(st.booleans())
        count = draw(st.integers(1, 3))
        dynamic = draw(st.integers(0, 4)) == 0
        return make_step(
            f"s{number}",
            rows=1 if dynamic else count,
            dynamic=dynamic,
            template={} if dynamic else None,
            effect=Effect.CHANGE if changes else Effect.READ,
            repeat=draw(st.sampled_from([Repeat.NEVER, Repeat.IDEMPOTENT]))
            if changes
            else Repeat.READ,
            mutex=draw(st.sampled_from(["asset:1", "asset:2"])) if changes and count == 1 else None,
            on_failure=draw(st.sampled_from(["stop", "continue"])),
            max_retries=draw(st.integers(0, 2)),
        )

    main = [step(n) for n in range(draw(st.integers(1, 4)))]
    last = tuple(step(n + 10) for n in range(draw(st.integers(0, 2))))
    return make_plan(*main, last=last)


@dataclass
class Walk:
    """Plays workers, dispatcher, sweeper and people.

    `held` are the steps in workers' hands, `lost` those that were, whose holders speak on.
    """

    bench: LedgerBench
    executions: list = field(default_factory=list)
    held: list[Step] = field(default_factory=list)
    lost: list[Step] = field(default_factory=list)

    def act(self, word: str, choice: int) -> None:
        """One event; a word that does not apply now does nothing."""
        if word == "cancel":
            self.bench.cancel(self.executions[choice % len(self.executions)])
        elif word in {"claim", "expand", "skip"}:
            getattr(self, f"_{word}")(choice)
        elif word == "late":
            if self.lost:
                self._say(WORDS[choice % len(WORDS)], self.lost[choice % len(self.lost)])
        elif self.held:
            self._say(word, self.held[choice % len(self.held)])
            self._sort()

    def _sort(self) -> None:
        """Who still holds what."""
        tokens = {row["token"] for state in ("running", "interrupted") for row in self._rows(state)}
        self.lost += [step for step in self.held if step.token not in tokens]
        self.held = [step for step in self.held if step.token in tokens]

    def _rows(self, state: str) -> list[dict]:
        return self.bench.ask("select * from steps where state = :state order by id", state=state)

    def _claim(self, choice: int) -> None:
        rows = self._rows("queued")
        if rows:
            row = rows[choice % len(rows)]
            step = self.bench.claim_row(row["id"], row["attempt"])
            self.held += [step] if isinstance(step, Step) else []

    def _expand(self, choice: int) -> None:
        rows = self._rows("due")
        if rows:
            row = rows[choice % len(rows)]
            step = make_step(row["key"], position=row["position"], rows=1 + choice % 3)
            self.bench.expand(row["id"], step)

    def _skip(self, choice: int) -> None:
        rows = self._rows("due")
        if rows:
            self.bench.end_due(rows[choice % len(rows)]["id"])

    def _say(self, word: str, step: Step) -> None:
        ledger = self.bench.ledger
        if word == "arm":
            ledger.arm_step(step)
        elif word == "interrupt":
            ledger.interrupt_step(step, UNKNOWN)
        elif word == "retry":
            ledger.retry_step(step, FAILED)
        elif word == "release":
            ledger.release_step(step)
        elif word == "reap":
            for lease in self.bench.outbox.leases():
                if lease.step_id == step.id:
                    self.bench.outbox.reap_step(lease, 3, 0.0)
        else:
            result = {"succeed": done(), "fail": FAILED}.get(word)
            self.bench.finish(step, result or done(State.CANCELLED, Reason.STOPPED))

    def finish_all(self) -> None:
        """Let everything come to its end: whatever happened, nothing is stuck."""
        for _ in range(200):
            for step in self.held:
                self.bench.finish(step)
            self.held.clear()
            self._skip(0)
            if not self._rows("queued") and not self._rows("due"):
                return
            for n in range(len(self._rows("queued"))):
                self._claim(n)


WORDS = ["succeed", "fail", "stop", "arm", "interrupt", "retry", "release", "reap"]
EVENTS = st.tuples(
    st.sampled_from([*["claim"] * 5, *WORDS, "arm", "late", "expand", "skip", "cancel"]),
    st.integers(0, 20),
)


def check(bench: LedgerBench, execution_id) -> None:
    """What must hold after every event."""
    row, steps = bench.execution(execution_id), bench.rows(execution_id)
    by_state = {state: sum(s["state"] == state for s in steps) for state in State}
    asked = row["cancel_requested_at"] is not None
    assert row["state"] == derive_state(steps, cancel_requested=asked)
    assert row["failed"] == by_state[State.FAILED]
    assert row["cancelled"] == by_state[State.CANCELLED]
    assert row["interrupted"] == by_state[State.INTERRUPTED]
    here = [s for s in steps if s["stage"] == row["stage"]]
    assert row["stage_open"] == sum(s["state"] not in FINAL_STATES for s in here)
    assert all(s["state"] in FINAL_STATES for s in steps if s["stage"] < row["stage"])
    later = {s["state"] for s in steps if s["stage"] > row["stage"]}
    assert later <= {State.PENDING, State.CANCELLED}
    skipped = {s["stage"] for s in steps if s["state"] == State.SKIPPED and not s["dynamic"]}
    assert not skipped or row["stopping"]
    stops = any(
        s["state"] == State.FAILED
        and s["on_failure"] == "stop"
        and s["stage"] < row["finally_stage"]
        for s in steps
    )
    assert row["stopping"] == stops
    is_final = all(s["state"] in FINAL_STATES for s in steps)
    assert (row["finished_at"] is not None) == is_final == (row["stage"] == row["stages"])


def check_mutexes(bench: LedgerBench) -> None:
    """At most one holder each."""
    holders = bench.ask(
        "select count(*) as n from steps where mutex is not null"
        " and state in ('running', 'interrupted') group by tenant, mutex"
    )
    assert all(row["n"] == 1 for row in holders)


def check_events(bench: LedgerBench, execution_id) -> None:
    """Replaying what was told gives the states that are stored."""
    told: dict[int, str] = {}
    ended = None
    for event in bench.ask(
        "select * from events where execution_id = :id order by xid, id", id=execution_id
    ):
        if event["step_id"] is not None:
            told[event["step_id"]] = event["kind"].removeprefix("step.")
        elif event["kind"] == "execution.finished":
            assert ended is None, "an execution ends once"
            ended = event["data"]["state"]
    for row in bench.rows(execution_id):
        if row["id"] in told and row["state"] not in KEPT:
            assert told[row["id"]] == row["state"]
        elif row["state"] not in KEPT:
            assert row["state"] == "queued"
    stored = bench.execution(execution_id)
    assert ended == (stored["state"] if stored["finished_at"] else None)


@pytest.fixture
def started():
    """Makes two executions on an emptied ledger."""

    def start(bench, drawn):
        bench.ask("truncate executions, steps, events restart identity cascade")
        return Walk(bench, [bench.submit(plan).execution_id for plan in drawn])

    return start


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(plans(), min_size=2, max_size=2), st.lists(EVENTS, min_size=20, max_size=40))
def test_a_random_walk_keeps_the_books(bench, started, drawn, events):
    walk = started(bench, drawn)
    for word, choice in events:
        walk.act(word, choice)
        for execution_id in walk.executions:
            check(bench, execution_id)
        check_mutexes(bench)
    walk.finish_all()
    for execution_id in walk.executions:
        check(bench, execution_id)
        check_events(bench, execution_id)
        left = set(bench.states(execution_id)) - FINAL_STATES
        assert not left, "whatever happened, every step came to its end"
