"""What a plan costs us beside Celery's default chain of no-ops, on the same Redis.

Run: python -m benchmarks.plan_cost [--rounds 5] [--quick]

Counters (Redis commands and bytes) are exact. Times are medians over interleaved rounds, as
ratios: machines are noisy, so only numbers of one run are compared.
"""

import argparse
import resource
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from celery.result import AsyncResult
from rich.console import Console
from rich.table import Table

from benchmarks.celery_peer import make_chain
from benchmarks.farms import ApiProcess, CeleryFarm, OneWorker, OurFarm, Servers

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


def measure_worker_start_s(servers: Servers) -> float:
    """CPU seconds of a worker process from start until it stands in the roster and is stopped."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker = OneWorker(servers)
    worker.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_api_ms(plans: int) -> float:
    """Median of POST /execute-plan with ten steps, over one kept connection."""
    with ApiProcess() as api:
        times = []
        for _ in range(plans):
            began = time.perf_counter()
            api.submit_ten()
            times.append(time.perf_counter() - began)
            time.sleep(0.05)  # idle: its steps are done before the next comes
    return statistics.median(times) * 1000


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

    def cost_with_events(self, plans: int) -> Cost:
        """Our cost while workers tell Flower of every step."""
        watched = OurFarm(self.servers, events=True, prefix="watched.")
        try:
            plan = watched.plan(4)
            watched.wait(watched.submit(plan))
            return measure_cost(self.servers, lambda: watched.wait(watched.submit(plan)), plans)
        finally:
            watched.stop()

    def rates(self, burst: int) -> tuple[float, float]:
        """Plans a second, ours and theirs."""
        ours = measure_rate(lambda: self.ours.submit(self._four), self.ours.wait_all, burst)
        pending: deque[AsyncResult[None]] = deque()
        theirs = measure_rate(
            lambda: pending.append(make_chain(4).apply_async()),
            lambda: wait_for_all(pending),
            burst,
        )
        return ours, theirs


def wait_for_all(pending: Iterable[AsyncResult[None]]) -> None:
    """Until every chain of the peer has ended."""
    for result in pending:
        result.get(timeout=60)


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


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, the peer's, and whether its limit was kept."""

    name: str
    ours: float
    theirs: float | None
    limit: str
    ok: bool


def report(contest: Contest, rounds: int, plans: int, burst: int) -> bool:
    """Print every figure with its limit; True when a gate is missed."""
    rows = [*counter_rows(contest, plans), *time_rows(contest, rounds, plans, burst)]
    start_s = measure_worker_start_s(contest.servers)
    rows.append(Row("worker start, CPU s", start_s, None, "<= 2", start_s <= 2))
    api_ms = measure_api_ms(plans)
    rows.append(Row("API submit of 10 steps, p50 ms", api_ms, None, "<= 15", api_ms <= 15))
    show(rows)
    return not all(row.ok for row in rows)


def counter_rows(contest: Contest, plans: int) -> list[Row]:
    """What is counted, not timed: exact, whatever else the machine does."""
    ours = measure_cost(contest.servers, contest.run_ours, plans)
    theirs = measure_cost(contest.servers, contest.run_theirs, plans)
    seen = contest.cost_with_events(plans)
    hundred, thousand = contest.long_plan_bytes(100), contest.long_plan_bytes(1000)
    ratio = thousand / hundred
    return [
        Row(
            "Redis commands, 4 steps", ours.commands, theirs.commands, "<= 24", ours.commands <= 24
        ),
        Row("Redis bytes, a plan", ours.bytes, theirs.bytes, "<= 8000", ours.bytes <= 8000),
        Row("... commands with Flower's events", seen.commands, None, "", ok=True),
        Row("... bytes with Flower's events", seen.bytes, None, "", ok=True),
        Row("bytes(1000 steps) / bytes(100)", ratio, None, "<= 12", ratio <= 12),
        Row("bytes of 1000 steps", thousand, None, "<= 5e6", thousand <= 5e6),
    ]


def time_rows(contest: Contest, rounds: int, plans: int, burst: int) -> list[Row]:
    """What is timed: medians over interleaved rounds."""
    latency, rate = [], []
    for _ in range(rounds):
        ours_ms = measure_latency_ms(contest.run_ours, plans)
        latency.append((ours_ms, measure_latency_ms(contest.run_theirs, plans)))
        rate.append(contest.rates(burst))
    slower = statistics.median(ours / theirs for ours, theirs in latency)
    faster = statistics.median(ours / theirs for ours, theirs in rate)
    return [
        Row("idle p50, ms", *middle(latency), "", ok=True),
        Row("idle p50, ratio", slower, 1.0, "gate 1.5, goal 1.0", slower <= 1.5),
        Row("plans/s", *middle(rate), "", ok=True),
        Row("plans/s, ratio", faster, 1.0, "gate 0.8, goal 1.0", faster >= 0.8),
    ]


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
