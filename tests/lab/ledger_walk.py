"""A walk through the ledger: workers, dispatchers, sweepers and people, in any order."""

from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from app.errors import Conflict
from app.plan import CheckedStep
from app.principal import Principal
from app.step import State, Step
from app.store.deadletters import DeadLetters
from app.store.decisions import Resolution, Voice
from app.store.ledger import call
from tests.lab.ledger_bench import (
    FAILED,
    LedgerBench,
    done,
    make_reversal,
    make_step,
)
from tests.lab.ledger_oracle import check_batch, may_start, predict, resolved
from tests.lab.ledger_plans import ASK, HOSTS
from tests.lab.ledger_words import QUEUE, UNKNOWN
from tests.lab.shapes import lay_out, on_hosts
from tool_catalog.model import Reason, Repeat

RULES = ("block", "max_failures", "block_on_failure", "on_failure", "max_parallel")
#: What the holder of a row says of it, and the sweeper.
HOLDERS = ["succeed", "fail", "stop", "arm", "interrupt", "retry", "release", "reap"]
STOPPED = done(State.CANCELLED, Reason.STOPPED)
PROBES = ["done", "not done", "no answer"]
SPOKEN = [*HOLDERS, *PROBES]
#: Said of a row that has armed, else there is little to learn from it.
UNSURE = {"interrupt", "retry"}
#: What others do; each is a method.
OTHERS = [
    "claim",
    "expand",
    "skip",
    "cancel",
    "resolve",
    "resolve",
    "resume",
    "requeue",
    "discard",
    "undo",
    "approve",
    "expire",
    "publish",
    "unsend",
    "overdue",
    "late",
]


