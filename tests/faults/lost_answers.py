"""Every word to the ledger is taken, and the one who said it hears an error."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from app.errors import Conflict, Unavailable
from app.store.decisions import Resolution, Voice
from tests.faults.arena import Arena, signal_process
from tests.faults.lossy import lose_answers, lost_of
from tests.faults.plans import OWN_HOSTS
from tests.faults.process import LOST_ANSWERS

#: How long one part of the story may take, and how often it is played.
_PART_S = 20.0
_TIMES = 8
#: How a read ends: the answers to all three claims that it may have can be lost.
_DONE = ("succeeded", "failed")


def lose_every_answer(arena: Arena) -> None:
    """Play each word's story while answers are lost in workers, dispatchers and here."""
    log = arena.folder / f"lost-{time.monotonic_ns()}"
    with _lossy_farm(arena, log):
        for part, words in STORY.items():
            for _ in range(_TIMES):
                part(arena)
                if words <= lost_of(log):
                    break
            else:
                arena.note(f"answers never lost: {', '.join(sorted(words - lost_of(log)))}")


@contextmanager
def _lossy_farm(arena: Arena, log: Any) -> Iterator[None]:
    """Meanwhile the answers of every word are lost now and then."""
    with arena.changed(**{LOST_ANSWERS: str(log)}):
        _restart(arena)
        hear_again = lose_answers(log)
        try:
            yield
        finally:
            hear_again()
    _restart(arena)


def _restart(arena: Arena) -> None:
    """End every worker and dispatcher in order; the arena starts others."""
    old = [*arena.workers(), *arena.workers("dispatcher")]
    for process in old:
        signal_process(process, signal.SIGTERM)
    arena.wait_until(lambda: not any(process.is_alive for process in old))
    arena.wait_until(lambda: all(process.is_alive for process in arena.workers()))


def _say(arena: Arena, word: Callable[[], Any]) -> None:
    """Say it until it is heard, as people do; that it had an effect already is an answer."""

    def is_heard() -> bool:
        try:
            word()
        except Unavailable:
            return False
        except Conflict:
            return True
        return True

    arena.wait_until(is_heard, _PART_S)


def _wait_for(arena: Arena, execution: UUID, *states: str) -> list[Any]:
    """Wait until the first row is in one of these states; its rows.

    Too many lost answers in a row may keep it from that: then the part is played once more, and
    what became of the row is judged with all others.
    """
    arena.wait_until(lambda: arena.rows_of(execution)[0]["state"] in states, _PART_S)
    return arena.rows_of(execution)


def _retry_and_resume(arena: Arena) -> None:
    """A step fails, is tried again, fails; is resumed, fails; is requeued, fails."""
    tag, decisions = arena.new_tag("retry"), arena.farm.parts.decisions
    step = arena.step(tag, "s0", OWN_HOSTS[0], "again", exit=3)
    execution = arena.submit_steps(tag, step | {"retries": {"max": 1, "backoff_s": 0.1}})
    [row] = _wait_for(arena, execution, "failed")
    resume = partial(
        decisions.resume_execution, execution, only_failed=False, actor="ops", reason="x", send=8
    )
    _say(arena, resume)
    _wait_for(arena, execution, "failed")
    letters = arena.farm.parts.dead_letters
    _say(arena, partial(letters.requeue, row["id"], _voice(arena), send=8))
    _wait_for(arena, execution, "failed")


def _render(arena: Arena) -> None:
    """A dynamic step is rendered, another one is skipped."""
    tag = arena.new_tag("render")
    late = arena.step(tag, "s1", OWN_HOSTS[1], "look", after="0.{{ steps.s0.results | length }}")
    never = arena.step(tag, "s2", OWN_HOSTS[1], "look") | {"when": "not steps.s0.ok"}
    first = arena.step(tag, "s0", OWN_HOSTS[1], "look")
    _wait_for(arena, arena.submit_steps(tag, first, late, never), *_DONE)


def _decide(arena: Arena) -> None:
    """One plan is approved, one is rejected."""
    for number, decide in enumerate((_approve, _reject)):
        tag, host = arena.new_tag("decide"), OWN_HOSTS[2 + number]
        step = arena.step(tag, "s0", host, "wipe", confirm=host)
        execution = arena.submit_steps(tag, step)
        asked = arena.farm.parts.approvals.of_execution("default", execution)
        for approval in asked:
            _say(arena, partial(decide, arena, approval))
        _wait_for(arena, execution, "succeeded", "cancelled", "interrupted")


def _approve(arena: Arena, asked: dict[str, Any]) -> None:
    arena.farm.parts.decisions.approve(asked["id"], asked["digest"], _voice(arena), send=8)


