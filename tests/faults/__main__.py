"""`python -m tests.faults`: every fault, three seeds, both brokers; ends in a table.

Then each guard is taken away, five times, and the suite must see it every time. Exit status 1
when a promise was broken, or when one was kept without its guard.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.arena import Arena, Verdict
from tests.faults.controls import CONTROLS, breaches_without
from tests.faults.faults import FAULTS
from tests.lab.rabbitmq import RabbitMq

EPMD = "epmd"


def main() -> int:
    """Play all faults and print what they did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], action="append")
    parser.add_argument("--fault", help="only faults whose name holds this text")
    parser.add_argument("--plans", type=int, default=1, help="at least so many plans a fault")
    parser.add_argument("--controls", type=int, default=5, help="how often each guard is removed")
    options = parser.parse_args()
    console = Console(width=110)
    failed = False
    for broker in options.broker or ["redis", "rabbitmq"]:
        verdicts: list[Verdict] = []
        for seed in range(options.seeds):
            verdicts += play_all(broker, seed, options.fault or "", options.plans, console)
        console.print(make_table(broker, verdicts))
        failed = failed or any(verdict.breaches for verdict in verdicts)
    if not options.fault:
        failed = not check_controls(options.controls, console) or failed
    return 1 if failed else 0


def check_controls(times: int, console: Console) -> bool:
    """Whether every missing guard was seen every time."""
    table = Table("guard taken away", "seen", title="negative controls")
    all_seen = True
    for control in CONTROLS:
        seen = sum(bool(breaches_without(control, seed)) for seed in range(times))
        all_seen = all_seen and seen == times
        table.add_row(control.guard, f"{seen} of {times}")
    console.print(table)
    return all_seen


def play_all(
    broker: str, seed: int, wanted: str, plans: int, console: Console
) -> Iterator[Verdict]:
    """Every fault on one farm, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with open_broker(broker, folder) as server, Arena(folder, seed, server) as arena:
            for fault in FAULTS:
                if wanted not in fault.name or not fault.fits(arena, seed):
                    continue
                verdict = arena.play(
                    fault.name, fault.run, max(plans, fault.plans), apart=fault.apart
                )
                console.print(f"{broker} seed {seed}: {fault.name}: {_say(verdict)}", markup=False)
                for breach in verdict.breaches:
                    console.print(f"  {breach}", markup=False)
                yield verdict


@contextmanager
def open_broker(broker: str, folder: Path) -> Iterator[RabbitMq | None]:
    """A RabbitMQ; None where the arena's own Redis serves."""
    if broker == "redis":
        yield None
        return
    (folder / "rabbitmq").mkdir()
    server = RabbitMq(folder / "rabbitmq", EPMD)
    try:
        yield server
    finally:
        server.close()


def _say(verdict: Verdict) -> str:
    return f"{len(verdict.breaches)} breaches" if verdict.breaches else "holds"


def make_table(broker: str, verdicts: list[Verdict]) -> Table:
    """One line a fault, over all seeds."""
    columns = ("fault", "plans", "rows", "lost", "doubled", "interrupted", "sent again", "p95 s")
    table = Table(*columns, title=broker)
    for name in dict.fromkeys(verdict.fault for verdict in verdicts):
        same = [verdict for verdict in verdicts if verdict.fault == name]
        rows = sum(verdict.rows for verdict in same)
        again = sum(verdict.resent for verdict in same)
        table.add_row(
            name,
            str(sum(verdict.plans for verdict in same)),
            str(rows),
            str(sum(verdict.lost for verdict in same)),
            str(sum(verdict.doubled for verdict in same)),
            str(sum(verdict.interrupted for verdict in same)),
            f"{again / rows:.1%}" if rows else "",
            f"{max(verdict.recovery_p95_s for verdict in same):.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
