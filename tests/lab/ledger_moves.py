"""What every word of the ledger does to a row in every state; whatever is not here is refused."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab import ledger_words as say
from tests.lab.ledger_words import Scene, Word
from tool_catalog.model import Repeat

#: As `tests.lab.ledger_words.arrive` makes them; "armed" is a running one that armed.
STATES = (
    "pending",
    "due",
    "waiting",
    "queued",
    "running",
    "armed",
    "interrupted",
    "succeeded",
    "failed",
    "cancelled",
    "skipped",
)


@dataclass(frozen=True)
class Move:
    """One word: what it does, by the state that it finds."""

    function: str
    word: Word
    #: The row's state before, and after it.
    leads: dict[str, str]
    #: Members of the step that it is about.
    members: dict[str, object] = field(default_factory=dict)
    #: What else must be so for it to be possible.
    before: Callable[[Scene], object] = lambda scene: None
    #: The function that it hands some rows on to.
    by: str = ""


def _overdue(scene: Scene) -> None:
    scene.bench.ask("update steps set queued_at = queued_at - interval '1 day' where key = 'a'")


def _unanswered(scene: Scene) -> None:
    scene.bench.ask("update approvals set expires_at = clock_timestamp()")


def _unsent(scene: Scene) -> None:
    scene.bench.ledger.unsend_steps([scene.row])


_HELD = {"running": "running", "armed": "running", "interrupted": "interrupted"}
_PROBED = {"repeat": Repeat.PROBE}

MOVES = {
    "claim": Move("claim_step", say.claim, {"queued": "running"}),
    "heartbeat": Move("heartbeat", say.heartbeat, _HELD),
    "arm": Move("arm_step", say.arm, {"running": "running", "armed": "running"}),
    "finish": Move(
        "finish_step",
        say.finish,
        {"running": "succeeded", "armed": "succeeded", "interrupted": "succeeded"},
    ),
    "fail": Move(
        "finish_step",
        say.fail,
        {"running": "failed", "armed": "failed", "interrupted": "failed"},
    ),
    "retry": Move("retry_step", say.retry, {"running": "queued"}),
    "interrupt": Move("interrupt_step", say.interrupt, {"armed": "interrupted"}),
    "release": Move("release_step", say.release, {"running": "queued"}),
    "reap": Move("reap_step", say.reap, {"running": "queued", "armed": "interrupted"}),
    "resolve succeeded": Move(
        "resolve_step", say.resolve("succeeded"), {"interrupted": "succeeded"}
    ),
    "resolve failed": Move("resolve_step", say.resolve("failed"), {"interrupted": "failed"}),
    "resolve skipped": Move("resolve_step", say.resolve("skipped"), {"interrupted": "skipped"}),
    "resolve retry": Move("resolve_step", say.resolve("retry"), {"interrupted": "queued"}),
    "probe done": Move("probe_step", say.probe("done"), {"interrupted": "succeeded"}, _PROBED),
    "probe not done": Move("probe_step", say.probe("not done"), {"interrupted": "queued"}, _PROBED),
    "probe unanswered": Move(
        "probe_step", say.probe("no answer"), {"interrupted": "interrupted"}, _PROBED
    ),
    "ask the probe": Move("ask_probe", say.ask_probe, {"interrupted": "interrupted"}, _PROBED),
    "send for the probe": Move(
        "take_probes",
        say.take_probes,
        {"interrupted": "interrupted"},
        _PROBED,
        before=lambda scene: scene.bench.ask(
            "update steps set probe_at = now() where armed < now()"
        ),
    ),
    "claim to probe": Move(
        "claim_step", say.claim, {"queued": "running", "interrupted": "interrupted"}, _PROBED
    ),
    "expand": Move("expand_step", say.expand, {"due": "queued"}),
    "skip": Move("settle_due", say.skip, {"due": "skipped"}),
    "approve": Move("approve", say.approve, {"waiting": "queued"}),
    "reject": Move("end_approval", say.reject, {"waiting": "cancelled"}),
    "expire approvals": Move(
        "end_approval", say.expire_approvals, {"waiting": "cancelled"}, before=_unanswered
    ),
    "resume": Move(
        "resume_execution",
        say.resume,
        {"failed": "queued", "cancelled": "queued", "skipped": "pending"},
    ),
    "requeue": Move(
        "requeue_step",
        say.requeue,
        {"failed": "queued", "interrupted": "queued"},
        by="resolve_step",
    ),
    "discard": Move("discard_step", say.discard, {"failed": "failed"}),
    "undo": Move("undo_execution", say.undo, {"succeeded": "succeeded"}),
    "cancel": Move(
        "cancel_execution",
        say.cancel,
        dict.fromkeys(("pending", "due", "waiting", "queued"), "cancelled") | _HELD,
    ),
    "expire queued": Move(
        "expire_queued", say.expire_queued, {"queued": "failed"}, before=_overdue
    ),
    "publish": Move("take_unsent", say.take_unsent, {"queued": "queued"}, before=_unsent),
}
#: What only the holder of a row may say, by its token.
OF_THE_HOLDER = (
    "heartbeat",
    "arm",
    "finish",
    "fail",
    "retry",
    "interrupt",
    "release",
    "reap",
    "probe done",
    "probe not done",
    "probe unanswered",
)
