"""Negative controls: take one guard away, and the checker must see it.

A suite that stays green without the guard does not test the guard. Each control changes the SQL
functions of one farm's database, and names the fault that the guard is there for.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.faults import FAULTS

#: Long enough for a farm that works; one that lost work waits in vain.
SETTLE_S = 12.0


@dataclass(frozen=True, slots=True)
class Control:
    """One guard, how to take it away, and under which fault that shows."""

    guard: str
    remove: Callable[[Arena], None]
    fault: str
    #: What the checker says then; any other breach would not be this guard's.
    sign: str
    plans: int = 16


def replace_in(arena: Arena, function: str, *changes: tuple[str, str]) -> None:
    """Change the text of an SQL function; every change must be found in it."""
    source = arena.function_text(function)
    for pattern, replacement in changes:
        source, count = re.subn(pattern, replacement, source)
        assert count, f"{function} holds no {pattern!r} any more: mend this control"
    arena.change_schema(source)


def remove_claim_guard(arena: Arena) -> None:
    """Whoever brings a message gets the step, whatever its state and attempt."""
    replace_in(
        arena,
        "claim_step",
        (r"s\.state <> 'queued' or s\.attempt <> p_attempt\s+or", ""),
        (r"where id = p_step and state = 'queued' and attempt = p_attempt", "where id = p_step"),
    )


def remove_republish(arena: Arena) -> None:
    """Nothing that was lost is published again."""
    lost = r"or (i|s)\.sent_at < clock_timestamp\(\) - make_interval\(secs => p_resend_s\)"
    replace_in(arena, "take_unsent", (lost, ""))


def remove_armed_check(arena: Arena) -> None:
    """A step whose worker died after its effect runs again."""
    replace_in(arena, "reap_step", (r"s\.armed is not null and", "false and"))


def remove_mutex_index(arena: Arena) -> None:
    """Two claims that do not see each other both get the host."""
    arena.change_schema("drop index uq_steps_mutex_held")


def remove_finish_token(arena: Arena) -> None:
    """Anybody's word about a running step is taken."""
    replace_in(
        arena, "settle", (r"p_token is not null and s\.token is distinct from p_token", "false")
    )


CONTROLS = (
    Control(
        "claim: state and attempt",
        remove_claim_guard,
        "every message three times",
        sign="must not repeat",
    ),
    Control("publish again what was lost", remove_republish, "flushall", sign="for ever"),
    Control(
        "reap: armed steps",
        remove_armed_check,
        "kill all workers after an effect",
        sign="must not repeat",
        plans=2,
    ),
    Control(
        "one holder of a mutex",
        remove_mutex_index,
        "two claims race for a host",
        sign="two workers at once",
        plans=2,
    ),
    Control(
        "finish: the token",
        remove_finish_token,
        "words with a foreign token",
        sign="without an effect",
        plans=2,
    ),
)


def breaches_without(control: Control, seed: int) -> tuple[str, ...]:
    """What the checker says of a farm without this guard, in the guard's own words only."""
    fault = next(fault for fault in FAULTS if fault.name == control.fault)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Arena(folder, seed, settle_s=SETTLE_S) as arena:
            control.remove(arena)
            verdict = arena.play(fault.name, fault.run, control.plans)
            return tuple(breach for breach in verdict.breaches if control.sign in breach)
