"""Faults of remote steps: sessions are killed, commands outlive their time, the host hangs."""

import os
import signal
from functools import partial
from uuid import UUID

from tests.faults.arena import Arena
from tests.faults.far_host import processes_of, reach_far_host
from tests.faults.process import FAR
from tests.lab.sshd import Sshd, servers_below

#: A remote command ends itself so long after its time at the latest, see tasks/runners/remote.py.
_BACKSTOP_S = 25.0


def kill_sessions(arena: Arena) -> None:
    """Kill the server's side of every open SSH session under running steps, again and again."""
    far = reach_far_host(arena)
    tag = arena.new_tag("session")
    plans = [
        arena.submit_steps(
            f"{tag}-{number}",
            arena.step(f"{tag}-{number}", "s0", FAR, operation, before=0.3, after=0.3),
        )
        for number, operation in enumerate(["once", "look", "again", "look", "again"])
    ]
    for _ in range(3):
        arena.wait_until(lambda: processes_of(arena.world.path, tag), 10)
        far.cut_connections()
        arena.wait_until(lambda: not servers_below(far.process.pid), 5)
    for execution in plans:
        arena.wait_until(partial(_has_ended, arena, execution))


def outlive_timeout(arena: Arena) -> None:
    """A remote command does not end in its time: it is ended there, with its children."""
    reach_far_host(arena)
    tag = arena.new_tag("late")
    for operation in ("look", "again", "once"):  # what is interrupted holds its host
        name = f"{tag}-{operation}"
        step = arena.step(name, "s0", FAR, operation, before=60, timeout_s=1)
        step["retries"] = {"max": 0, "backoff_s": 0.1}  # an unknown outcome is tried again
        execution = arena.submit_steps(name, step)
        arena.wait_until(partial(_has_ended, arena, execution))
        row = arena.rows_of(execution)[0]
        if row["reason"] != "timeout":
            arena.note(f"{name} ended {row['state']} ({row['reason']}), not by its timeout")
    if left := processes_of(arena.world.path, tag):
        arena.note(f"a remote command outlived its timeout: processes {left}")


def hang_host(arena: Arena) -> None:
    """The host hangs under a remote command: its effect happens, and nobody can look.

    What may repeat runs again once the host is back; what must not is left to a person.
    """
    far = reach_far_host(arena)
    tag = arena.new_tag("hang")
    for operation, wanted in (("again", "succeeded"), ("once", "interrupted")):
        name = f"{tag}-{operation}"
        step = arena.step(name, "s0", FAR, operation, before=1, timeout_s=6)
        step["retries"] = {"max": 0, "backoff_s": 0.1}
        execution = arena.submit_steps(name, step)
        arena.wait_until(partial(processes_of, arena.world.path, name), 10)
        _signal_server(far, signal.SIGSTOP)
        arena.wait_until(partial(_was_given_up, arena, execution), 60)
        _signal_server(far, signal.SIGCONT)
        arena.wait_until(partial(_has_ended, arena, execution), 60)
        if (found := _state(arena, execution)) != wanted:
            arena.note(f"{name} is {found}, not {wanted}, after its host hung")
    arena.wait_until(lambda: not processes_of(arena.world.path, tag), _BACKSTOP_S)
    if left := processes_of(arena.world.path, tag):
        arena.note(f"a remote command outlived its backstop: processes {left}")


def _signal_server(far: Sshd, number: signal.Signals) -> None:
    for pid in (far.process.pid, *servers_below(far.process.pid)):
        os.kill(pid, number)


def _was_given_up(arena: Arena, execution: UUID) -> bool:
    """Whether the first try is over, even if the second one has begun since."""
    row = arena.rows_of(execution)[0]
    return row["state"] != "running" or row["attempt"] > 1


def _state(arena: Arena, execution: UUID) -> str:
    return str(arena.rows_of(execution)[0]["state"])


def _has_ended(arena: Arena, execution: UUID) -> bool:
    """Whether it is final, waits for a person, or is held by a step that does."""
    ledger = arena.read(only_open=True)
    held = {row["mutex"] for row in ledger.rows if row["state"] == "interrupted"} - {None}
    return all(
        row["state"] == "interrupted" or (row["state"] == "queued" and row["mutex"] in held)
        for row in ledger.rows_of(str(execution))
    )
