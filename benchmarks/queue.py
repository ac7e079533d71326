"""What 100,000 queued steps cost: the dispatcher's queries, Redis, and the list of executions.

Run: python -m benchmarks.queue [--steps 100000] [--rounds 200]

A real ledger and a real Redis; nobody serves the queues, so that all of it waits. Of the steps a
tenth waits for a limit and a tenth for one asset. The last row is as in `benchmarks.fan_out`.
"""

import argparse
import base64
import os
import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from app.config import read_settings
from app.parts import Parts, build_parts
from app.plan import Cap, CheckedPlan, CheckedRow, CheckedStep
from app.principal import Principal, Role
from app.step import Target
from app.store.db import make_engine, migrate
from app.store.ledger import Submission
from app.store.outbox import Outbox
from benchmarks import fan_out
from benchmarks.farms import Servers
from workers.dispatcher import Dispatcher

QUEUE = "automation"
PRINCIPALS = 5
ROWS_OF_A_PLAN = 20
#: What the dispatcher takes at a time, as far as the window has room.
ROOM = 64
TENANT = "default"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its limit."""

    name: str
    measured: float
    limit: float
    unit: str = "ms"


class Backlog:
    """A ledger full of queued steps, and a dispatcher that fills the broker's window."""

    def __init__(self, servers: Servers) -> None:
        os.environ.update(
            OPSFARM_DATABASE_URL=servers.postgres.url,
            OPSFARM_BROKER_URL=servers.redis.url,
            OPSFARM_STATE_DIR=str(servers.folder),
            OPSFARM_SECRET_KEY=base64.b64encode(secrets.token_bytes(32)).decode(),
        )
        engine = make_engine(servers.postgres.url)
        migrate(engine)
        engine.dispose()
        self.parts: Parts = build_parts(read_settings())
        self.outbox = Outbox(self.parts.autocommit)
        self.dispatcher = Dispatcher(self.parts)
        self._servers = servers
        self._principals = [self._add_principal(number) for number in range(PRINCIPALS)]

    def fill(self, rows: int, caps: tuple[Cap, ...] = (), mutex: str | None = None) -> None:
        """So many rows in plans of a single stage, of several principals in turn."""
        for number in range(rows // ROWS_OF_A_PLAN):
            step = stage_of(ROWS_OF_A_PLAN, caps, mutex)
            plan = CheckedPlan("backlog", "d", {}, (step,))
            principal = self._principals[number % PRINCIPALS]
            self.parts.ledger.open_execution(plan, Submission(uuid4(), principal, "benchmark"), 0)

    def settle(self) -> None:
        """As PostgreSQL's own autovacuum would have left it by now."""
        with self.parts.autocommit.connect() as connection:
            connection.exec_driver_sql("vacuum analyze")

    def time_taking(self, rounds: int) -> list[float]:
        """Milliseconds of the publish query; what it gives is served before the next one."""
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            taken = self.outbox.take_unsent(QUEUE, ROOM, None)
            times.append((time.perf_counter() - began) * 1000)
            self._serve([link.step_id for sending in taken for link in sending.run])
        return sorted(times)

    def publish(self) -> float:
        """Fill the window as the dispatcher does; the bytes that Redis holds more than before."""
        before = int(self._servers.client.info("memory")["used_memory"])
        for _ in range(20):
            self.dispatcher.run_once()
        return int(self._servers.client.info("memory")["used_memory"]) - before

    def list_executions(self) -> None:
        """As `opsfarm executions list` asks."""
        found = self.parts.records.list_executions(TENANT)
        assert len(found) == min(50, len(found))

    def close(self) -> None:
        """Let go of the connections."""
        self.parts.close()

    def _serve(self, ids: list[int]) -> None:
        served = "update steps set state = 'succeeded' where id = any (%s)"
        with self.parts.autocommit.connect() as connection:
            connection.exec_driver_sql(served, (ids,))

    def _add_principal(self, number: int) -> Principal:
        return self.parts.principals.add(TENANT, f"bench-{number}", Role.OPERATOR)[0]


def stage_of(rows: int, caps: tuple[Cap, ...], mutex: str | None) -> CheckedStep:
    """One step on so many targets."""
    targets = (Target(f"web-{number}") for number in range(rows))
    step = replace(fan_out.STEP, queue=QUEUE)
    made = (CheckedRow({"path": "/"}, target, mutex, caps=caps) for target in targets)
    return replace(step, rows=tuple(made))


def time_ms(act: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)


def percentile(times: Sequence[float], share: float) -> float:
    """The time that this share of calls keeps within."""
    return times[min(len(times) - 1, round(share * (len(times) - 1)))]


def measure(backlog: Backlog, steps: int, rounds: int) -> list[Row]:
    """Every figure, with the backlog growing by limits and locks."""
    plain = steps * 8 // 10
    backlog.fill(plain)
    backlog.fill(steps // 10, caps=(Cap("bench", "steps of the benchmark", running=2),))
    backlog.fill(steps // 10, mutex="asset:1")
    backlog.settle()
    asks = backlog.outbox
    lists = time_ms(backlog.list_executions, rounds)
    return [
        Row("publish query, p99", percentile(backlog.time_taking(rounds), 0.99), 50),
        *(
            Row(f"{name}, p99", percentile(time_ms(act, rounds), 0.99), 50)
            for name, act in {
                "which queues wait": asks.queues,
                "what is in the broker": lambda: asks.count_sent(QUEUE),
                "next start under a limit": asks.next_start_s,
            }.items()
        ),
        Row("executions list, p95", percentile(lists, 0.95), 100),
        Row("Redis, window full", backlog.publish() / 1e6, 10, "MB"),
        Row("a dispatcher's round, p50", statistics.median(time_rounds(backlog)), 50),
        Row("a target of 1,000 beside one of 10", compare_targets(backlog.parts), 1.0, "x"),
    ]


def compare_targets(parts: Parts) -> float:
    """What a target of a stage of a thousand costs the ledger, as a share of one of ten."""
    worker = fan_out.make_worker(parts.engine)
    ratios = []
    for _ in range(5):
        few = statistics.median(worker.run(fan_out.fan_out(10)) for _ in range(10))
        ratios.append(worker.run(fan_out.fan_out(1000)) / few)
    return statistics.median(ratios)


def time_rounds(backlog: Backlog) -> list[float]:
    """Milliseconds of whole rounds while the window is full."""
    return time_ms(backlog.dispatcher.run_once, 20)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    servers = Servers()
    backlog = Backlog(servers)
    try:
        began = time.perf_counter()
        rows = measure(backlog, options.steps, options.rounds)
        took_s = time.perf_counter() - began
    finally:
        backlog.close()
        servers.stop()
    table = Table("figure", "measured", "limit", "kept", title=f"{options.steps:,} queued steps")
    for row in rows:
        kept = "yes" if row.measured <= row.limit else "NO"
        table.add_row(row.name, f"{row.measured:.2f} {row.unit}", f"{row.limit:g} {row.unit}", kept)
    Console().print(table)
    Console().print(f"measured in {took_s:.0f} s")


if __name__ == "__main__":
    main()
