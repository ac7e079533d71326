"""Faults of words to the ledger: a foreign token, two claims at once, cancels at every phase."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg2

from tests.faults.arena import Arena
from tests.faults.plans import OWN_HOSTS


def cancel_everything(arena: Arena) -> None:
    """Cancel whatever is open, at whatever phase it is; once more while it stops."""
    for _ in range(8):
        for execution in arena.read(only_open=True).executions:
            if arena.dice.random() < 0.4:
                arena.farm.parts.ledger.cancel_execution(execution["id"], "ops", "a fault", 8)
        time.sleep(0.15)  # plans go on meanwhile


def cancel_in_each_phase(arena: Arena) -> None:
    """Cancel a plan whose step waits, is held back, runs, or waits for a decision."""
    tag, host = arena.new_tag("phase"), OWN_HOSTS[0]
    runs = arena.step(f"{tag}-running", "s0", host, "look", before=60)
    behind = arena.step(f"{tag}-running", "s1", host, "look", after="{{ 0 if steps.s0.ok else 1 }}")
    waits = arena.step(f"{tag}-waiting", "s0", host, "wipe", confirm=host)
    idle = {"tool": "idle", "id": "s0", "targets": host}
    plans = {
        "running": arena.submit_steps(f"{tag}-running", runs, behind),
        "waiting": arena.submit_steps(f"{tag}-waiting", waits),
        "queued": arena.submit_steps(f"{tag}-queued", idle),
    }
    for phase, execution in plans.items():
        arena.wait_until(
            lambda phase=phase, execution=execution: arena.rows_of(execution)[0]["state"] == phase
        )
        for _ in range(2):
            arena.farm.parts.ledger.cancel_execution(execution, "ops", "a fault", 8)
        if not arena.wait_until(lambda execution=execution: _is_cancelled(arena, execution)):
            arena.note(f"cancelled while {phase}, and the execution is {arena.state_of(execution)}")


def _is_cancelled(arena: Arena, execution: Any) -> bool:
    return arena.state_of(execution) == "cancelled"


def speak_for_others(arena: Arena) -> None:
    """Somebody without the token says that a running step is done."""
    tag, host = arena.new_tag("foreign"), OWN_HOSTS[-1]
    first = arena.step(tag, "s0", host, before=1.5)
    execution = arena.submit_steps(tag, first, arena.step(tag, "s1", host))
    arena.wait_until(lambda: arena.rows_of(execution)[0]["state"] == "running")
    arena.ask(
        "select finish_step(:id, :token, 'succeeded', null, '{}', null, 0)",
        id=arena.rows_of(execution)[0]["id"],
        token=str(uuid4()),
    )


def race_for_host(arena: Arena) -> None:
    """Two workers claim two steps of one host at the same moment, neither has committed."""
    plan = {"steps": [{"tool": "idle", "id": "s0", "targets": OWN_HOSTS[-1]}]}
    names = [f"race-{arena.seed}-{arena.dice.random()}" for _ in range(2)]
    executions = [arena.submit(plan | {"name": name}) for name in names]
    rows = [arena.read().rows_of(str(number))[0]["id"] for number in executions]
    with psycopg2.connect(arena.dsn) as one, psycopg2.connect(arena.dsn) as two:
        held = _claim(arena, one, rows[0])
        with ThreadPoolExecutor(1) as thread:
            other = thread.submit(_claim, arena, two, rows[1])
            # If anything holds the second, it waits on the first one's commit.
            arena.wait_until(lambda: other.done() or _waits_for(arena, two), 5)
            one.commit()
            both = held and other.result()
            two.commit()
    one.close()
    two.close()
    if both:
        arena.note("one host was given to two workers at once")
    for number in executions:
        arena.farm.parts.ledger.cancel_execution(number, "ops", "the race is over", 8)


def _waits_for(arena: Arena, connection: Any) -> bool:
    """Whether a connection waits for a lock that another one holds."""
    with psycopg2.connect(arena.dsn) as watcher, watcher.cursor() as cursor:
        cursor.execute(
            "select cardinality(pg_blocking_pids(%s)) > 0", [connection.info.backend_pid]
        )
        waits = bool(cursor.fetchone()[0])
    watcher.close()
    return waits


def _claim(arena: Arena, connection: Any, row: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select claim_step(%s, 0, gen_random_uuid(), 'racer', %s) is not null",
            [row, [arena.farm.queue("network")]],
        )
        return bool(cursor.fetchone()[0])
