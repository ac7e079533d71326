"""Faults around deadlines: of approvals, of the queue, of plans, while processes die."""

import signal

from tests.faults.arena import Arena, signal_process
from tests.faults.plans import OWN_HOSTS

_LATEST_S = 30.0


def let_deadlines_pass(arena: Arena) -> None:
    """Three deadlines of a second or two pass while workers and dispatchers are killed in turn."""
    tag = arena.new_tag("deadline")
    wanted = {
        arena.submit_steps(
            f"{tag}-approval",
            arena.step(f"{tag}-approval", "s0", OWN_HOSTS[0], "wipe", confirm=OWN_HOSTS[0]),
            approval_timeout_s=1,
        ): ("cancelled", "approval"),
        arena.submit_steps(
            f"{tag}-queue",
            {"tool": "idle", "id": "s0", "targets": OWN_HOSTS[1], "queue_timeout_s": 1},
        ): ("failed", "queue"),
        arena.submit_steps(
            f"{tag}-plan",
            arena.step(f"{tag}-plan", "s0", OWN_HOSTS[2], "look", before=60),
            timeout_s=2,
        ): ("cancelled", "plan"),
    }
    for _ in range(6):
        for role in ("automation", "dispatcher"):
            victim = arena.dice.choice(arena.workers(role))
            signal_process(victim, signal.SIGKILL)
            arena.wait_until(lambda victim=victim: not victim.is_alive)
    for execution, (state, what) in wanted.items():
        if not arena.wait_until(
            lambda execution=execution, state=state: arena.state_of(execution) == state, _LATEST_S
        ):
            found = arena.state_of(execution)
            arena.note(f"the deadline of the {what} passed, and the execution is {found}")
