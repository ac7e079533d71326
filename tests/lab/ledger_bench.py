"""A real ledger without anything around it: plans go straight in, the test plays every part."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, insert, text

from app.plan import CheckedPlan, CheckedRow, CheckedStep
from app.principal import Principal, Role
from app.step import State, Step, StepResult, Target
from app.store.approvals import Approvals
from app.store.decisions import Decisions
from app.store.ledger import Finished, Ledger, Opened, Sending, Submission, call
from app.store.models import Principal as PrincipalRow
from app.store.outbox import Lease, Outbox, Unrun
from app.store.records import Records
from tests.lab.shapes import Batches, Entry, LateBlock, lay_out
from tool_catalog.model import Effect, Reason, Repeat

TENANT = "default"
WORKER = "automation@test"
QUEUES = ("automation",)
WAIT_S = 10
#: The tables that the ledger's functions write.
WRITTEN = (
    "executions",
    "steps",
    "approvals",
    "events",
    "failure_counts",
    "dropouts",
    "cap_starts",
)


def make_step(key: str = "read", **members: Any) -> CheckedStep:
    """A checked step; `rows`: on how many targets; `make_plan` places it."""
    count = members.pop("rows", 1)
    mutex = members.pop("mutex", None)
    domain = members.pop("domain", "automation")
    rows = tuple(
        CheckedRow({}, Target(f"host-{n}") if count > 1 else None, mutex) for n in range(count)
    )
    standard = {
        "position": 0,
        "stage": 0,
        "section": "main",
        "tool": key,
        "operation": "run",
        "domain": domain,
        "queue": domain,
        "effect": Effect.READ,
        "repeat": Repeat.READ,
        "dynamic": False,
        "on_failure": "stop",
        "timeout_s": 30.0,
        "queue_timeout_s": 3600.0,
        "max_retries": 0,
        "backoff_s": 0.0,
        "rows": rows,
    }
    return CheckedStep(key=key, **{**standard, **members})


def make_change(key: str = "change", **members: Any) -> CheckedStep:
    """A step that must not run twice."""
    return make_step(key, **{"effect": Effect.CHANGE, "repeat": Repeat.NEVER, **members})


def make_plan(*entries: Entry | Batches | LateBlock, last: tuple = (), digest="d") -> CheckedPlan:
    """Each entry in stages of its own; `last` is the plan's `finally`."""
    main = lay_out(entries)
    behind = max((step.position for step in main), default=0)
    stages = max((step.stage for step in main), default=-1) + 1
    ending = [replace(each, section="finally") for each in lay_out(last, behind + 1, stages)]
    return CheckedPlan("plan", digest, {}, (*main, *ending))


def done(state: State = State.SUCCEEDED, reason: Reason | None = None, **members) -> StepResult:
    """What a worker found."""
    return StepResult(state, "done", reason, **members)


FAILED = done(State.FAILED, Reason.EXIT_CODE)


