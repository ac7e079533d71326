"""Faults of processes: workers, dispatchers and beats die, freeze, restart, are cut off."""

import json
import signal
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from app.schedules import add_schedule, pause_schedule
from tests.faults.arena import Arena, signal_process
from tests.faults.island import Island
from tests.faults.plans import OWN_HOSTS

#: Longer than the lease of the farm under test (tests.lab.farm.SHORT).
LONGER_THAN_LEASE_S = 2.5


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


def kill_after_effect(arena: Arena) -> None:
    """Kill every worker when a step that must not repeat has acted, and has not ended."""
    tag = arena.new_tag("acted")
    arena.submit_steps(tag, arena.step(tag, "s0", list(OWN_HOSTS[:4]), after=5))

    def has_acted() -> bool:
        return any(step == f"{tag}/s0" for step, _ in arena.world.effects())

    if not arena.wait_until(has_acted, 60):
        arena.note("no step acted: the fault hit nothing")
    kill_workers(arena)


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


def kill_beats(arena: Arena) -> None:
    """Two beats serve one schedule and are killed in turn; each due time counts once."""
    name = f"tick-{arena.seed}-{arena.dice.randrange(10**6)}"
    parameters = {"world": str(arena.world.path), "step": f"{name}/s0"}
    step = {"tool": "trace", "operation": "look", "id": "s0", "parameters": parameters}
    plan = {"name": name, "steps": [step | {"targets": OWN_HOSTS[0]}]}
    schedule = {"name": name, "plan": plan, "interval_s": 1, "overlap": "allow"}
    add_schedule(json.dumps(schedule).encode(), arena.farm.principal, arena.farm.parts)
    began = time.monotonic()
    beats = [arena.start("beat"), arena.start("beat")]
    for turn in range(3):
        before = _count_fired(arena, name)
        arena.wait_until(partial(_has_fired, arena, name, before + 1), 30)
        beats[turn % 2].kill()
        beats[turn % 2] = arena.start("beat")
    pause_schedule(name, arena.farm.principal, arena.farm.parts)
    for beat in beats:
        beat.kill()
    fired = _count_fired(arena, name)
    if not 3 <= fired <= time.monotonic() - began + 1:
        arena.note(f"a schedule of every second fired {fired} times")


def _count_fired(arena: Arena, name: str) -> int:
    return sum(execution["name"] == name for execution in arena.read().executions)


def _has_fired(arena: Arena, name: str, times: int) -> bool:
    return _count_fired(arena, name) >= times


def cut_off(server: str) -> Callable[[Arena], None]:
    """A worker in a network of its own loses one server for longer than a lease."""

    def run(arena: Arena) -> None:
        urls = {"postgres": arena.servers.postgres.url, "broker": arena.farm.broker_url}
        ports = {name: int(urlsplit(url).port or 0) for name, url in urls.items()}
        with Island(*ports.values()) as island:
            near = {
                name: url.replace("127.0.0.1", island.address(ports[name]))
                for name, url in urls.items()
            }
            worker = arena.start(
                "automation",
                *island.enter,
                OPSFARM_DATABASE_URL=near["postgres"],
                OPSFARM_BROKER_URL=near["broker"],
                OPSFARM_HOST="island",
            )
            arena.wait_until(lambda: _is_seen(arena, "island"), 60)
            if not arena.wait_until(lambda: _gets_work(arena, "island"), 60):
                arena.note("the worker on the island got no work: the fault hit nothing")
            island.cut(ports[server])
            time.sleep(LONGER_THAN_LEASE_S)
            island.mend(ports[server])
            arena.wait_until(lambda: _is_seen(arena, "island"))
            worker.kill()

    return run


def _gets_work(arena: Arena, host: str) -> bool:
    """Hand in more work for everybody; whether a worker of that host is at some of it."""
    tag = arena.new_tag("work")
    step = arena.step(tag, "s0", list(OWN_HOSTS), "look", before=0.2, after=0.2)
    execution = arena.submit_steps(tag, step)

    def at_work() -> bool:
        rows = arena.rows_of(execution)
        return any(
            str(row["worker"]).endswith(f"@{host}") and row["state"] == "running" for row in rows
        )

    return arena.wait_until(at_work, 3)


def _is_seen(arena: Arena, host: str) -> bool:
    """Whether a worker of that host speaks to the ledger now."""
    return any(offer.host == host for offer in arena.farm.parts.roster.offers(0.5))
