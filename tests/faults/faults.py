"""The faults: each hurts a farm while plans run through it."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg2

from app.schedules import add_schedule, pause_schedule
from tests.faults.arena import Arena, signal_process
from tests.faults.island import Island
from tests.faults.messages import reach_into
from tests.faults.plans import OWN_HOSTS, SECRET
from tests.faults.process import LOST_ANSWERS, POINTS
from tests.faults.world import ROGUES

#: Longer than the lease of the farm under test (tests.lab.farm.SHORT).
LONGER_THAN_LEASE_S = 2.5


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to hurt a farm."""

    name: str
    run: Callable[[Arena], None]
    #: Only where this is the broker: "redis" or "rabbitmq"; both when empty.
    broker: str = ""
    #: Part of the fast set of `make test`.
    fast: bool = False
    #: Plans do not meet on hosts: nothing has a reason to be published twice.
    apart: bool = False
    #: How many plans it needs at least to fall among them.
    plans: int = 16
    #: Takes so long that one seed is enough.
    once: bool = False

    def fits(self, arena: Arena, seed: int) -> bool:
        """Whether it makes sense here."""
        broker = "redis" if arena.broker_is_redis else "rabbitmq"
        return self.broker in {"", broker} and not (self.once and seed)


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
        arena.wait_until(partial(_has_fired, arena, name, before + 1), 10)
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
    """Throw every message away, again and again."""
    for _ in range(60):
        arena.servers.client.flushall()
        time.sleep(0.02)


def fill_redis(arena: Arena) -> None:
    """Redis is out of memory and evicts nothing: nothing can be published for a while."""
    client = arena.servers.client
    client.config_set("maxmemory", "1mb")
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


def treble_messages(arena: Arena) -> None:
    """Every message three times, some in the wrong place, some with a wrong attempt."""
    hands = reach_into(arena.farm)
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        hands.copy_waiting()
        for row in arena.read().rows[-20:]:
            hands.push(row["id"], row["attempt"] + 1)
            hands.push(row["id"], row["attempt"])
        time.sleep(0.1)


def forge_messages(arena: Arena) -> None:
    """Messages for every row that there is, and for many that are not."""
    hands = reach_into(arena.farm)
    ids = [row["id"] for row in arena.read().rows][-100:]
    for number, attempt in itertools.product([*ids, 10**9, -1, 2**63], (0, 1, 2)):
        hands.push(number, attempt)


def send_malformed(arena: Arena) -> None:
    """What is no message at all, between those that are; no worker may end by it."""
    alive = {worker.pid for worker in arena.workers()}
    reach_into(arena.farm).push_malformed()
    time.sleep(1)
    if {worker.pid for worker in arena.workers()} != alive:
        arena.note("a malformed message ended a worker")


def cancel_everything(arena: Arena) -> None:
    """Cancel whatever is open, at whatever phase it is; once more while it stops."""
    for _ in range(8):
        for execution in arena.read().executions:
            if execution["finished_at"] is None and arena.dice.random() < 0.4:
                arena.farm.parts.ledger.cancel_execution(execution["id"], "ops", "a fault", 8)
        time.sleep(0.15)


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
            if not arena.wait_until(lambda: _is_working(arena, "island")):
                arena.note("the worker on the island got no work: the fault hit nothing")
            island.cut(ports[server])
            time.sleep(LONGER_THAN_LEASE_S)
            island.mend(ports[server])
            time.sleep(1)
            worker.kill()

    return run


def _is_working(arena: Arena, host: str) -> bool:
    return any(str(row["worker"]).endswith(f"@{host}") for row in arena.read().rows)


def lose_answers(arena: Arena) -> None:
    """One answer in five of the ledger is lost after the commit, in every worker."""
    for worker in arena.workers():
        signal_process(worker, signal.SIGTERM)
    with arena.changed(**{LOST_ANSWERS: "0.2"}):
        time.sleep(4)
    for worker in arena.workers():
        signal_process(worker, signal.SIGTERM)


def kill_tools(arena: Arena) -> None:
    """Kill tools at work, not their workers."""
    for _ in range(5):
        begun = [trace for trace in arena.world.traces() if trace.kind == "begin"]
        ended = {trace.pid for trace in arena.world.traces() if trace.kind == "end"}
        for trace in begun[-10:]:
            if trace.pid not in ended and is_tool(trace.pid, arena.world.path):
                with suppress(ProcessLookupError):
                    os.kill(trace.pid, signal.SIGKILL)
        time.sleep(0.2)


