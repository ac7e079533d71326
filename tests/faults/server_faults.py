"""Faults of servers: Redis, RabbitMQ and PostgreSQL go, come back, lose data, fill up."""

import signal
import time
from collections.abc import Callable

from app.errors import Unavailable
from tests.faults.arena import Arena, signal_process
from tests.faults.plans import OWN_HOSTS


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
    """Throw every message away, again and again, while the workers stand still (within a lease)."""
    for _ in range(5):
        workers = arena.workers()
        for worker in workers:
            signal_process(worker, signal.SIGSTOP)
        arena.wait_until(arena.farm.depth, 0.5)
        arena.servers.client.flushall()
        for worker in workers:
            signal_process(worker, signal.SIGCONT)
        time.sleep(0.1)


def fill_redis(arena: Arena) -> None:
    """Redis is out of memory and evicts nothing: plans are accepted and delivered later."""
    client = arena.servers.client
    client.config_set("maxmemory", "1mb")
    tag = arena.new_tag("full")
    try:
        for number in range(3):
            name = f"{tag}-{number}"
            step = arena.step(name, "s0", OWN_HOSTS[number], "look")
            arena.accepted.append(arena.farm.submit(step, name=name).execution_id)
    except Unavailable as error:
        arena.note(f"a submit was refused while Redis was full: {error}")
    time.sleep(1.5)
    client.config_set("maxmemory", "0")


def restart_rabbitmq(arena: Arena) -> None:
    """RabbitMQ goes and comes back with what its quorum queues kept."""
    assert arena.rabbitmq is not None
    arena.rabbitmq.stop()
    arena.rabbitmq.start()


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
