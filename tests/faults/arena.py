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
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.errors import Conflict, Unavailable
from app.step import Credential, Secret
from app.store.decisions import Resolution
from app.store.inventory import create_asset
from tests.faults.canary import make_canary
from tests.faults.checker import Ledger, find_breaches, is_settled, read_ledger
from tests.faults.messages import reach_into
from tests.faults.plans import HOSTS, OWN_HOSTS, SECRET, make_plan, make_step
from tests.faults.process import TRIGGERS
from tests.faults.verdict import Verdict, sum_up
from tests.faults.world import World, write_tool
from tests.lab.farm import Farm, Process
from tests.lab.rabbitmq import RabbitMq
from tests.lab.real_farm import Servers
from tests.lab.sshd import Sshd

#: A supervisor's farm: two of each, so that one may die while the other serves.
PROCESSES = ("automation", "automation", "dispatcher", "dispatcher")
#: A submit is tried for so long.
SUBMIT_S = 60.0
#: Between two looks at the ledger: often enough, and cheap beside what is looked at.
POLL_S = 0.05
_TRIES_S = 20.0


@dataclass
class Arena(AbstractContextManager["Arena"]):
    """`with Arena(folder, seed) as arena: arena.play("nothing", lambda arena: None)`."""

    folder: Path
    seed: int
    #: The broker; None: the Redis among the arena's own servers.
    rabbitmq: RabbitMq | None = None
    #: That Redis, where it is not the embedded one.
    redis_program: str | None = None
    more: dict[str, str] = field(default_factory=dict)
    #: How long the farm has to come to rest after a fault.
    settle_s: float = 120.0

    def __enter__(self) -> Self:
        self.servers = Servers(self.folder / "servers", self.redis_program)
        self.dice = random.Random(self.seed)
        self.canary = make_canary()
        self.world = World(self.folder / "world")
        self.triggers = self.folder / "triggers"
        self.triggers.mkdir()
        self._noted: list[str] = []
        self._told: set[str] = set()
        self._seen_texts: list[str] = []
        self._changes: dict[str, str] = {}
        write_tool(self.folder / "farm" / "tools")
        self.farm = self._make_farm()
        self._fill_inventory()
        self.accepted: list[UUID] = []
        #: The host behind a real sshd, once a fault asked for it.
        self.far: Sshd | None = None
        #: What a fault started and is kept until the end.
        self.kept = ExitStack()
        self._stopped = threading.Event()
        self._roles: list[tuple[str, Process]] = [(name, self.start(name)) for name in PROCESSES]
        self._keeper = threading.Thread(target=self._keep_alive, daemon=True)
        self._keeper.start()
        assert self.wait_until(lambda: "automation" in self.farm.pools_up(), 60)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopped.set()
        self._keeper.join()
        self.farm.close()
        self.kept.close()
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
            time.sleep(POLL_S)
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

    def submit_steps(self, tag: str, *steps: dict[str, Any], **plan: Any) -> UUID:
        """Hand in a fault's own plan, made of `step`."""
        execution = self.submit({"name": tag, "steps": list(steps), **plan})
        assert execution is not None, f"{tag} was not accepted"
        return execution

    def step(self, tag: str, key: str, host: str, operation: str = "once", **more: Any) -> Any:
        """A step of a plan of that name, see `plans.make_step`."""
        return make_step(str(self.world.path), f"{tag}/{key}", host, operation, **more)

    def new_tag(self, what: str) -> str:
        """A plan name that nobody had."""
        return f"{what}-{self.seed}-{secrets.token_hex(3)}"

    def rows_of(self, execution: UUID) -> list[Mapping[str, Any]]:
        """The rows of one execution now."""
        return self.read().rows_of(str(execution))

    def state_of(self, execution: UUID) -> str:
        """The state of one execution now."""
        found = [each for each in self.read().executions if each["id"] == str(execution)]
        return str(found[0]["state"]) if found else "unknown"

    def play(
        self, name: str, fault: Callable[["Arena"], None], plans: int = 16, *, apart: bool = False
    ) -> Verdict:
        """Hand in plans, hurt the farm among them, wait, judge. `apart`: no two plans meet."""
        before = {row["id"] for row in self.read().rows}
        self._handed_in = len(self.accepted)
        sender = threading.Thread(target=self._send, args=(plans, name, apart), daemon=True)
        sender.start()
        self.wait_until(lambda: self._is_under_way(plans))
        self._peek()
        hurt_at = time.time()
        fault(self)
        self._peek()
        sender.join()
        settled = self.wait_until(lambda: is_settled(self.read(only_open=True)), self.settle_s)
        ledger = self.read(whole=True)
        breaches = [*self._judge_anew(ledger), *self._noted, *self._unnamed_waits()]
        self._noted.clear()
        if not settled:
            breaches.append(f"not settled after {self.settle_s:g} s; {self._tell()}")
        verdict = sum_up(name, ledger, before, hurt_at, breaches)
        self._release_interrupted(ledger)
        return verdict

    def judge(self, ledger: Ledger) -> list[str]:
        """Every breach of an invariant, now."""
        accepted = [str(number) for number in self.accepted]
        return find_breaches(ledger, self.world, accepted, self._other_texts(), self.canary)

    def _judge_anew(self, ledger: Ledger) -> list[str]:
        """As `judge`, without what was told before: the world forgets nothing."""
        found = [each for each in self.judge(ledger) if each not in self._told]
        self._told.update(found)
        return found

    def read(self, *, only_open: bool = False, whole: bool = False) -> Ledger:
        """The ledger's tables; waits for a server that is on its way back."""
        deadline = time.monotonic() + _TRIES_S
        while True:
            try:
                return read_ledger(self.dsn, only_open=only_open, whole=whole)
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

    def _peek(self) -> None:
        """Keep what lies in the broker now: when all has settled it is empty."""
        with suppress(Exception):  # a broker that is away, in any library's words
            self._seen_texts += reach_into(self.farm).texts()

    def _other_texts(self) -> Iterator[str]:
        self._peek()
        yield from self._seen_texts
        self._seen_texts.clear()
        for process in self.farm.processes:
            yield process.log.read_text(errors="replace")

    def _unnamed_waits(self) -> list[str]:
        """Held rows of which people are not told who holds them."""
        unnamed: list[str] = []

        def look() -> bool:
            # Again: a late result may free a host between the two looks.
            ledger = self.read(only_open=True)
            unnamed[:] = [
                text for each in ledger.executions for text in self._ask_waits(each["id"])
            ]
            return not unnamed

        self.wait_until(look, 3)
        return unnamed

    def _ask_waits(self, execution: str) -> Iterator[str]:
        shown = self.farm.read(UUID(execution))
        for row in (row for step in shown["steps"] for row in step["results"]):
            holder = row["blocked_by"] or {}
            if row["state"] == "queued" and holder.get("state") != "interrupted":
                yield f"{shown['name']}: a row waits and names no step that waits for a person"

    def _release_interrupted(self, ledger: Ledger) -> None:
        """A person looks and decides, so that the next fault finds free hosts."""
        for row in ledger.rows:
            if row["state"] == "interrupted":
                with suppress(Conflict):  # its late result came just now
                    self.farm.parts.decisions.resolve_step(
                        UUID(row["execution_id"]),
                        row["id"],
                        Resolution.FAILED,
                        actor="ops",
                        reason="looked at the fake world",
                        send=0,
                    )

    def _is_under_way(self, plans: int) -> bool:
        """Whether a third of the plans is there."""
        return len(self.accepted) >= self._handed_in + plans // 3

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
