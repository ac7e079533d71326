"""What may follow a start whose end nobody knows: by `repeat`, and by whether it armed.

Nothing but a person's word, or a probe, starts again what armed and may not be repeated.
"""

import pytest

from app.errors import Conflict
from tests.lab import ledger_words as say
from tests.lab.ledger_bench import FAILED
from tests.lab.ledger_words import UNKNOWN, arrive, took
from tool_catalog.model import Repeat

MAY = [Repeat.READ, Repeat.TRANSACTIONAL, Repeat.IDEMPOTENT, Repeat.KEYED]
MAY_NOT = [Repeat.PROBE, Repeat.NEVER]
KINDS = ["not armed", "armed, may repeat", "armed, may not"]

#: Event to the row's state then, for each of KINDS.
TABLE = {
    "failed, retries left": ("queued", "queued", "running"),
    "failed, no retries left": ("running", "running", "running"),
    "outcome unknown": ("queued", "queued", "running"),
    "message delivered again": ("running", "running", "running"),
    "message of the next attempt forged": ("running", "running", "running"),
    "published again": ("running", "running", "running"),
    "worker drains": ("queued", "running", "running"),
    "worker lost": ("queued", "queued", "interrupted"),
    "worker lost at its last start": ("failed", "failed", "interrupted"),
    "worker lost, cancelled": ("cancelled", "cancelled", "interrupted"),
    "worker lost, then resumed": ("queued", "queued", "interrupted"),
    "worker lost at its last start, then resumed": ("queued", "queued", "interrupted"),
    "worker lost, then requeued": ("queued", "queued", "queued"),
}


def kinds_of(repeat):
    """Armed or not, and which of KINDS that is."""
    return [("running", 0), ("armed", 1 if repeat in MAY else 2)]


CASES = [
    (event, repeat, state, TABLE[event][kind])
    for event in TABLE
    for repeat in Repeat
    for state, kind in kinds_of(repeat)
]


def test_every_policy_has_its_place():
    assert {*MAY, *MAY_NOT} == set(Repeat)


@pytest.mark.parametrize(("event", "repeat", "state", "ends"), CASES)
def test_what_follows(bench, event, repeat, state, ends):
    retries = 1 if event == "failed, retries left" else 0
    scene = arrive(bench, state, repeat=repeat, max_retries=retries)
    attempt = scene.step.attempt
    happen(bench, scene, event)
    assert scene.state == ends
    row = bench.rows(scene.execution)[0]
    published = bench.outbox.take_unsent(say.QUEUE, 64, 0.0)
    assert bool(published) == (ends == "queued"), "nothing else comes before a worker"
    if ends in {"running", "interrupted"}:
        assert (row["attempt"], row["token"]) == (attempt, scene.step.token)
        claimed = bench.claim_row(row["id"], attempt)
        looks = (ends, repeat) == ("interrupted", Repeat.PROBE)
        assert claimed is None or (looks and claimed.probe is not None)


def happen(bench, scene, event):
    """Everybody tries what the event makes possible."""
    if event.startswith("worker lost"):
        lose(bench, scene, event)
    elif event == "worker drains":
        bench.ledger.release_step(scene.step)
    elif event == "outcome unknown":
        bench.ledger.retry_step(scene.step, UNKNOWN, unknown=True)
    elif event.startswith("failed"):
        bench.ledger.retry_step(scene.step, FAILED)
    elif event == "published again":
        assert bench.outbox.take_unsent(say.QUEUE, 64, 0.0) == []
    else:
        forged = scene.step.attempt - (event == "message delivered again")
        assert bench.claim_row(scene.row, forged) is None


def lose(bench, scene, event):
    if "cancelled" in event:
        bench.cancel(scene.execution)
    assert bench.reap(scene.step, starts=1 if "last" in event else 3)
    if "resumed" in event:
        try:
            bench.decisions.resume_execution(
                scene.execution, only_failed=False, actor="ann", reason="why", send=0
            )
        except Conflict:
            assert scene.state in {"interrupted", "queued"}, "it is not final"
    elif "requeued" in event and scene.state == "interrupted":
        with bench.session() as session:
            assert took(say.requeue(session, scene))


@pytest.mark.parametrize("repeat", MAY)
def test_an_unknown_outcome_has_three_starts(bench, repeat):
    execution = bench.open(say.make_change("a", repeat=repeat))
    for _ in range(2):
        step = bench.take(execution, "a")
        bench.ledger.arm_step(step)
        assert bench.ledger.retry_step(step, UNKNOWN, unknown=True)
        bench.ask("update steps set not_before = null")
    last = bench.take(execution, "a")
    bench.ledger.arm_step(last)
    assert not bench.ledger.retry_step(last, UNKNOWN, unknown=True)
