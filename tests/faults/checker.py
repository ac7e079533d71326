"""The independent checker: what the ledger says against what happened in the world.

It reads the tables with SQL of its own and shares no code with the farm: a mistake in the farm's
view of things cannot hide itself here. Each invariant gives the sentences that tell its breaches.
"""

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2.extras

from tests.faults.world import Trace, World, count

#: Final states; of an open execution something must say what it waits for.
FINAL = {"succeeded", "failed", "cancelled", "skipped"}
EXECUTION_FINAL = {"succeeded", "failed", "cancelled"}
_ROWS = """
    select s.id, s.execution_id, s.key, s.stage, s.position, s.operation, s.repeat, s.effect,
           s.state, s.armed is not null as armed, s.mutex, s.blocked_by, s.sends, s.attempt,
           s.worker, coalesce(s.target ->> 'name', 'local') as host, e.name as plan
    from steps s join executions e on e.id = s.execution_id
    order by s.execution_id, s.stage, s.id
"""
_EXECUTIONS = """
    select id, name, state, finished_at, stage, stages, cancel_requested_at is not null as asked
    from executions
"""
_EVENTS = """
    select step_id, kind from events
    where step_id is not null and kind like 'step.%' and kind <> 'step.output' order by xid, id
"""
_TEXTS = "select t::text as text from {table} t"
#: Every table that may hold words of a step; secrets are sealed in `secrets`.
_TABLES = ("executions", "execution_plans", "steps", "events", "output_chunks", "workers")


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the tables hold, as plain rows."""

    executions: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    texts: Sequence[str]

    def rows_of(self, execution_id: str) -> list[Mapping[str, Any]]:
        """The rows of one execution, by stage."""
        return [row for row in self.rows if row["execution_id"] == execution_id]


def read_ledger(dsn: str) -> Ledger:
    """Everything at one moment (one snapshot)."""
    with psycopg2.connect(dsn) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            ledger = Ledger(
                executions=_ask(cursor, _EXECUTIONS),
                rows=_ask(cursor, _ROWS),
                events=_ask(cursor, _EVENTS),
                texts=[
                    row["text"]
                    for table in _TABLES
                    for row in _ask(cursor, _TEXTS.format(table=table))
                ],
            )
    connection.close()
    return ledger


def _ask(cursor: Any, query: str) -> list[dict[str, Any]]:
    cursor.execute(query)
    return [dict(row) for row in cursor.fetchall()]


def is_settled(ledger: Ledger) -> bool:
    """Whether nothing moves any more by itself: all is final, or waits for a person."""
    open_rows = [row for row in ledger.rows if row["state"] not in FINAL | {"pending"}]
    held = {row["mutex"] for row in open_rows if row["state"] == "interrupted"} - {None}
    return all(
        row["state"] in {"interrupted", "waiting"}
        or (row["state"] == "queued" and row["mutex"] in held)
        for row in open_rows
    ) and not _stuck(ledger)


def find_breaches(
    ledger: Ledger, world: World, accepted: Iterable[str], elsewhere: Iterable[str], canary: str
) -> list[str]:
    """Every breach of every invariant, as sentences; empty when all hold.

    `accepted`: the ids that submit answered; `elsewhere`: texts of logs and broker.
    """
    traces = world.traces()
    effects = count(trace for trace in traces if trace.kind == "effect")
    return [
        *_lost(ledger, set(accepted)),
        *_doubled(ledger, effects),
        *_unearned(ledger, effects),
        *_disordered(ledger, traces),
        *_uncancelled(ledger, effects),
        *_shared_locks(ledger, traces),
        *_shown_secrets([*ledger.texts, *elsewhere], canary),
        *_wrong_states(ledger),
        *_wrong_events(ledger),
    ]


def _lost(ledger: Ledger, accepted: set[str]) -> Iterator[str]:
    found = [str(execution["id"]) for execution in ledger.executions]
    for lost in sorted(accepted - set(found)):
        yield f"execution {lost} was accepted and is not in the ledger"
    if len(found) != len(set(found)):
        yield "an execution stands in the ledger twice"
    yield from _stuck(ledger)


def _stuck(ledger: Ledger) -> list[str]:
    """Open executions of which nothing says what they wait for."""
    holders = {row["mutex"] for row in ledger.rows if row["state"] == "interrupted"} - {None}
    stuck = []
    for execution in ledger.executions:
        if execution["state"] in EXECUTION_FINAL:
            continue
        rows = ledger.rows_of(execution["id"])
        waits = any(
            row["state"] in {"interrupted", "waiting"}
            or (row["state"] == "queued" and row["mutex"] in holders)
            for row in rows
        )
        if not waits:
            states = ", ".join(f"{row['key']} {row['state']}" for row in rows)
            stuck.append(f"{execution['name']} is {execution['state']} for ever: {states}")
    return stuck


def _doubled(ledger: Ledger, effects: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for row in ledger.rows:
        times = effects.get(_name(row), 0)
        if row["repeat"] == "never" and times > 1:
            yield f"{_shown(row)}: an effect that must not repeat happened {times} times"


def _unearned(ledger: Ledger, effects: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for row in ledger.rows:
        if row["state"] == "succeeded" and not effects.get(_name(row)):
            yield f"{_shown(row)}: succeeded without an effect"


def _disordered(ledger: Ledger, traces: Sequence[Trace]) -> Iterator[str]:
    first: dict[tuple[str, str], int] = {}
    for place, trace in enumerate(traces):
        if trace.kind == "effect":
            first.setdefault((trace.step, trace.host), place)
    for execution in ledger.executions:
        latest, by = -1, ""
        for stage in _by_stage(ledger.rows_of(execution["id"])):
            places = [(first[_name(row)], _shown(row)) for row in stage if _name(row) in first]
            for place, shown in places:
                if place < latest:
                    yield f"{shown} had its effect before {by}, which stands before it"
            latest, by = max([(latest, by), *places])


def _by_stage(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    stages: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        stages[row["stage"]].append(row)
    return [stages[number] for number in sorted(stages)]


def _uncancelled(ledger: Ledger, effects: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for row in ledger.rows:
        unarmed = row["state"] in {"cancelled", "skipped"} and not row["armed"]
        if unarmed and row["effect"] != "read" and effects.get(_name(row)):
            yield f"{_shown(row)}: {row['state']} and never armed, yet it had its effect"


def _shared_locks(ledger: Ledger, traces: Sequence[Trace]) -> Iterator[str]:
    """Two tools at work on one host at a time: one begins between another's begin and end."""
    locked = {_name(row) for row in ledger.rows if row["mutex"]}
    spans: dict[str, list[tuple[int, int, Trace]]] = defaultdict(list)
    begun: dict[tuple[str, str, int], int] = {}
    for place, trace in enumerate(traces):
        if (trace.step, trace.host) not in locked:
            continue
        if trace.kind == "begin":
            begun[trace.step, trace.host, trace.pid] = place
        elif trace.kind == "end":
            start = begun.pop((trace.step, trace.host, trace.pid))
            spans[trace.host].append((start, place, trace))
    for host, held in spans.items():
        for (_, ended, one), (start, _, other) in zip(sorted(held), sorted(held)[1:], strict=False):
            if start < ended:
                yield f"{host} was held by {one.step} and {other.step} at once"


