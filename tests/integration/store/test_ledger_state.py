"""Random walks over random plans: the counters and the state say what the rows say."""

from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Conflict
from app.plan import Ask, CheckedStep, Need
from app.principal import Principal
from app.step import FINAL_STATES, State, Step
from app.store.decisions import Resolution, Voice
from tests.lab.ledger_bench import FAILED, LedgerBench, done, make_plan, make_step
from tests.lab.ledger_books import check, check_events, check_mutexes
from tests.lab.shapes import Batches, LateBlock, lay_out, on_hosts
from tool_catalog.model import Effect, Reason, Repeat

RULES = ("block", "max_failures", "block_on_failure", "on_failure", "max_parallel")
KEPT = (State.PENDING, State.DUE, State.QUEUED, State.WAITING)
UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)


HOSTS = tuple("abcd")
ASK = Ask("digest", {}, expires_s=0.0, need=Need("other", {"approver": 1}))


@st.composite
def steps(draw, key, *, inside=False):
    """One step; outside of a block with up to three rows."""
    changes = draw(st.booleans())
    dynamic = draw(st.integers(0, 4)) == 0
    count = 1 if dynamic or inside else draw(st.integers(1, 3))
    repeat = draw(st.sampled_from([Repeat.NEVER, Repeat.IDEMPOTENT])) if changes else Repeat.READ
    return make_step(
        key,
        rows=count,
        dynamic=dynamic,
        template={} if dynamic else None,
        effect=Effect.CHANGE if changes else Effect.READ,
        repeat=repeat,
        mutex=draw(st.sampled_from(["asset:1", "asset:2"]))
        if changes and count == 1 and not inside
        else None,
        on_failure=draw(st.sampled_from(["stop", "continue"])),
        max_retries=draw(st.integers(0, 2)),
        max_parallel=draw(st.sampled_from([None, None, 1, 2])),
        max_failures=None if inside else draw(st.sampled_from([None, None, 0, 1])),
    )


@st.composite
def entries(draw, key, number):
    """A step, steps side by side, or a block: of batches, or rendered when it is due."""
    kind = draw(st.sampled_from(["step", "step", "parallel", "block", "late"]))
    if kind == "step":
        return draw(steps(key))
    if kind == "parallel":
        return tuple(draw(steps(f"{key}{n}")) for n in range(2))
    inner = [draw(steps(f"{key}i{n}", inside=True)) for n in range(draw(st.integers(1, 2)))]
    if draw(st.booleans()):
        inner.append((draw(steps(f"{key}x", inside=True)), draw(steps(f"{key}y", inside=True))))
    size = draw(st.sampled_from([1, 2, 3]))
    block = Batches(
        tuple(inner),
        tuple(HOSTS[n : n + size] for n in range(0, len(HOSTS), size)),
        number=number,
        max_failures=draw(st.integers(0, 2)),
        on_failure=draw(st.sampled_from(["stop", "continue"])),
    )
    return LateBlock(block) if kind == "late" else block


@st.composite
def plans(draw):
    """Up to three entries, and up to two of `finally`."""
    main = [draw(entries(f"s{n}", n + 1)) for n in range(draw(st.integers(1, 3)))]
    last = tuple(draw(entries(f"z{n}", n + 10)) for n in range(draw(st.integers(0, 2))))
    late = [each.block for each in (*main, *last) if isinstance(each, LateBlock)]
    ask = ASK if draw(st.integers(0, 4)) == 0 else None
    return make_plan(*main, last=last), {block.number: block for block in late}, ask


