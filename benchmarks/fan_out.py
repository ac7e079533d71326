"""What one target of a fan-out costs the ledger, whatever the number of targets.

Run: python -m benchmarks.fan_out [--rounds 5]

Each row is claimed and finished as a worker would; what is read and written is PostgreSQL's own
time and ours, no broker and no tool. Medians over interleaved rounds, as ratios to ten targets.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from app.admin.servers import find_free_port, start_postgres
from app.plan import CheckedPlan, CheckedRow, CheckedStep
from app.principal import Principal, Role
from app.step import State, Step, StepResult, Target
from app.store.db import make_engine, migrate
from app.store.ledger import Ledger, Link, Submission
from tool_catalog.model import Effect, Repeat

WINDOW = 64
ROWS = 1000
DONE = StepResult(State.SUCCEEDED, "done", output={"used_percent": 45})

STEP = CheckedStep(
    position=1,
    key="look",
    stage=0,
    section="main",
    tool="df",
    operation="usage",
    domain="automation",
    queue="automation",
    effect=Effect.READ,
    repeat=Repeat.READ,
    dynamic=False,
    on_failure="stop",
    timeout_s=30,
    queue_timeout_s=3600,
    max_retries=0,
    backoff_s=0,
    rows=(),
)


def fan_out(targets: int) -> tuple[CheckedStep, ...]:
    """One step on so many targets."""
    rows = tuple(CheckedRow({"path": "/"}, Target(f"web-{n}")) for n in range(targets))
    return (replace(STEP, rows=rows),)


def held(targets: int) -> tuple[CheckedStep, ...]:
    """The same with at most four under way."""
    return tuple(replace(step, max_parallel=4) for step in fan_out(targets))


def rolling(targets: int) -> tuple[CheckedStep, ...]:
    """The same in a block, five targets at a time."""
    rows = fan_out(targets)[0].rows
    block = replace(STEP, block=1, max_failures=0, block_on_failure="stop")
    return tuple(
        replace(block, stage=n // 5, rows=rows[n : n + 5], first_index=n)
        for n in range(0, targets, 5)
    )


SHAPES: dict[str, Callable[[int], tuple[CheckedStep, ...]]] = {
    "one stage": fan_out,
    "max_parallel 4": held,
    "batches of 5": rolling,
}


@dataclass(frozen=True, slots=True)
class Worker:
    """A farm of one: submits, claims what is to be published and ends it, oldest first."""

    ledger: Ledger
    principal: Principal

    def run(self, steps: tuple[CheckedStep, ...]) -> float:
        """Milliseconds for each row: its share of the submit, and the median claim and finish."""
        began = time.perf_counter()
        asked = Submission(uuid4(), self.principal, "benchmark")
        opened = self.ledger.open_execution(CheckedPlan("fan out", "d", {}, steps), asked, WINDOW)
        submit_s = time.perf_counter() - began
        waiting, times_s = deque(opened.sending.run), []
        while waiting:
            began = time.perf_counter()
            waiting += self._serve(waiting.popleft())
            times_s.append(time.perf_counter() - began)
        if len(times_s) != sum(len(step.rows) for step in steps):
            raise RuntimeError(f"{len(times_s)} rows ran")
        return (submit_s / len(times_s) + statistics.median(times_s)) * 1000

    def _serve(self, link: Link) -> tuple[Link, ...]:
        step = self.ledger.claim_step(link.step_id, link.attempt, uuid4(), "w", [link.queue])
        assert isinstance(step, Step), f"row {link.step_id} could not be claimed"
        return self.ledger.finish_step(step, DONE, link=None, send=WINDOW).sending.run


def measure(worker: Worker, rounds: int) -> dict[str, tuple[float, float]]:
    """Shape to (ms a row with ten targets, ratio of a thousand to that)."""
    found = {}
    for name, shape in SHAPES.items():
        few, many = [], []
        for _ in range(rounds):
            few.append(statistics.median(worker.run(shape(10)) for _ in range(ROWS // 100)))
            many.append(worker.run(shape(ROWS)))
        pairs = zip(many, few, strict=True)
        found[name] = statistics.median(few), statistics.median(b / a for b, a in pairs)
    return found


def make_worker(engine: Engine) -> Worker:
    """A worker on a fresh ledger."""
    with engine.begin() as connection:
        number = connection.exec_driver_sql(
            "insert into principals (name, role, key_prefix, key_hash)"
            " values ('bench', 'operator', 'bench', '') returning id"
        ).scalar_one()
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    return Worker(Ledger(autocommit), Principal(number, "bench", Role.OPERATOR))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = start_postgres(Path(folder) / "pg", find_free_port(), secrets.token_hex(8))
        try:
            engine = make_engine(server.url)
            migrate(engine)
            found = measure(make_worker(engine), options.rounds)
            engine.dispose()
        finally:
            server.stop()
    table = Table("shape", "ms a row, 10 targets", f"{ROWS} targets, ratio", "limit")
    for name, (few, ratio) in found.items():
        table.add_row(name, f"{few:.2f}", f"{ratio:.2f}", "<= 1")
    Console().print(table)


if __name__ == "__main__":
    main()