def _shown_secrets(texts: Iterable[str], canary: str) -> Iterator[str]:
    forms = {canary, base64.b64encode(canary.encode()).decode(), canary.encode().hex()}
    for text in texts:
        if any(form in text for form in forms):
            yield f"the canary secret stands in: {text[:200]}"


def _wrong_states(ledger: Ledger) -> Iterator[str]:
    for execution in ledger.executions:
        rows = ledger.rows_of(execution["id"])
        derived = _derive([row["state"] for row in rows], asked=execution["asked"])
        if derived != execution["state"]:
            states = sorted({row["state"] for row in rows})
            yield f"{execution['name']} is {execution['state']}, its rows ({states}) make {derived}"


def _derive(states: Sequence[str], *, asked: bool) -> str:
    """The execution's state from its rows, written down a third time, from the design."""
    found = set(states)
    if "interrupted" in found:
        return "attention"
    if found - FINAL:
        waits = "waiting" in found and not found & {"running", "queued", "due"}
        return "waiting" if waits else "running"
    if "failed" in found:
        return "failed"
    if "cancelled" in found or (asked and "succeeded" not in found):
        return "cancelled"
    return "succeeded"


def _wrong_events(ledger: Ledger) -> Iterator[str]:
    """Replay: the last event of a row must tell the state that it has."""
    told = {event["step_id"]: event["kind"].removeprefix("step.") for event in ledger.events}
    for row in ledger.rows:
        if (
            row["state"] in FINAL | {"running", "interrupted"}
            and told.get(row["id"]) != row["state"]
        ):
            yield f"{_shown(row)}: {row['state']}, but its events end with {told.get(row['id'])}"


def _name(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"{row['plan']}/{row['key']}", row["host"]


def _shown(row: Mapping[str, Any]) -> str:
    return f"{row['plan']}/{row['key']} on {row['host']} (step {row['id']}, {row['repeat']})"