@dataclass
class Walk:
    """Plays workers, dispatcher, sweeper and people.

    `held` are the steps in workers' hands, `lost` those that were, whose holders speak on.
    """

    bench: LedgerBench
    #: Approves and resolves; runs no plans of her own.
    ann: Principal
    #: Execution to its blocks that are rendered when they are due, by number.
    executions: dict = field(default_factory=dict)
    held: list[Step] = field(default_factory=list)
    lost: list[Step] = field(default_factory=list)

    def act(self, word: str, choice: int) -> None:
        """One event; a word that does not apply now does nothing."""
        if word == "cancel":
            self.bench.cancel(self._pick(choice))
        elif word in {"claim", "expand", "skip", "resolve", "resume", "approve", "expire"}:
            getattr(self, f"_{word}")(choice)
        elif word == "late":
            if self.lost:
                self._say(WORDS[choice % len(WORDS)], self.lost[choice % len(self.lost)])
        elif self.held:
            self._say(word, self.held[choice % len(self.held)])
            self._sort()

    def _pick(self, choice: int) -> UUID:
        return list(self.executions)[choice % len(self.executions)]

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
            ask = ASK if choice % 5 == 0 else None
            self.bench.expand(row["id"], *self._render(row, choice), ask=ask)

    def _render(self, row: dict, choice: int) -> list[CheckedStep]:
        if "block" in row["template"]:
            block = self.executions[row["execution_id"]][row["block"]]
            return lay_out([block], row["position"])
        rules = {name: row[name] for name in RULES}
        step = make_step(row["key"], position=row["position"], **rules)
        hosts = row["template"].get("batch") or HOSTS[: 1 + choice % 3]
        return [on_hosts(step, hosts, first_index=row["target_index"])]

    def _skip(self, choice: int) -> None:
        rows = self._rows("due")
        if rows:
            ended = [(State.SKIPPED, None), (State.FAILED, Reason.EXPRESSION)][choice % 2]
            self.bench.end_due(rows[choice % len(rows)]["id"], *ended)

    def _resolve(self, choice: int) -> None:
        rows = self._rows("interrupted")
        if rows:
            row, said = rows[choice % len(rows)], list(Resolution)[choice % 4]
            given = {"actor": "ann", "reason": "", "send": 64}
            with suppress(Conflict):
                self.bench.decisions.resolve_step(row["execution_id"], row["id"], said, **given)
            self._sort()

    def _resume(self, choice: int) -> None:
        given = {"only_failed": choice % 2 == 0, "actor": "ann", "reason": "", "send": 64}
        with suppress(Conflict):
            self.bench.decisions.resume_execution(self._pick(choice), **given)

    def _approve(self, choice: int) -> None:
        found = self.bench.approvals.list("default")
        if found:
            approval = found[choice % len(found)]["id"]
            self.bench.ask("update approvals set expires_at = expires_at + interval '1 h'")
            ann = Voice(self.ann, "no", ("approver",))
            if choice % 3:
                self.bench.decisions.approve(approval, "digest", ann, send=64)
            else:
                self.bench.decisions.reject(approval, ann, send=64)

    def _expire(self, _choice: int) -> None:
        self.bench.outbox.expire_approvals()

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
            self._approve(1)
            for n in range(len(self._rows("due"))):
                self._expand(n + 1)
            if not any(self._rows(state) for state in ("queued", "due", "waiting")):
                return
            for n in range(len(self._rows("queued"))):
                self._claim(n)


WORDS = ["succeed", "fail", "stop", "arm", "interrupt", "retry", "release", "reap"]
DECIDED = ["resolve", "resume", "approve", "approve", "expire"]
EVENTS = st.tuples(
    st.sampled_from([*["claim"] * 5, *WORDS, "arm", "late", "expand", "skip", "cancel", *DECIDED]),
    st.integers(0, 20),
)


@pytest.fixture
def started(bench):
    """Makes two executions on an emptied ledger."""
    ann = bench.add_principal("ann")

    def start(bench, drawn):
        bench.ask("truncate executions, steps, events restart identity cascade")
        opened = {bench.submit(plan, ask=ask).execution_id: blocks for plan, blocks, ask in drawn}
        return Walk(bench, ann, opened)

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
