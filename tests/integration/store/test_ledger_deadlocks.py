"""Every word at once over the same rows: none waits for another in a circle.

A circle would come to light as an error: PostgreSQL ends one of those that wait in it.
"""

import random
import time
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from app.plan import Cap
from app.store.ledger import call
from tests.lab.ledger_bench import (
    QUEUES,
    WORKER,
    LedgerBench,
    all_at_once,
    make_change,
    make_plan,
    make_step,
)
from tests.lab.ledger_books import check, check_mutexes
from tests.lab.ledger_words import QUEUE
from tool_catalog.model import Repeat

FOR_S = 2.0
THREADS = 8


def plan():
    """Rows of every kind: many, with a mutex, with limits, held back, with failures borne."""
    wide = make_step("wide", rows=40, max_retries=2)
    capped = make_change("capped", rows=10, repeat=Repeat.IDEMPOTENT)
    caps = (Cap("one", "one", running=3), Cap("two", "two", running=2))
    capped = replace(capped, rows=tuple(replace(row, caps=caps) for row in capped.rows))
    borne = make_step("borne", rows=10, max_parallel=3, max_failures=4, on_failure="undo")
    alone = [make_change(f"m{n}", mutex=f"asset:{n % 2}") for n in range(4)]
    return make_plan((wide, capped, borne, *alone), last=(make_step("z", rows=5),))


@dataclass
class Crowd:
    """One of many that say what comes to their mind."""

    bench: LedgerBench
    executions: list[UUID]
    seed: int
    held: list[tuple[int, UUID]] = field(default_factory=list)

    def run(self) -> int:
        """How many words were said."""
        dice = random.Random(self.seed)
        words = [self.claim] * 4 + [self.finish] * 2
        words += [self.beat, self.unsend, self.unsend_queue, self.publish, self.cancel, self.resume]
        words += [self.expire, self.unserved, self.reap]
        said, until = 0, time.monotonic() + FOR_S
        with self.bench.autocommit.connect() as connection:
            connection.exec_driver_sql("set deadlock_timeout = '100ms'")
            while time.monotonic() < until:
                dice.choice(words)(connection, dice)
                said += 1
            connection.invalidate()  # its deadlock_timeout must not come back to the pool
        return said

    def rows(self, connection, where: str):
        return connection.exec_driver_sql(
            f"select id, attempt, token, heartbeats from steps where {where}"
        ).all()

    def claim(self, connection, dice):
        rows = self.rows(connection, "state = 'queued'")
        for row in dice.sample(rows, min(3, len(rows))):
            token = uuid4()
            answer = call(
                connection, "claim_step", row.id, row.attempt, token, WORKER, list(QUEUES)
            )
            if answer:
                self.held.append((row.id, token))

    def finish(self, connection, dice):
        for row, token in self.held[:2]:
            word = dice.choice(["succeeded", "failed"])
            how = dice.random()
            if how < 0.2:
                call(connection, "retry_step", row, token, "exit_code", "{}", False)
            elif how < 0.4:
                call(connection, "release_step", row, token)
            else:
                send = dice.choice([0, 9])
                call(connection, "finish_step", row, token, word, None, "{}", None, send)
        del self.held[:2]

    def beat(self, connection, dice):
        tokens = [token for _, token in self.held]
        dice.shuffle(tokens)
        call(connection, "heartbeat", WORKER, tokens)

    def unsend(self, connection, dice):
        ids = [row.id for row in self.rows(connection, "state = 'queued'")]
        dice.shuffle(ids)
        call(connection, "unsend_steps", ids or [0])

    def unsend_queue(self, connection, dice):
        call(connection, "unsend_queue", QUEUE)

    def unserved(self, connection, dice):
        self.bench.outbox.tell_unserved(QUEUE)

    def publish(self, connection, dice):
        call(connection, "take_unsent", QUEUE, 64, dice.choice([None, 0.0]))

    def cancel(self, connection, dice):
        if dice.random() < 0.3:
            call(connection, "cancel_execution", dice.choice(self.executions), "ops", "", 0)

    def resume(self, connection, dice):
        call(connection, "resume_execution", dice.choice(self.executions), False, "ann", "", 9)

    def reap(self, connection, dice):
        rows = self.rows(connection, "state = 'running'")
        for row in dice.sample(rows, min(2, len(rows))):
            call(connection, "reap_step", row.id, row.token, row.heartbeats, 3, 0.0)

    def expire(self, connection, dice):
        if dice.random() < 0.1:
            connection.exec_driver_sql(
                "update steps set queued_at = queued_at - interval '1 day'"
                " where id = (select max(id) from steps where state = 'queued')"
            )
        call(connection, "expire_queued", 100)
        call(connection, "expire_executions", 100)


def test_no_two_words_wait_for_each_other(bench):
    executions = [bench.submit(plan()).execution_id for _ in range(3)]
    crowd = [Crowd(bench, executions, seed) for seed in range(THREADS)]
    said = all_at_once([each.run for each in crowd])
    assert min(said) > 0
    for execution in executions:
        check(bench, execution)
    check_mutexes(bench)
