"""How soon a step runs again whose worker was killed, with the times of production.

Run: python -m benchmarks.recovery [--rounds 3]

A worker with the defaults (heartbeat 5 s, lease 30 s) is killed with `kill -9` in the middle of a
step that may be repeated; another worker is there. Measured is the time from the kill to the
step's second start. The limit: the lease and 5 s. Exit status 1 beyond it.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from app.admin.servers import find_free_port, start_postgres, start_redis
from app.config import Settings
from app.store.db import make_engine, migrate
from tests.lab.farm import SHORT, Farm, Process, hold, lines_of
from tests.lab.waiting import wait_until

DEFAULTS = {
    name: str(Settings.model_fields[name.removeprefix("OPSFARM_").lower()].default)
    for name in SHORT
}
LIMIT_S = float(DEFAULTS["OPSFARM_REAP_S"]) + 5
START_S = 60.0


def main() -> int:
    """Print each round and the median; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        farm = start_farm(folder, stack)
        seconds = [measure(farm, folder / f"began_{number}") for number in range(rounds)]
    for number, each in enumerate(seconds, 1):
        print(f"round {number}: {each:.1f} s")
    median = statistics.median(seconds)
    print(f"recovery after kill -9 of the worker: median {median:.1f} s, limit {LIMIT_S:g} s")
    return 0 if max(seconds) <= LIMIT_S else 1


def start_farm(folder: Path, stack: ExitStack) -> Farm:
    """A dispatcher and no worker yet, on servers of its own."""
    redis = start_redis(folder / "redis", find_free_port(), "bench")
    stack.callback(redis.stop)
    postgres = start_postgres(folder / "postgres", find_free_port(), "bench")
    stack.callback(postgres.stop)
    engine = make_engine(postgres.url)
    migrate(engine)
    engine.dispose()
    farm = Farm(postgres.url, redis.url, folder / "farm", **DEFAULTS)
    stack.callback(farm.close)
    farm.start("dispatcher")
    return farm


def measure(farm: Farm, began: Path) -> float:
    """Seconds from the kill of the worker to the next start of its step."""
    victim = farm.start("automation", OPSFARM_HOST=f"victim-{began.name}")
    execution = farm.submit(hold("again", began, seconds="3")).execution_id
    wait_until(lambda: lines_of(began), "the step did not begin", START_S)
    killed_at = time.monotonic()
    victim.send(signal.SIGKILL)
    heir = start_heir(farm, began.name)
    wait_until(lambda: len(lines_of(began)) > 1, "the step did not run again", 3 * LIMIT_S)
    seconds = time.monotonic() - killed_at
    farm.wait_for(execution, "succeeded")
    heir.stop()
    return seconds


def start_heir(farm: Farm, name: str) -> Process:
    """A worker of another host; it is up long before the lease has run out."""
    return farm.start("automation", wait=False, OPSFARM_HOST=f"heir-{name}")


if __name__ == "__main__":
    sys.exit(main())
