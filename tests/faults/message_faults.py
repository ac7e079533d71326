"""Faults of messages: doubled, late, forged, in the wrong queue, no messages at all."""

import itertools
import time
from functools import partial

from tests.faults.arena import Arena
from tests.faults.messages import reach_into
from tests.faults.plans import OWN_HOSTS


def treble_messages(arena: Arena) -> None:
    """Every message three times, some with a wrong attempt."""
    hands = reach_into(arena.farm)
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        hands.copy_waiting()
        for row in arena.read().rows[-20:]:
            hands.push(row["id"], row["attempt"] + 1)
            hands.push(row["id"], row["attempt"])
        time.sleep(0.1)


def forge_messages(arena: Arena) -> None:
    """Messages for every row that there is, whatever its state, and for many that are not."""
    hands = reach_into(arena.farm)
    ids = [row["id"] for row in arena.read().rows][-100:]
    for number, attempt in itertools.product([*ids, 10**9, -1, 2**63], (0, 1, 2)):
        hands.push(number, attempt)
    _wait_for_answer(arena)


def use_wrong_queue(arena: Arena) -> None:
    """Rows of one domain named in another domain's queue: they are not that worker's."""
    hands, tag = reach_into(arena.farm), arena.new_tag("foreign")
    plans = []
    for number in range(3):
        step = {"tool": "idle", "id": "s0", "targets": OWN_HOSTS[number]}
        plans.append(arena.submit_steps(f"{tag}-{number}", step))
    for execution, attempt in itertools.product(plans, (0, 1, 2)):
        hands.push(arena.rows_of(execution)[0]["id"], attempt)
    _wait_for_answer(arena)
    for execution in plans:
        row = arena.rows_of(execution)[0]
        if (row["state"], row["attempt"]) != ("queued", 0):
            arena.note(f"a message in the wrong queue moved {tag}: {row['state']}")
        arena.farm.parts.ledger.cancel_execution(execution, "ops", "looked at", 8)


def send_malformed(arena: Arena) -> None:
    """What is no message at all, between those that are; no worker may end by it."""
    alive = {worker.pid for worker in arena.workers()}
    reach_into(arena.farm).push_malformed()
    _wait_for_answer(arena)
    if {worker.pid for worker in arena.workers()} != alive:
        arena.note("a malformed message ended a worker")


def _wait_for_answer(arena: Arena) -> None:
    """Until a plan is through whose message lies behind those of ours."""
    tag = arena.new_tag("behind")
    execution = arena.submit_steps(tag, arena.step(tag, "s0", OWN_HOSTS[-1], "look"))
    if not arena.wait_until(partial(_is_done, arena, execution)):
        arena.note(f"{tag} did not get through behind the forged messages")


def _is_done(arena: Arena, execution: object) -> bool:
    return arena.state_of(execution) == "succeeded"
