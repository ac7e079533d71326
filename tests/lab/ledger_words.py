"""The ledger's words, each inside the caller's transaction, said of a row in a known state."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from app.plan import Ask, Need
from app.step import State, Step
from app.store.ledger import call
from app.store.rows import expansion_json
from tests.lab.ledger_bench import (
    FAILED,
    QUEUES,
    WORKER,
    LedgerBench,
    done,
    make_change,
    make_plan,
    make_step,
)
from tests.lab.ledger_bench import sql_claim as claim_row
from tool_catalog.model import Reason

UNKNOWN = done(State.FAILED, Reason.TIMEOUT, unknown=True)
ASK = Ask("digest", {}, expires_s=3600, need=Need("other", {"approver": 1}))
QUEUE = QUEUES[0]


@dataclass
class Scene:
    """A row that was brought into a state, and what must be known to speak of it."""

    bench: LedgerBench
    execution: UUID
    #: Of the row that it is about, with key "a".
    row: int
    attempt: int = 0
    #: As its worker holds it.
    step: Step | None = None
    approval: int = 0
    #: Somebody who may approve.
    approver: int = 0

    @property
    def token(self) -> UUID:
        """The holder's, else one that nobody gave out."""
        return self.step.token if self.step else uuid4()

    @property
    def state(self) -> str:
        """Of the row, as stored."""
        return str(self.bench.rows(self.execution, "a")[0]["state"])


#: Says something of a scene's row; what the ledger answered.
Word = Callable[[Connection, Scene], Any]


def arrive(bench: LedgerBench, state: str, **members: Any) -> Scene:
    """A row "a" in this state, by the ways that lead there; "armed" is a running one that armed.

    Nothing stands behind it in its plan, so a final row's execution is final.
    """
    if state in {"pending", "skipped"}:
        execution = bench.open(make_step("first"), make_change("a", **members))
        if state == "skipped":
            bench.run(execution, "first", FAILED)
    elif state == "due":
        execution = bench.open(make_change("a", dynamic=True, template={}, **members))
    elif state == "waiting":
        return _ask(bench, **members)
    else:
        execution = bench.open(make_change("a", **members))
    scene = Scene(bench, execution, bench.step_id(execution, "a"))
    if state == "cancelled":
        bench.cancel(execution)
    elif state in {"running", "armed", "interrupted", "succeeded", "failed"}:
        _begin(scene, state)
    assert scene.state == ("running" if state == "armed" else state)
    return scene


def _ask(bench: LedgerBench, **members: Any) -> Scene:
    execution = bench.submit(make_plan(make_change("a", **members)), ask=ASK).execution_id
    [approval] = bench.approvals.of_execution("default", execution)
    approver = bench.add_principal(f"approver-{uuid4().hex}").id
    row = bench.step_id(execution, "a")
    return Scene(bench, execution, row, approval=approval["id"], approver=approver)


def _begin(scene: Scene, state: str) -> None:
    bench = scene.bench
    step = bench.take(scene.execution, "a")
    scene.step, scene.attempt = step, step.attempt
    if state in {"armed", "interrupted"}:
        assert bench.ledger.arm_step(step)
    if state == "interrupted":
        assert bench.ledger.interrupt_step(step, UNKNOWN)
    elif state in {"succeeded", "failed"}:
        assert bench.finish(step, done() if state == "succeeded" else FAILED).accepted


def took(answer: Any) -> bool:
    """Whether the ledger did what was asked."""
    if isinstance(answer, dict):
        return bool(answer.get("accepted", answer.get("reaped", True)))
    return bool(answer)


def claim(connection: Connection, scene: Scene) -> Any:
    """By the message of the row's present attempt."""
    return claim_row(connection, scene.row, scene.attempt)


def arm(connection: Connection, scene: Scene) -> Any:
    return call(connection, "arm_step", scene.row, scene.token)


def finish(connection: Connection, scene: Scene) -> Any:
    return call(connection, "finish_step", scene.row, scene.token, "succeeded", None, "{}", None, 0)