def _reject(arena: Arena, asked: dict[str, Any]) -> None:
    arena.farm.parts.decisions.reject(asked["id"], _voice(arena), send=8)


def _voice(arena: Arena) -> Voice:
    return Voice(arena.farm.principal, "looked at it")


def _cancel(arena: Arena) -> None:
    """A running plan is cancelled."""
    tag = arena.new_tag("cancel")
    execution = arena.submit_steps(tag, arena.step(tag, "s0", OWN_HOSTS[4], "look", before=30))
    _wait_for(arena, execution, "running")
    cancel = arena.farm.parts.ledger.cancel_execution
    _say(arena, partial(cancel, execution, "ops", "a fault", 8))
    _wait_for(arena, execution, "cancelled")


def _drain(arena: Arena) -> None:
    """Workers that drain give back what had no effect, and interrupt what may have had one."""
    tag = arena.new_tag("drain")
    # Until each worker's first words are lost: what is armed and not heard of is reaped instead.
    warm = arena.step(f"{tag}-warm", "s0", list(OWN_HOSTS[8:]), "again", before=0.2)
    warmed = arena.submit_steps(f"{tag}-warm", warm)
    arena.wait_until(lambda: all(row["state"] in _DONE for row in arena.rows_of(warmed)), _PART_S)
    for number, operation in enumerate(["look", "once"] * 3):
        name = f"{tag}-{number}"
        arena.submit_steps(name, arena.step(name, "s0", OWN_HOSTS[number], operation, before=4))
    arena.wait_until(lambda: len(_begun(arena, tag)) >= 7, 10)
    for worker in arena.workers():
        signal_process(worker, signal.SIGTERM)
    arena.wait_until(lambda: _interrupted(arena, tag))
    for row in _interrupted(arena, tag):
        resolve = partial(
            arena.farm.parts.decisions.resolve_step,
            UUID(row["execution_id"]),
            row["id"],
            Resolution.FAILED,
            actor="ops",
            reason="looked",
            send=8,
        )
        _say(arena, resolve)


def _interrupted(arena: Arena, tag: str) -> list[Any]:
    rows = arena.read(only_open=True).rows
    return [row for row in rows if tag in row["plan"] and row["state"] == "interrupted"]


def _begun(arena: Arena, tag: str) -> set[str]:
    return {trace.step for trace in arena.world.traces() if f"{tag}-" in trace.step}


def _lose_worker(arena: Arena) -> None:
    """A worker dies with a step at work."""
    tag = arena.new_tag("reap")
    execution = arena.submit_steps(tag, arena.step(tag, "s0", OWN_HOSTS[7], "look", before=2))
    _wait_for(arena, execution, "running")
    for worker in arena.workers():
        signal_process(worker, signal.SIGKILL)
    _wait_for(arena, execution, *_DONE)


def _fill(arena: Arena) -> None:
    """Messages were not delivered; a whole queue is emptied."""
    tag, parts = arena.new_tag("window"), arena.farm.parts
    steps = arena.step(tag, "s0", list(OWN_HOSTS[8:16]), "look")
    execution = arena.submit_steps(tag, steps)
    sent = [row["id"] for row in arena.rows_of(execution)]
    _say(arena, partial(parts.ledger.unsend_steps, sent))
    _say(arena, partial(parts.publisher.empty_queue, arena.farm.queue()))
    _wait_for(arena, execution, *_DONE)


#: Each part and the words to the ledger that it is for.
STORY: dict[Callable[[Arena], None], set[str]] = {
    _retry_and_resume: {
        "open_execution",
        "claim_step",
        "arm_step",
        "finish_step",
        "retry_step",
        "heartbeat",
        "resume_execution",
        "requeue_step",
    },
    _render: {"expand_step", "settle_due", "take_unsent"},
    _decide: {"approve", "end_approval"},
    _cancel: {"cancel_execution"},
    _drain: {"release_step", "interrupt_step", "resolve_step"},
    _lose_worker: {"reap_step"},
    _fill: {
        "unsend_steps",
        "unsend_queue",
        "next_start_s",
        "expire_queued",
        "expire_approvals",
        "expire_executions",
    },
}
#: Words that are not played, and why.
NOT_PLAYED = {
    "discard_step": "said by a person about a row that has ended; nothing follows from it",
    "ask_probe": "needs an operation that can be probed; tests/integration has them",
    "take_probes": "as ask_probe",
    "probe_step": "as ask_probe",
    "undo_execution": "as ask_probe, of operations that can be undone",
}
