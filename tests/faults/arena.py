"""A farm on servers of its own that can be hurt: real processes, watched and started again.

`Arena.play` hands in plans, lets a fault happen among them, waits until everything settled and
lets the checker compare ledger and world.
"""

import random
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.errors import Unavailable
from app.step import Credential, Secret
from app.store.inventory import create_asset
from tests.faults.checker import Ledger, find_breaches, is_settled, read_ledger
from tests.faults.plans import HOSTS, OWN_HOSTS, SECRET, make_plan
from tests.faults.process import TRIGGERS
from tests.faults.world import World, write_tool
from tests.lab.farm import Farm, Process
from tests.lab.rabbitmq import RabbitMq
from tests.lab.real_farm import Servers

#: A supervisor's farm: two of each, so that one may die while the other serves.
PROCESSES = ("automation", "automation", "dispatcher", "dispatcher")
#: A submit is tried for so long.
SUBMIT_S = 60.0
#: How long plans are handed in before the fault falls.
WARM_UP_S = 0.5
_TRIES_S = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a fault did: one row of the table."""

    fault: str
    plans: int
    rows: int
    lost: int
    doubled: int
    interrupted: int
    #: Rows that had to be published more than once.
    resent: int
    #: From the fault to the end of the plans that were open then, seconds.
    recovery_p95_s: float
    breaches: tuple[str, ...] = ()


@dataclass
class Arena(AbstractContextManager["Arena"]):
    """`with Arena(folder, seed) as arena: arena.play("nothing", lambda arena: None)`."""

    folder: Path
    seed: int
    #: The broker; None: the Redis among the arena's own servers.
    rabbitmq: RabbitMq | None = None
    more: dict[str, str] = field(default_factory=dict)
    #: How long the farm has to come to rest after a fault.
    settle_s: float = 120.0

    def __enter__(self) -> Self:
        self.servers = Servers(self.folder / "servers")
        self.dice = random.Random(self.seed)
        self.canary = secrets.token_hex(16)
        self.world = World(self.folder / "world")
        self.triggers = self.folder / "triggers"
        self.triggers.mkdir()
        self._noted: list[str] = []
        self._changes: dict[str, str] = {}
        write_tool(self.folder / "farm" / "tools")
        self.farm = self._make_farm()
        self._fill_inventory()
        self.accepted: list[UUID] = []
        self._stopped = threading.Event()
        self._roles: list[tuple[str, Process]] = [(name, self.start(name)) for name in PROCESSES]
        self._keeper = threading.Thread(target=self._keep_alive, daemon=True)
        self._keeper.start()
        assert self.wait_until(lambda: "automation" in self.farm.pools_up())
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopped.set()
        self._keeper.join()
        self.farm.close()
        self.servers.__exit__()

    @property
    def broker_is_redis(self) -> bool:
        """Whether faults of Redis make sense here."""
        return self.rabbitmq is None

    def start(self, name: str, *prefix: str, **more: str) -> Process:
        """Start a process of the farm that can break; `prefix` stands before its argv."""
        entry = (*prefix, sys.executable, "-m", "tests.faults.process")
        return self.farm.start(name, *entry, wait=False, **(self._changes | more))

    def workers(self, name: str = "automation") -> list[Process]:
        """The living processes of a role."""
        return [process for role, process in list(self._roles) if role == name]

    def pull(self, trigger: str, count: int = 1) -> None:
        """Let the next process that comes to this point break, so many times."""
        for _ in range(count):
            (self.triggers / trigger).touch()
            self.wait_until(lambda: not (self.triggers / trigger).exists(), timeout_s=5)

    def wait_until(self, happened: Callable[[], Any], timeout_s: float = _TRIES_S) -> bool:
        """Whether it happened in time; nobody fails for it."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def submit(self, plan: dict[str, Any]) -> UUID | None:
        """Hand a plan in with a key, again and again until it is accepted; None in vain."""
        key, deadline = secrets.token_hex(8), time.monotonic() + SUBMIT_S
        while time.monotonic() < deadline:
            with suppress(Unavailable):
                accepted = self.farm.submit(*plan["steps"], key=key, **_without_steps(plan))
                self.accepted.append(accepted.execution_id)
                return accepted.execution_id
            time.sleep(0.1)
        return None

    def play(
        self, name: str, fault: Callable[["Arena"], None], plans: int = 16, *, apart: bool = False
    ) -> Verdict:
        """Hand in plans, hurt the farm among them, wait, judge. `apart`: no two plans meet."""
        before = {row["id"] for row in self.read().rows}
        sender = threading.Thread(target=self._send, args=(plans, name, apart))
        sender.start()
        time.sleep(WARM_UP_S)
        hurt_at = time.time()
        fault(self)
        sender.join()
        settled = self.wait_until(lambda: is_settled(self.read()), self.settle_s)
        ledger = self.read()
        breaches = [*self.judge(ledger), *self._noted]
        self._noted.clear()
        if not settled:
            breaches.append(f"not settled after {self.settle_s:g} s; {self._tell()}")
        verdict = self._sum_up(name, ledger, before, hurt_at, breaches)
        self._release_interrupted()
        return verdict

    def judge(self, ledger: Ledger) -> list[str]:
        """Every breach of an invariant, now."""
        accepted = [str(number) for number in self.accepted]
        return find_breaches(ledger, self.world, accepted, self._other_texts(), self.canary)

    def read(self) -> Ledger:
        """The ledger's tables; waits for a server that is on its way back."""
        deadline = time.monotonic() + _TRIES_S
        while True:
            try:
                return read_ledger(self.dsn)
            except Exception:  # whatever psycopg2 says of a server that is away
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @property
    def dsn(self) -> str:
        """The database as psycopg2 takes it."""
        return self.servers.postgres.url.replace("+psycopg2", "")

    def note(self, *breaches: str) -> None:
        """What a fault saw itself that must not be."""
        self._noted += breaches

    @contextmanager
    def changed(self, **settings: str) -> Iterator[None]:
        """Processes that start meanwhile have these settings."""
        kept, self._changes = self._changes, settings
        yield
        self._changes = kept

    def ask(self, query: str, **values: Any) -> None:
        """Say something to the database, as anybody might who reaches it."""
        with self.farm.parts.autocommit.connect() as connection:
            connection.execute(text(query), values)

    def change_schema(self, statement: str) -> None:
        """Alter the database under the farm's feet (negative controls)."""
        connection = psycopg2.connect(self.dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def function_text(self, name: str) -> str:
        """The source of one SQL function."""
        engine = create_engine(self.servers.postgres.url)
        with engine.connect() as connection:
            query = text("select pg_get_functiondef(oid) from pg_proc where proname = :name")
            found = str(connection.execute(query, {"name": name}).scalar_one())
        engine.dispose()
        return found

    def _make_farm(self) -> Farm:
        return Farm(
            self.servers.postgres.url,
            self.rabbitmq.url if self.rabbitmq else self.servers.redis.url,
            self.folder / "farm",
            **{TRIGGERS: str(self.triggers), **self.more},
        )

    def _fill_inventory(self) -> None:
        self.farm.parts.vault.put_secret("default", SECRET, Secret(self.canary))
        with Session(self.farm.parts.engine) as session, session.begin():
            session.info.update(tenant="default", actor="test", execution_id=None, step_id=None)
            for host in (*HOSTS, *OWN_HOSTS):
                create_asset(session, {"hostname": host})
        for host in (*HOSTS, *OWN_HOSTS):
            login = Credential(host, "ops", password=Secret(self.canary))
            self.farm.parts.vault.put_credential("default", f"{host}-login", login, host)

    def _send(self, plans: int, name: str, apart: bool) -> None:
        for number in range(plans):
            tag = f"{name.replace(' ', '-')}-{self.seed}-{number}-{secrets.token_hex(2)}"
            hosts = OWN_HOSTS[number : number + 1] if apart else HOSTS
            self.submit(make_plan(self.dice, tag, str(self.world.path), hosts))
            time.sleep(0.05)

    def _keep_alive(self) -> None:
        """What a supervisor does: a process that ended is started again."""
        while not self._stopped.wait(0.1):
            for place, (name, process) in enumerate(self._roles):
                if not process.is_alive:
                    self._roles[place] = (name, self.start(name))

    def _other_texts(self) -> Iterator[str]:
        for process in self.farm.processes:
            yield process.log.read_text(errors="replace")
        if self.broker_is_redis:
            client = self.servers.client
            for key in client.scan_iter("*"):
                yield str(client.dump(key))

    def _sum_up(
        self, name: str, ledger: Ledger, before: set[int], hurt_at: float, breaches: list[str]
    ) -> Verdict:
        rows = [row for row in ledger.rows if row["id"] not in before]
        ids = {row["execution_id"] for row in rows}
        ends = sorted(
            each["finished_at"].timestamp() - hurt_at
            for each in ledger.executions
            if each["id"] in ids
            and each["finished_at"]
            and each["finished_at"].timestamp() > hurt_at
        )
        return Verdict(
            fault=name,
            plans=len(ids),
            rows=len(rows),
            lost=sum("for ever" in text or "not in the ledger" in text for text in breaches),
            doubled=sum("must not repeat" in text for text in breaches),
            interrupted=sum(row["state"] == "interrupted" for row in rows),
            resent=sum(row["sends"] > 1 for row in rows),
            recovery_p95_s=ends[int(len(ends) * 0.95)] if ends else 0.0,
            breaches=tuple(breaches),
        )

    def _release_interrupted(self) -> None:
        """A person looks and decides, so that the next fault finds free hosts."""
        for row in self.read().rows:
            if row["state"] == "interrupted":
                self.change_schema(
                    f"select settle({row['id']}, null, '{{interrupted}}', 'failed', 'stopped',"
                    " '{}', null, 0)"
                )

    def _tell(self) -> str:
        open_rows = [
            f"{row['plan']}/{row['key']} {row['state']}"
            for row in self.read().rows
            if row["state"] in {"queued", "running", "due"}
        ]
        return f"open: {open_rows[:10]}"


def _without_steps(plan: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plan.items() if key != "steps"}


def signal_process(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        process.send(number)