@dataclass
class LedgerBench:
    """Every part of the farm that speaks to the ledger, played by hand."""

    engine: Engine
    principal: Principal = field(init=False)

    def __post_init__(self) -> None:
        self.autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.ledger = Ledger(self.autocommit)
        self.outbox = Outbox(self.autocommit)
        self.decisions = Decisions(self.autocommit)
        self.records = Records(self.autocommit)
        self.approvals = Approvals(self.autocommit)
        self.principal = self.add_principal("ops")

    def add_principal(self, name: str, role: Role = Role.OPERATOR) -> Principal:
        """Somebody who may run plans; nobody logs in here, so the key is none."""
        row = insert(PrincipalRow).values(
            name=name, role=role.value, key_prefix=uuid4().hex, key_hash=b""
        )
        with self.engine.begin() as connection:
            number = connection.execute(row.returning(PrincipalRow.id)).scalar_one()
        return Principal(number, name, role)

    def submit(self, plan: CheckedPlan, *, key=None, send=64, principal=None, ask=None) -> Opened:
        """Write an execution down."""
        asked = Submission(uuid4(), principal or self.principal, "test", key, ask)
        return self.ledger.open_execution(plan, asked, send)

    def open(self, *steps: Entry | Batches | LateBlock, last: tuple = (), send=64) -> UUID:
        """An execution of these steps."""
        return self.submit(make_plan(*steps, last=last), send=send).execution_id

    def expand(self, step_id: int, *steps: CheckedStep, send=64, ask=None) -> Sending:
        """Put these steps in a due row's place."""
        return self.outbox.expand_step(step_id, steps, send, ask)

    def end_due(self, step_id: int, state=State.SKIPPED, reason=None, summary="when", send=64):
        """End a due row without running it."""
        return self.outbox.settle_due(step_id, Unrun(state, summary, reason), send)

    def ask(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Rows of a plain query."""
        with self.autocommit.connect() as connection:
            found = connection.execute(text(query), values)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def rows(self, execution_id: UUID, key: str | None = None) -> list[dict[str, Any]]:
        """Step rows in order; those of one step when its key is given."""
        return self.ask(
            "select * from steps where execution_id = :id and (:key = '' or key = :key)"
            " order by stage, target_index, id",
            id=execution_id,
            key=key or "",
        )

    def states(self, execution_id: UUID) -> list[str]:
        """The states of all step rows, in order."""
        return [row["state"] for row in self.rows(execution_id)]

    def execution(self, execution_id: UUID) -> dict[str, Any]:
        """The execution's own row."""
        return self.ask("select * from executions where id = :id", id=execution_id)[0]

    def state(self, execution_id: UUID) -> str:
        """The execution's state as stored."""
        return self.execution(execution_id)["state"]

    def events(self, execution_id: UUID) -> list[str]:
        """Kinds of its events, in the order that they were written."""
        found = self.ask(
            "select kind from events where execution_id = :id order by id", id=execution_id
        )
        return [row["kind"] for row in found]

    def step_id(self, execution_id: UUID, key: str, index: int = 0) -> int:
        """Id of one row."""
        return self.rows(execution_id, key)[index]["id"]

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Every row that the ledger holds, whole."""
        return {
            table: self.ask(f"select * from {table} order by 1, {table}::text") for table in WRITTEN
        }

    @contextmanager
    def unchanged(self):
        """What happens inside must be refused without a trace."""
        before = self.snapshot()
        yield
        assert self.snapshot() == before

    def claim(self, execution_id: UUID, key: str, index: int = 0, **as_whom: Any) -> Step | None:
        """Try to claim a row as the message of its present attempt would."""
        row = self.rows(execution_id, key)[index]
        return self.claim_row(row["id"], row["attempt"], **as_whom)

    def claim_row(self, step_id, attempt, *, worker=WORKER, queues=QUEUES) -> Any:
        """Claim by the two numbers of a message."""
        return self.ledger.claim_step(step_id, attempt, uuid4(), worker, queues)

    def take(self, execution_id: UUID, key: str, index: int = 0) -> Step:
        """Claim a row that must be claimable."""
        step = self.claim(execution_id, key, index)
        assert isinstance(step, Step)
        return step

    def finish(
        self, step: Step, result: StepResult | None = None, *, link=None, send=64
    ) -> Finished:
        """Say that a claimed step has ended."""
        return self.ledger.finish_step(step, result or done(), link=link, send=send)

    def run(self, execution_id: UUID, key: str, result: StepResult | None = None) -> Finished:
        """Claim and finish a row."""
        finished = self.finish(self.take(execution_id, key), result)
        assert finished.accepted
        return finished

    def cancel(self, execution_id: UUID, send: int = 64):
        """Ask for a stop: ({accepted, ...}, what to publish)."""
        return self.ledger.cancel_execution(execution_id, "ops", "why not", send)

    def lease(self, step: Step) -> Lease:
        """The step's lease as a sweeper would see it now."""
        return next(lease for lease in self.outbox.leases() if lease.step_id == step.id)

    def reap(self, step: Step, starts: int = 3, backoff_s: float = 0.0) -> str | None:
        """Take a claimed step away from its worker; the state that it went to."""
        return self.outbox.reap_step(self.lease(step), starts, backoff_s)[0]

    @contextmanager
    def session(self):
        """A connection in a transaction that ends with the block."""
        with self.engine.begin() as connection:
            yield connection

    def wait_for_lock(self) -> None:
        """Return once some other session of this database waits for a lock."""
        wait_until(self.is_waiting)

    def is_waiting(self) -> bool:
        """Whether some session of this database waits for a lock."""
        return bool(
            self.ask(
                "select 1 from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
        )


def sql_claim(connection: Connection, step_id: int, attempt: int) -> Any:
    """Claim inside the caller's transaction."""
    return call(connection, "claim_step", step_id, attempt, uuid4(), WORKER, list(QUEUES))


def wait_until(happened: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Poll for something outside this process."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class InThread:
    """A call that may block, in a thread; `result()` joins it and gives what it gave."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._given: list[Any] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, arguments))
        self._thread.start()

    def _run(self, function, arguments) -> None:
        try:
            self._given.append(function(*arguments))
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            self._error = error

    def is_over(self) -> bool:
        """Whether the call has come back."""
        return not self._thread.is_alive()

    def result(self) -> Any:
        """Wait for the end; raises what the call raised."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the call is stuck"
        if self._error is not None:
            raise self._error
        return self._given[0]


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run these calls in threads that begin together; their results, in order."""
    barrier = threading.Barrier(len(calls))

    def begin(function):
        barrier.wait(WAIT_S)
        return function()

    return [thread.result() for thread in [InThread(begin, each) for each in calls]]


def make_reversal(row: Mapping[str, Any], position: int, stage: int, **members: Any) -> CheckedStep:
    """The step that reverses a row."""
    target = Target(row["target"]["name"]) if row["target"] else None
    step = make_change(
        f"undo:{row['key']}",
        position=position,
        stage=stage,
        block=row["free_block"],
        max_failures=100,
        block_on_failure="continue",
        **members,
    )
    return replace(step, rows=(CheckedRow({}, target, undoes=row["id"]),))
