"""A fan-out of a local read step through a real farm, beside the sum of its parts.

Run: python -m benchmarks.fan_out_plan [--targets 500] [--rounds 3]

The parts are as many plans with one target each, handed in at once, and as many bare runs of the
same command by the same runner in as many threads as the worker has slots. Medians of interleaved
rounds, as ratios; the memory is the worker's and the dispatcher's peak, in MiB.
"""

import argparse
import base64
import os
import secrets
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert

from app.command import build_command
from app.config import read_settings
from app.parts import build_parts
from app.plan_reader import read_plan
from app.principal import Principal, Role
from app.step import LOCAL
from app.store.db import migrate
from app.store.models import Asset
from app.submit import submit
from benchmarks.farms import Servers
from tasks.runners.base import StepControl
from tasks.runners.table import make_runners

ROOT = Path(__file__).parents[1]
SLOTS = 4
STEP: dict[str, Any] = {"tool": "df", "operation": "usage", "parameters": {"path": "/"}}


class LocalFarm:
    """One worker with a few slots and a dispatcher; every asset is the worker's own host."""

    def __init__(self, servers: Servers, targets: int) -> None:
        os.environ.update(
            OPSFARM_DATABASE_URL=servers.postgres.url,
            OPSFARM_BROKER_URL=servers.redis.url,
            OPSFARM_STATE_DIR=str(servers.folder),
            OPSFARM_SECRET_KEY=base64.b64encode(secrets.token_bytes(32)).decode(),
            OPSFARM_SLOTS=str(SLOTS),
            OPSFARM_LOG_LEVEL="WARNING",
        )
        self.parts = build_parts(read_settings())
        migrate(self.parts.engine)
        self._principal: Principal = self.parts.principals.add("default", "bench", Role.OPERATOR)[0]
        assets = [
            {"hostname": f"h{n}", "connection": {"type": "local"}, "tags": {"n": str(n)}}
            for n in range(targets)
        ]
        with self.parts.engine.begin() as connection:
            connection.execute(insert(Asset), assets)
        self._processes = [_start("automation"), _start("dispatcher")]
        while not self.parts.roster.offers(10):
            time.sleep(0.05)

    def fan_out(self, targets: int) -> float:
        """Seconds from submit to the end of one plan on so many targets."""
        names = [f"h{n}" for n in range(targets)]
        return self._time([{**STEP, "targets": names}])

    def one_by_one(self, targets: int) -> float:
        """Seconds for as many plans with one target each, submitted as fast as that goes."""
        return self._time(*[[{**STEP, "targets": f"h{n}"}] for n in range(targets)])

    def bare(self, targets: int) -> float:
        """Seconds for as many runs of the command alone."""
        tool = self.parts.catalog.find("df")
        command = build_command(self.parts.catalog.operation(tool, "usage"), {"path": "/"}, {})
        runner = make_runners(self.parts.settings)["local"]
        began = time.perf_counter()
        with ThreadPoolExecutor(SLOTS) as pool:
            for _ in range(targets):
                pool.submit(runner.run, command, LOCAL, None, StepControl(60))
        return time.perf_counter() - began

    def peaks(self) -> list[float]:
        """Peak memory of worker and dispatcher so far, in MiB."""
        return [_peak_mib(process.pid) for process in self._processes]

    def stop(self) -> None:
        """End everything."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)
        self.parts.close()

    def _time(self, *plans: list[dict[str, Any]]) -> float:
        began = time.perf_counter()
        for steps in plans:
            submit(read_plan({"steps": steps}), self._principal, self.parts)
        query = "select exists (select 1 from executions where finished_at is null)"
        with self.parts.autocommit.connect() as connection:
            while connection.exec_driver_sql(query).scalar():
                time.sleep(0.01)
            failed = connection.exec_driver_sql(
                "select count(*) from executions where state <> 'succeeded'"
            ).scalar()
        if failed:
            raise RuntimeError(f"{failed} plans failed")
        return time.perf_counter() - began


def _start(pool: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "workers", pool], cwd=ROOT)


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    servers = Servers()
    try:
        farm = LocalFarm(servers, options.targets)
        try:
            show(farm, options.targets, options.rounds)
        finally:
            farm.stop()
    finally:
        servers.stop()


def show(farm: LocalFarm, targets: int, rounds: int) -> None:
    """The figures, on standard output."""
    farm.fan_out(10)
    small = farm.peaks()
    times = [
        (farm.fan_out(targets), farm.one_by_one(targets), farm.bare(targets)) for _ in range(rounds)
    ]
    table = Table(f"{targets} targets", "fan-out, s", "the parts, s", "ratio", "limit")
    for name, index, limit in (("plans of one target", 1, "<= 2"), ("the command alone", 2, "")):
        ratio = statistics.median(row[0] / row[index] for row in times)
        both = [statistics.median(row[n] for row in times) for n in (0, index)]
        table.add_row(name, f"{both[0]:.2f}", f"{both[1]:.2f}", f"{ratio:.2f}", limit)
    memory = Table("peak, MiB", "10 targets", f"{targets} targets, {rounds} times")
    for name, before, after in zip(("worker", "dispatcher"), small, farm.peaks(), strict=True):
        memory.add_row(name, f"{before:.1f}", f"{after:.1f}")
    console = Console()
    console.print(table)
    console.print(memory)


if __name__ == "__main__":
    main()