@dataclass
class Walk:
    """Plays every part; what a word does to its row is compared with what it must do.

    `held` are the steps in workers' hands, `lost` those that were, whose holders speak on.
    """

    bench: LedgerBench
    #: Approves and resolves; runs no plans of her own.
    ann: Principal
    #: Execution to its blocks that are rendered when they are due, by number.
    executions: dict = field(default_factory=dict)
    held: list[Step] = field(default_factory=list)
    lost: list[Step] = field(default_factory=list)
    #: The words of the last event.
    said: set[str] = field(default_factory=set)

    def act(self, word: str, choice: int) -> None:
        """One event; where a word has nothing to act on, something begins instead."""
        self.said = {word}
        if word in OTHERS:
            acted = getattr(self, f"_{word}")(choice)
        else:
            acted = bool(self.held)
            if word in PROBES:  # first of all of what has one
                self.held.sort(key=lambda step: step.repeat is not Repeat.PROBE)
                choice = 0
            for said in ("arm", word) if word in UNSURE else (word,):
                if self.held:
                    self._say(said, self.held[choice % len(self.held)])
        if not acted:
            self._go_on(choice)
        self._sort()

    def _go_on(self, choice: int) -> None:
        """Something begins, or ends; where all is over, people have it begin again."""
        if self._skip(choice) if choice % 4 == 0 else self._expand(choice):
            return
        if self._claim(choice) or self._approve(choice):
            return
        if self.held:
            self._say("fail" if choice % 3 else "succeed", self.held[choice % len(self.held)])
        else:
            self.said.add("resume")
            _ = self._resume(choice) or self._undo(choice)

    def _pick(self, choice: int) -> UUID:
        return list(self.executions)[choice % len(self.executions)]

    def _sort(self) -> None:
        """Who still holds what."""
        tokens = {row["token"] for row in self.rows("running", "interrupted")}
        self.lost += [step for step in self.held if step.token not in tokens]
        self.held = [step for step in self.held if step.token in tokens]

    def rows(self, *states: str) -> list[dict]:
        """All rows, or those in one of these states."""
        if not states:
            return self.bench.ask("select * from steps order by stage, target_index, id")
        return self.bench.ask(
            "select * from steps where state = any (:states) order by id", states=list(states)
        )

    def _one(self, choice: int, *states: str) -> dict | None:
        rows = self.rows(*states)
        return rows[choice % len(rows)] if rows else None

    def _row(self, step_id: int) -> dict | None:
        found = self.bench.ask("select * from steps where id = :id", id=step_id)
        return found[0] if found else None

    # Workers.

    def _claim(self, choice: int) -> bool:
        row = self._one(choice, "queued")
        if row is None:
            return False
        expected = may_start(row, self.bench.execution(row["execution_id"]), self.rows())
        step = self.bench.claim_row(row["id"], row["attempt"])
        assert (step is not None) == expected
        assert self._row(row["id"])["state"] == ("running" if expected else "queued")
        self.held += [step] if step else []
        return True

    def _late(self, choice: int) -> bool:
        if self.lost:
            self._say(SPOKEN[choice % len(SPOKEN)], self.lost[choice % len(self.lost)])
        return bool(self.lost)

    def _say(self, word: str, step: Step) -> None:
        before = self._row(step.id)
        expected = None
        if before and before["token"] == step.token:
            execution = self.bench.execution(step.execution_id)
            expected = predict(word, before, execution, given_up=self._is_given_up(before))
        self._tell(word, step)
        after = self._row(step.id)
        if expected is None:
            assert after == before, "refused without a trace"
        else:
            assert after["state"] == expected

    def _is_given_up(self, row: dict) -> bool:
        [told] = self.bench.ask(
            "select is_given_up(s) as so from steps s where id = :id", id=row["id"]
        )
        return row["max_failures"] is not None and told["so"]

    def _tell(self, word: str, step: Step) -> None:
        ledger = self.bench.ledger
        words = {
            "arm": lambda: ledger.arm_step(step),
            "interrupt": lambda: ledger.interrupt_step(step, UNKNOWN),
            "retry": lambda: ledger.retry_step(step, FAILED),
            "release": lambda: ledger.release_step(step),
            "reap": lambda: self._reap(step),
            "succeed": lambda: self.bench.finish(step, send=1),
            "fail": lambda: self.bench.finish(step, FAILED, send=1),
            "stop": lambda: self.bench.finish(step, STOPPED),
        }
        if word in PROBES:
            asked_at = "2999-01-01 00:00Z"  # when nothing of the effect was on its way any more
            said = (step.id, step.token, word, asked_at, "{}", 0.0, 64)
            with self.bench.autocommit.connect() as connection:
                call(connection, "probe_step", *said)
        else:
            words[word]()

    def _reap(self, step: Step) -> None:
        for lease in self.bench.outbox.leases():
            if lease.token == step.token:
                self.bench.outbox.reap_step(lease, 3, 0.0)

    # The dispatcher.

    def _expand(self, choice: int) -> bool:
        row = self._one(choice, "due")
        if row and row["undoes"] == 0:
            self._reverse(row)
        elif row:
            ask = ASK if choice % 5 == 0 else None
            self.bench.expand(row["id"], *self._render(row, choice), ask=ask)
        return bool(row)

    def _render(self, row: dict, choice: int) -> list[CheckedStep]:
        if "block" in row["template"]:
            block = self.executions[row["execution_id"]][row["block"]]
            return lay_out([block], row["position"])
        rules = {name: row[name] for name in RULES}
        step = make_step(row["key"], position=row["position"], **rules)
        hosts = row["template"].get("batch") or HOSTS[: 1 + choice % 3]
        return [on_hosts(step, hosts, first_index=row["target_index"])]

    def _reverse(self, row: dict) -> None:
        """Put reversals in the place of the row that asks for them, the last effect first."""
        [due] = [due for due in self.bench.outbox.due_steps() if due.step_id == row["id"]]
        rows = sorted(self.bench.outbox.rows_done(due), key=lambda each: -each["stage"])
        if not rows:
            self.bench.end_due(row["id"], summary="nothing to undo")
            return
        self.bench.expand(
            row["id"], *(make_reversal(each, due.position + n, n) for n, each in enumerate(rows))
        )

    def _skip(self, choice: int) -> bool:
        row = self._one(choice, "due")
        if row:
            ended = [(State.SKIPPED, None), (State.FAILED, Reason.EXPRESSION)][choice % 2]
            self.bench.end_due(row["id"], *ended)
        return bool(row)

    def _publish(self, choice: int) -> bool:
        before = self.rows()
        limit = 1 + choice
        taken = self.bench.outbox.take_unsent(QUEUE, limit, None)
        ids = [sending.run[0].step_id for sending in taken]
        assert len(ids) == len(set(ids)) <= limit
        check_batch([row for row in before if row["id"] in ids], before)
        return bool(ids)

    def _unsend(self, choice: int) -> bool:
        row = self._one(choice, "queued")
        return bool(row and self.bench.ledger.unsend_steps([row["id"]]))

    def _overdue(self, choice: int) -> bool:
        row = self._one(choice, "queued")
        if row:
            sooner = "queued_at - make_interval(secs => queue_timeout_s)"
            self.bench.ask(f"update steps set queued_at = {sooner} where id = :id", id=row["id"])
            assert self.bench.outbox.expire_queued() == 1
            assert self._row(row["id"])["reason"] == "queue_timeout"
        return bool(row)

    def _expire(self, _choice: int) -> bool:
        return bool(self.bench.outbox.expire_approvals())

    # People.

    def _cancel(self, choice: int) -> bool:
        answer, _ = self.bench.cancel(self._pick(choice))
        return answer["accepted"]

    def _resolve(self, choice: int) -> bool:
        row = self._one(choice, "interrupted")
        if row is None:
            return False
        said = list(Resolution)[choice % 4]
        expected = resolved(said.value, row, self.bench.execution(row["execution_id"]))
        given = {"actor": "ann", "reason": "", "send": 64}
        with suppress(Conflict):
            self.bench.decisions.resolve_step(row["execution_id"], row["id"], said, **given)
        assert self._row(row["id"])["state"] == (expected or "interrupted")
        return True

    def _resume(self, choice: int) -> bool:
        given = {"only_failed": choice % 2 == 0, "actor": "ann", "reason": "", "send": 64}
        with suppress(Conflict):
            self.bench.decisions.resume_execution(self._pick(choice), **given)
            return True
        return False

    def _requeue(self, choice: int) -> bool:
        row = self._one(choice, "failed", "interrupted")
        with suppress(Conflict):
            if row:
                DeadLetters(self.bench.autocommit).requeue(row["id"], self._voice(), send=64)
                return True
        return False

    def _discard(self, choice: int) -> bool:
        row = self._one(choice, "failed", "interrupted", "succeeded")
        if row is None:
            return False
        with suppress(Conflict):
            DeadLetters(self.bench.autocommit).discard(row["id"], self._voice())
        after = self._row(row["id"])
        assert (after["discarded_at"] is not None) == (row["state"] == "failed")
        assert after | {"discarded_at": None} == row | {"discarded_at": None}
        return row["state"] == "failed"

    def _undo(self, choice: int) -> bool:
        with suppress(Conflict):
            self.bench.decisions.undo_execution(self._pick(choice), self._voice())
            return True
        return False

    def _approve(self, choice: int) -> bool:
        found = self.bench.approvals.list("default")
        if found:
            approval = found[choice % len(found)]["id"]
            self.bench.ask("update approvals set expires_at = expires_at + interval '1 h'")
            if choice % 3:
                self.bench.decisions.approve(approval, "digest", self._voice(), send=64)
            else:
                self.bench.decisions.reject(approval, self._voice(), send=64)
        return bool(found)

    def _voice(self) -> Voice:
        return Voice(self.ann, "no", ("approver",))

    def finish_all(self) -> None:
        """Let everything come to its end: whatever happened, nothing is stuck."""
        for _ in range(200):
            for step in self.held:
                self.bench.finish(step)
            self.held.clear()
            self._approve(1)
            for n in range(len(self.rows("due"))):
                self._expand(n + 1)
            if not self.rows("queued", "due", "waiting"):
                return
            for n in range(len(self.rows("queued"))):
                self._claim(n)
