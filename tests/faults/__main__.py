"""`python -m tests.faults`: every fault, three seeds, both brokers; ends in a table.

Each guard is taken away, five times, and the suite must see it every time. Arenas are played side
by side: most of the time is waiting. Exit status 1 when a promise was broken, or when one was kept
without its guard; 130 after Ctrl-C.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.controls import CONTROLS
from tests.faults.faults import FAULTS
from tests.faults.play import BROKERS, Job, Played, play
from tests.faults.verdict import make_table, tell_totals
from tests.lab.warden import guarded

INTERRUPTED = 130


def main() -> int:
    """Play all faults and print what they did."""
    options = _read_options()
    brokers = options.broker or ["redis", "rabbitmq"]
    jobs = list(_make_jobs(options, brokers))
    began = time.monotonic()
    with guarded() as warden:
        folder = Path(tempfile.mkdtemp(prefix="opsfarm-faults-"))
        folder.chmod(0o755)
        warden.remove(folder)
        os.environ["TMPDIR"] = str(folder)
        try:
            # A server that is away for long keeps nobody busy: such jobs take no place.
            played = _play_all(jobs, options.jobs + sum(job.alone for job in jobs))
        except KeyboardInterrupt:
            print("interrupted: everything is ended", file=sys.stderr)
            return INTERRUPTED
    return report(played, brokers, time.monotonic() - began)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--broker", choices=BROKERS, action="append", help="may be given twice")
    parser.add_argument("--fault", default="", help="only faults whose name holds this text")
    parser.add_argument("--plans", type=int, default=1, help="at least so many plans a fault")
    parser.add_argument("--controls", type=int, default=5, help="how often each guard is removed")
    parser.add_argument("--jobs", type=int, default=3, help="how many arenas play side by side")
    return parser.parse_args()


def _make_jobs(options: argparse.Namespace, brokers: Sequence[str]) -> Iterator[Job]:
    """What takes longest first; a fault that plays alone needs one seed."""
    wanted = [fault for fault in FAULTS if options.fault in fault.name]
    alone = [fault for fault in wanted if fault.alone]
    for broker, fault in product(brokers, alone):
        yield Job(0, broker, (fault.name,), options.plans, alone=True)
    for seed, broker in product(range(options.seeds), brokers):
        names = tuple(f.name for f in wanted if f.fits(broker) and not f.alone)
        if names:
            yield Job(seed, broker, names, options.plans)
    if not options.fault:
        for seed, control in product(range(options.controls), CONTROLS):
            yield Job(seed, control=control.guard)


def _play_all(jobs: Sequence[Job], count: int) -> list[Played]:
    """All of them, `count` at a time. A Ctrl-C ends us; the warden ends what we leave."""
    context = multiprocessing.get_context("spawn")
    # Sessions of their own: a Ctrl-C comes to us alone.
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=os.setsid)
    try:
        done = as_completed([pool.submit(play, job) for job in jobs])
        played = [each.result() for each in done]
    except BaseException:
        for process in pool._processes.values():
            process.kill()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    return played


def report(played: Sequence[Played], brokers: Sequence[str], seconds: float) -> int:
    """Print the tables; the exit status."""
    console = Console(width=120)
    for broker in brokers:
        mine = [each for each in played if each.job.broker == broker and not each.job.control]
        by_seed = sorted(mine, key=lambda each: each.job.seed)
        found = {v.fault: [] for each in by_seed for v in each.verdicts}
        order = [fault.name for fault in FAULTS if fault.name in found]
        verdicts = [v for n in order for each in by_seed for v in each.verdicts if v.fault == n]
        console.print(make_table(broker, verdicts))
    controls = [each for each in played if each.job.control]
    if controls:
        console.print(make_controls_table(controls))
    verdicts = [verdict for each in played for verdict in each.verdicts]
    print(f"{tell_totals(verdicts)}; {seconds / 60:.1f} minutes")
    broken = [each for each in played if each.error]
    for each in broken:
        print(f"{each.job} broke down: {each.error}")
    holds = not broken and not any(verdict.breaches for verdict in verdicts)
    return 0 if holds and all(each.seen for each in controls) else 1


def make_controls_table(controls: Sequence[Played]) -> Table:
    """How often each missing guard was seen."""
    table = Table("guard taken away", "seen", title="negative controls")
    for control in CONTROLS:
        mine = [each for each in controls if each.job.control == control.guard]
        table.add_row(control.guard, f"{sum(each.seen for each in mine)} of {len(mine)}")
    return table


if __name__ == "__main__":
    sys.exit(main())
