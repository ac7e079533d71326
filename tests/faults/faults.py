"""The faults: each hurts a farm while plans run through it."""

import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis

from tests.faults.arena import Arena, signal_process
from tests.faults.process import POINTS

#: Longer than the lease of the farm under test (tests.lab.farm.SHORT).
LONGER_THAN_LEASE_S = 2.5


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to hurt a farm."""

    name: str
    run: Callable[[Arena], None]
    #: Only where the broker is Redis.
    redis_only: bool = False
    #: Part of the fast set of `make test`.
    fast: bool = False
    #: Plans do not meet on hosts: nothing has a reason to be published twice.
    apart: bool = False


def do_nothing(_arena: Arena) -> None:
    """The farm as it should be: what it needs again here is its own fault."""


def kill_at(point: str) -> Callable[[Arena], None]:
    """Kill whichever worker comes to this point first; three times."""

    def run(arena: Arena) -> None:
        arena.pull(point, 3)

    return run


def kill_workers(arena: Arena) -> None:
    """Kill every worker at once."""
    for worker in arena.workers():
        signal_process(worker, signal.SIGKILL)


def freeze_worker(arena: Arena) -> None:
    """Stop a worker for longer than its lease, then let it go on."""
    worker = arena.workers()[0]
    signal_process(worker, signal.SIGSTOP)
    time.sleep(LONGER_THAN_LEASE_S)
    signal_process(worker, signal.SIGCONT)


def roll_workers(arena: Arena) -> None:
    """Restart the workers one after the other, in order, under load."""
    for worker in arena.workers():
        signal_process(worker, signal.SIGTERM)
        arena.wait_until(lambda worker=worker: not worker.is_alive)


def kill_dispatchers(arena: Arena) -> None:
    """Kill the two dispatchers in turn."""
    for dispatcher in arena.workers("dispatcher"):
        signal_process(dispatcher, signal.SIGKILL)
        time.sleep(0.3)


def kill_redis(persistence: str) -> Callable[[Arena], None]:
    """Kill Redis as a power cut does and start it again with what it kept."""

    def run(arena: Arena) -> None:
        client = arena.servers.client
        client.config_set("appendonly", "no" if persistence == "off" else "yes")
        if persistence != "off":
            client.config_set("appendfsync", persistence)
        arena.servers.redis.process.kill()
        arena.servers.redis.process.wait()
        time.sleep(0.5)
        arena.servers.start_redis()

    return run


def flush_redis(arena: Arena) -> None:
    """Throw every message away, three times."""
    for _ in range(3):
        arena.servers.client.flushall()
        time.sleep(0.2)


def fill_redis(arena: Arena) -> None:
    """Redis is out of memory and evicts nothing: nothing can be published for a while."""
    client = arena.servers.client
    client.config_set("maxmemory", "1mb")
    time.sleep(1.5)
    client.config_set("maxmemory", "0")


def restart_postgres(arena: Arena) -> None:
    """PostgreSQL ends at once, as after a crash, and recovers."""
    arena.servers.postgres.process.send_signal(signal.SIGQUIT)
    arena.servers.postgres.process.wait(30)
    arena.servers.start_postgres()


def stop_postgres(seconds: float) -> Callable[[Arena], None]:
    """PostgreSQL is away for longer than a lease."""

    def run(arena: Arena) -> None:
        arena.servers.stop_postgres()
        time.sleep(seconds)
        arena.servers.start_postgres()

    return run


def treble_messages(arena: Arena) -> None:
    """Every message three times, some in the wrong place, some with a wrong attempt."""
    client, queue = arena.servers.client, arena.farm.queue()
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        for body in _peek(client, queue):
            client.lpush(queue, body, body)
            client.lpush(arena.farm.queue("comms"), body)
        for row in arena.read().rows[-20:]:
            client.lpush(queue, arena.farm.message(row["id"], row["attempt"] + 1))
            client.lpush(queue, arena.farm.message(row["id"], row["attempt"]))
        time.sleep(0.1)


def _peek(client: redis.Redis, queue: str) -> Iterator[bytes]:
    yield from client.lrange(queue, 0, 20)


def forge_messages(arena: Arena) -> None:
    """Messages for every row that there is, and for many that are not."""
    ids = [row["id"] for row in arena.read().rows]
    for number, attempt in itertools.product([*ids, 10**9, -1, 2**63], (0, 1, 2)):
        arena.farm.push(arena.farm.message(number, attempt))


def send_malformed(arena: Arena) -> None:
    """What is no message at all, between those that are."""
    envelope = json.loads(arena.farm.message(1, 0))
    shapes: list[object] = ["null", "7", "[]", "{}", "", "no json", b"\xff\xfe", '"text"', "true"]
    shapes += [json.dumps({k: v for k, v in envelope.items() if k != gone}) for gone in envelope]
    shapes += [json.dumps(envelope | {key: None}) for key in envelope]
    shapes += [json.dumps(envelope | {key: [1]}) for key in envelope]
    for shape in shapes:
        arena.farm.push(shape)
        time.sleep(0.01)


def cancel_everything(arena: Arena) -> None:
    """Cancel whatever is open, at whatever phase it is; once more while it stops."""
    for _ in range(8):
        for execution in arena.read().executions:
            if execution["finished_at"] is None and arena.dice.random() < 0.4:
                arena.farm.parts.ledger.cancel_execution(execution["id"], "ops", "a fault", 8)
        time.sleep(0.15)


FAULTS = (
    Fault("nothing", do_nothing, fast=True, apart=True),
    *(
        Fault(f"kill worker {point.replace('_', ' ')}", kill_at(point), fast=True)
        for point in POINTS
    ),
    Fault("kill all workers", kill_workers, fast=True),
    Fault("freeze worker past its lease", freeze_worker, fast=True),
    Fault("rolling restart", roll_workers, fast=True),
    Fault("kill both dispatchers", kill_dispatchers, fast=True),
    Fault("kill redis, aof off", kill_redis("off"), redis_only=True, fast=True),
    Fault("kill redis, aof everysec", kill_redis("everysec"), redis_only=True),
    Fault("kill redis, aof always", kill_redis("always"), redis_only=True),
    Fault("flushall", flush_redis, redis_only=True, fast=True),
    Fault("redis out of memory", fill_redis, redis_only=True, fast=True),
    Fault("restart postgres", restart_postgres, fast=True),
    Fault("postgres away for 4 s", stop_postgres(4)),
    Fault("every message three times", treble_messages, redis_only=True, fast=True),
    Fault("forged messages", forge_messages, redis_only=True, fast=True),
    Fault("malformed messages", send_malformed, redis_only=True, fast=True),
    Fault("cancel at every phase", cancel_everything, fast=True),
)
