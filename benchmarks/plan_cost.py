"""What a plan costs us beside Celery's default chain of no-ops, on the same Redis.

Run: python -m benchmarks.plan_cost [--rounds 5] [--quick]

Counters (Redis commands and bytes) are exact. Times are medians over interleaved rounds, as
ratios: machines are noisy, so only numbers of one run are compared.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celery.result import AsyncResult
from rich.console import Console
from rich.table import Table

from benchmarks.celery_peer import make_chain
from benchmarks.farms import ROOT, CeleryFarm, OurFarm, Servers

PLANS = 60
BURST = 200
SENDERS = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """Redis commands and received bytes of one plan."""

    commands: float
    bytes: float


def measure_cost(servers: Servers, run: Callable[[], None], plans: int) -> Cost:
    """Run plans one after the other; what each cost Redis on average."""
    commands, received = servers.counters()
    for _ in range(plans):
        run()
    more_commands, more_received = servers.counters()
    return Cost((more_commands - commands) / plans, (more_received - received) / plans)


def measure_latency_ms(run: Callable[[], None], plans: int) -> float:
    """Median time from submit to final, one plan at a time."""
    times = []
    for _ in range(plans):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def measure_rate(send: Callable[[], object], finish: Callable[[], None], plans: int) -> float:
    """Plans a second when two senders submit as fast as they can."""

    def work() -> None:
        for _ in range(plans // SENDERS):
            send()

    began = time.perf_counter()
    senders = [threading.Thread(target=work) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    finish()
    return plans / (time.perf_counter() - began)


def measure_worker_start_s() -> float:
    """CPU seconds of importing and building everything that a worker is made of."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "from workers.entry import app; from tasks import workshop, perform, execute"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Contest:
    """Both farms on the same servers, each with its way to run one plan of four steps."""

    def __init__(self) -> None:
        self.servers = Servers()
        self.ours = OurFarm(self.servers)
        self.theirs = CeleryFarm(self.servers)
        self._four = self.ours.plan(4)
        for _ in range(20):  # connections, caches, plan of the statements
            self.run_ours()
            self.run_theirs()

    def run_ours(self) -> None:
        """One plan, awaited."""
        self.ours.wait(self.ours.submit(self._four))

    def run_theirs(self) -> None:
        """One chain, awaited."""
        make_chain(4).apply_async().get(timeout=30)

    def stop(self) -> None:
        """End everything."""
        self.ours.stop()
        self.theirs.stop()
        self.servers.stop()

    def long_plan_bytes(self, steps: int) -> float:
        """Redis bytes of one long plan of ours."""
        plan = self.ours.plan(steps)
        return measure_cost(self.servers, lambda: self.ours.wait(self.ours.submit(plan)), 1).bytes

    def rates(self, burst: int) -> tuple[float, float]:
        """Plans a second, ours and theirs."""
        ours = measure_rate(lambda: self.ours.submit(self._four), self.ours.wait_all, burst)
        pending = deque[AsyncResult]()
        theirs = measure_rate(
            lambda: pending.append(make_chain(4).apply_async()),
            lambda: [result.get(timeout=60) for result in pending],
            burst,
        )
        return ours, theirs


def main() -> None:
    """Measure, print the table, exit 1 when a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small numbers, for a look")
    options = parser.parse_args()
    plans, burst = (15, 60) if options.quick else (PLANS, BURST)
    contest = Contest()
    try:
        missed = report(contest, options.rounds, plans, burst)
    finally:
        contest.stop()
    sys.exit(1 if missed else 0)


def report(contest: Contest, rounds: int, plans: int, burst: int) -> bool:
    """Print every figure with its limit; True when a gate is missed."""
    ours = measure_cost(contest.servers, contest.run_ours, plans)
    theirs = measure_cost(contest.servers, contest.run_theirs, plans)
    latency, rate = [], []
    for _ in range(rounds):
        latency.append(
            (
                measure_latency_ms(contest.run_ours, plans),
                measure_latency_ms(contest.run_theirs, plans),
            )
        )
        rate.append(contest.rates(burst))
    hundred, thousand = contest.long_plan_bytes(100), contest.long_plan_bytes(1000)
    faster = statistics.median(a / b for a, b in latency)
    more = statistics.median(a / b for a, b in rate)
    start_s = measure_worker_start_s()
    rows = [
        Row(
            "Redis commands, 4-step plan",
            ours.commands,
            theirs.commands,
            "<= 24",
            ours.commands <= 24,
        ),
        Row("Redis bytes, 4-step plan", ours.bytes, theirs.bytes, "<= 8000", ours.bytes <= 8000),
        Row(
            "bytes(1000 steps) / bytes(100)",
            thousand / hundred,
            None,
            "<= 12",
            thousand <= 12 * hundred,
        ),
        Row("bytes of 1000 steps", thousand, None, "<= 5 MB", thousand <= 5e6),
        Row("idle p50, ms", *middle(latency), "", True),
        Row("idle p50, ratio", faster, 1.0, "gate 1.5, goal 1.0", faster <= 1.5),
        Row("plans/s", *middle(rate), "", True),
        Row("plans/s, ratio", more, 1.0, "gate 0.8, goal 1.0", more >= 0.8),
        Row("worker start, CPU s", start_s, None, "<= 2", start_s <= 2),
    ]
    show(rows)
    return not all(row.ok for row in rows)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, the peer's, and whether its limit was kept."""

    name: str
    ours: float
    theirs: float | None
    limit: str
    ok: bool


def middle(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The median of each side."""
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def show(rows: Sequence[Row]) -> None:
    """The table, on standard output."""
    table = Table("figure", "opsfarm", "Celery", "limit", "kept", title="What a plan costs")
    for row in rows:
        theirs = "" if row.theirs is None else f"{row.theirs:,.2f}"
        table.add_row(row.name, f"{row.ours:,.2f}", theirs, row.limit, "yes" if row.ok else "NO")
    Console().print(table)


if __name__ == "__main__":
    main()