def fail(connection: Connection, scene: Scene) -> Any:
    return call(
        connection, "finish_step", scene.row, scene.token, "failed", "exit_code", "{}", None, 0
    )


def retry(connection: Connection, scene: Scene) -> Any:
    return call(connection, "retry_step", scene.row, scene.token, "exit_code", "{}", True)


def interrupt(connection: Connection, scene: Scene) -> Any:
    return call(connection, "interrupt_step", scene.row, scene.token, "timeout", "{}")


def release(connection: Connection, scene: Scene) -> Any:
    return call(connection, "release_step", scene.row, scene.token)


def reap(connection: Connection, scene: Scene) -> Any:
    return call(connection, "reap_step", scene.row, scene.token, 0, 3, 0.0)


def resolve(resolution: str) -> Word:
    """A person's word for how the row ended."""

    def say(connection: Connection, scene: Scene) -> Any:
        return call(
            connection, "resolve_step", scene.execution, scene.row, resolution, "ann", "", 0
        )

    return say


def probe(found: str) -> Word:
    """What a worker found that was asked when nothing of the effect was on its way any more."""

    def say(connection: Connection, scene: Scene) -> Any:
        asked_at = "2999-01-01 00:00Z"
        return call(connection, "probe_step", scene.row, scene.token, found, asked_at, "{}", 0.0, 0)

    return say


def ask_probe(connection: Connection, scene: Scene) -> Any:
    return call(connection, "ask_probe", scene.execution, scene.row, "ann", "", "")


def take_probes(connection: Connection, _scene: Scene) -> Any:
    return call(connection, "take_probes", QUEUE, 64, 0.0)


def expand(connection: Connection, scene: Scene) -> Any:
    rendered = json.dumps(expansion_json([make_change("a", position=1)]))
    return call(connection, "expand_step", scene.row, rendered, None, 0)


def skip(connection: Connection, scene: Scene) -> Any:
    return call(connection, "settle_due", scene.row, "skipped", None, "when", 0)


def approve(connection: Connection, scene: Scene) -> Any:
    who = json.dumps({"id": scene.approver, "name": "ann", "groups": ["approver"], "from": ""})
    return call(connection, "approve", "default", scene.approval, "digest", who, "", 0)


def reject(connection: Connection, scene: Scene) -> Any:
    who = json.dumps({"id": scene.approver, "name": "ann", "groups": ["approver"], "from": ""})
    return call(connection, "end_approval", "default", scene.approval, "rejected", who, "no", 0)


def expire_approvals(connection: Connection, _scene: Scene) -> Any:
    return call(connection, "expire_approvals", 100)


def resume(connection: Connection, scene: Scene) -> Any:
    return call(connection, "resume_execution", scene.execution, False, "ann", "", 0)


def requeue(connection: Connection, scene: Scene) -> Any:
    return call(connection, "requeue_step", "default", scene.row, "ann", "", 0)


def discard(connection: Connection, scene: Scene) -> Any:
    return call(connection, "discard_step", "default", scene.row, "ann", "")


def undo(connection: Connection, scene: Scene) -> Any:
    return call(connection, "undo_execution", scene.execution, "ann", "")


def cancel(connection: Connection, scene: Scene) -> Any:
    return call(connection, "cancel_execution", scene.execution, "ops", "", 0)


def expire_queued(connection: Connection, _scene: Scene) -> Any:
    return call(connection, "expire_queued", 100)


def take_unsent(connection: Connection, _scene: Scene) -> Any:
    """What was never published."""
    return call(connection, "take_unsent", QUEUE, 64, None)


def resend(connection: Connection, _scene: Scene) -> Any:
    """What was published and seems to be lost."""
    return call(connection, "take_unsent", QUEUE, 64, 0.0)


def unsend(connection: Connection, _scene: Scene) -> Any:
    return call(connection, "unsend_queue", QUEUE)


def heartbeat(connection: Connection, scene: Scene) -> Any:
    """The tokens that are still ours."""
    return call(connection, "heartbeat", WORKER, [scene.token])["mine"]
