"""The independent checker: what the ledger says against what happened in the world.

It reads the tables with SQL of its own and shares no code with the farm: a mistake in the farm's
view of things cannot hide itself here. Each invariant gives the sentences that tell its breaches.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg2.extras

from tests.faults.canary import find_shown
from tests.faults.replay import UNASKED, replay_executions, replay_rows
from tests.faults.world import Trace, World, count

#: Final states; of an open execution something must say what it waits for.
FINAL = {"succeeded", "failed", "cancelled", "skipped"}
EXECUTION_FINAL = {"succeeded", "failed", "cancelled"}
_ROWS = """
    select s.id, s.execution_id, s.key, s.stage, s.position, s.operation, s.repeat, s.effect,
           s.state, s.armed is not null as armed, s.mutex, s.sends, s.attempt, s.worker, s.reason,
           s.undoes, coalesce(s.target ->> 'name', 'local') as host, e.name as plan
    from steps s join executions e on e.id = s.execution_id {which}
    order by s.execution_id, s.stage, s.id
"""
_EXECUTIONS = """
    select id, name, state, finished_at, stage, stages, cancel_requested_at is not null as asked
    from executions e {which}
"""
_OPEN = "where e.finished_at is null"
_EVENTS = """
    select id, execution_id, step_id, kind, (data ->> 'attempt')::int as attempt,
           data ->> 'state' as told_state
    from events where kind <> 'step.output' order by id
"""
_TABLES = "select tablename as name from pg_tables where schemaname = 'public'"
_TEXTS = "select t::text as text from {table} t"


@dataclass(frozen=True)
class Ledger:
    """What the tables hold, as plain rows."""

    executions: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]] = ()
    #: Every row of every table, as PostgreSQL writes it.
    texts: Sequence[str] = ()
    _by_execution: dict[str, list[Mapping[str, Any]]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )

    def __post_init__(self) -> None:
        for row in self.rows:
            self._by_execution[row["execution_id"]].append(row)

    def rows_of(self, execution_id: str) -> list[Mapping[str, Any]]:
        """The rows of one execution, by stage."""
        return self._by_execution[str(execution_id)]


def read_ledger(dsn: str, *, only_open: bool = False, whole: bool = False) -> Ledger:
    """Executions and rows at one moment (one snapshot); `whole`: events and texts, too."""
    which = _OPEN if only_open else ""
    connection = psycopg2.connect(dsn)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            return Ledger(
                executions=_ask(cursor, _EXECUTIONS.format(which=which)),
                rows=_ask(cursor, _ROWS.format(which=which)),
                events=_ask(cursor, _EVENTS) if whole else [],
                texts=list(_read_texts(cursor)) if whole else [],
            )
    finally:
        connection.close()


def _read_texts(cursor: Any) -> Iterator[str]:
    for table in _ask(cursor, _TABLES):
        yield from (row["text"] for row in _ask(cursor, _TEXTS.format(table=table["name"])))


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
        *_unasked(ledger, traces),
        *_shared_locks(ledger, traces),
        *find_shown([*ledger.texts, *elsewhere], canary),
        *_wrong_states(ledger),
        *replay_rows([row | {"shown": _shown(row)} for row in ledger.rows], ledger.events),
        *replay_executions(ledger.executions, ledger.events),
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


def _unasked(ledger: Ledger, traces: Sequence[Trace]) -> Iterator[str]:
    """An effect begun more often than the ledger gave the row away.

    Reads are left out: a crash of PostgreSQL may take back that one was claimed.
    """
    begun = count(trace for trace in traces if trace.kind == "begin")
    claims = Counter(event["step_id"] for event in ledger.events if event["kind"] == "step.running")
    for row in ledger.rows:
        if row["effect"] != "read" and begun.get(_name(row), 0) > claims[row["id"]]:
            times = f"{begun[_name(row)]} times, claimed {claims[row['id']]} times"
            yield f"{_shown(row)}: {UNASKED}: {times}"


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


def _name(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"{row['plan']}/{row['key']}", row["host"]


def _shown(row: Mapping[str, Any]) -> str:
    return f"{row['plan']}/{row['key']} on {row['host']} (step {row['id']}, {row['repeat']})"