def is_tool(pid: int, world: Path) -> bool:
    """Whether that process is a tool of this world now."""
    try:
        return str(world).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def run_rogues(arena: Arena) -> None:
    """Tools that crash, will not end, leave children behind and write without end."""
    for number, name in enumerate(ROGUES):
        tag = f"rogue-{name}-{arena.seed}"
        parameters = {"world": str(arena.world.path), "step": f"{tag}/s0"}
        step = {"tool": "rogue", "operation": name, "id": "s0", "parameters": parameters}
        arena.submit({"name": tag, "steps": [step | {"targets": OWN_HOSTS[number]}]})
    arena.wait_until(lambda: not _open_rogues(arena), 20)
    left = [t.pid for t in arena.world.traces() if is_tool(t.pid, arena.world.path)]
    alive = [t for t in arena.world.traces() if t.pid in left and "rogue-" in t.step]
    arena.note(*(f"{trace.step} left process {trace.pid} behind" for trace in alive))


def _open_rogues(arena: Arena) -> list[int]:
    rows = arena.read().rows
    return [r["id"] for r in rows if "rogue-" in r["plan"] and r["state"] in {"queued", "running"}]


def _slow_plan(arena: Arena, tag: str, before: float) -> dict[str, Any]:
    """Two steps that must not repeat; the first takes its time before its effect."""
    steps = [
        {
            "tool": "trace",
            "operation": "once",
            "id": key,
            "targets": OWN_HOSTS[-1],
            "parameters": {
                "world": str(arena.world.path),
                "step": f"{tag}/{key}",
                "before": str(wait_s),
                "canary": {"$secret": SECRET},
            },
        }
        for key, wait_s in (("s0", before), ("s1", 0))
    ]
    return {"name": tag, "steps": steps}


def speak_for_others(arena: Arena) -> None:
    """Somebody without the token says that a running step is done."""
    tag = f"foreign-{arena.seed}-{arena.dice.random()}"
    execution = arena.submit(_slow_plan(arena, tag, before=1.5))
    running = partial(_find_rows, arena, execution, "running")
    arena.wait_until(running)
    for row in running():
        arena.ask(
            "select finish_step(:id, :token, 'succeeded', null, '{}', null, 0)",
            id=row["id"],
            token=str(uuid4()),
        )


def _find_rows(arena: Arena, execution: UUID | None, state: str) -> list[Mapping[str, Any]]:
    rows = arena.read().rows
    return [r for r in rows if r["execution_id"] == str(execution) and r["state"] == state]


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
            time.sleep(0.3)  # the second waits on the first one's commit, if anything holds it
            one.commit()
            both = held and other.result()
            two.commit()
    one.close()
    two.close()
    if both:
        arena.note("one host was given to two workers at once")
    for number in executions:
        arena.farm.parts.ledger.cancel_execution(number, "ops", "the race is over", 8)


def _claim(arena: Arena, connection: Any, row: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select claim_step(%s, 0, gen_random_uuid(), 'racer', %s) is not null",
            [row, [arena.farm.queue("network")]],
        )
        return bool(cursor.fetchone()[0])


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
    Fault("kill both beats in turn", kill_beats, fast=True),
    Fault("kill redis, aof off", kill_redis("off"), broker="redis", fast=True),
    Fault("kill redis, aof everysec", kill_redis("everysec"), broker="redis"),
    Fault("kill redis, aof always", kill_redis("always"), broker="redis"),
    Fault("flushall", flush_redis, broker="redis", fast=True),
    Fault("redis out of memory", fill_redis, broker="redis", fast=True),
    Fault("restart postgres", restart_postgres, fast=True),
    Fault("postgres away for 4 s", stop_postgres(4)),
    Fault("every message three times", treble_messages, fast=True),
    Fault("forged messages", forge_messages, fast=True),
    Fault("malformed messages", send_malformed, fast=True),
    Fault("restart rabbitmq", restart_rabbitmq, broker="rabbitmq", fast=True),
    Fault("postgres away for 90 s", stop_postgres(90), once=True),
    Fault("cancel at every phase", cancel_everything, fast=True),
    Fault("ledger's answers lost after commit", lose_answers, fast=True),
    Fault("worker cut off from broker", cut_off("broker"), plans=40, fast=True),
    Fault("worker cut off from postgres", cut_off("postgres"), plans=40, fast=True),
    Fault("kill tools", kill_tools, fast=True),
    Fault("rogue tools", run_rogues),
    Fault("words with a foreign token", speak_for_others, fast=True),
    Fault("two claims race for a host", race_for_host, fast=True),
)
