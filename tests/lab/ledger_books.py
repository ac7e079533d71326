"""What must hold in the ledger after every word: counters, stages, failures, mutexes, events."""

from dataclasses import dataclass, field
from uuid import UUID

from app.outcome import derive_state
from app.step import FINAL_STATES, State
from tests.lab.ledger_bench import LedgerBench

HELD = (State.RUNNING, State.INTERRUPTED)
KEPT = (State.PENDING, State.DUE, State.QUEUED, State.WAITING)


def check(bench: LedgerBench, execution_id) -> None:
    """What must hold after every event."""
    check_books(bench.execution(execution_id), bench.rows(execution_id))


def check_all(bench: LedgerBench, rows: list[dict]) -> None:
    """The same for all executions; `rows`: those of all steps."""
    for row in bench.ask("select * from executions"):
        check_books(row, [s for s in rows if s["execution_id"] == row["id"]])
    holders = [(s["tenant"], s["mutex"]) for s in rows if s["mutex"] and s["state"] in HELD]
    assert len(holders) == len(set(holders)), "a mutex has one holder at most"
    for counted in bench.ask("select * from failure_counts"):
        _check_count(counted, [s for s in rows if s["execution_id"] == counted["execution_id"]])


def _check_count(counted: dict, steps: list[dict]) -> None:
    """Failures are counted, and those that were requeued are not any more."""
    kind, place = ("block", counted["block"]) if counted["block"] else ("step", counted["position"])
    rows = [s for s in steps if s["block" if kind == "block" else "position"] == place]
    rows = [s for s in rows if "block" not in (s["template"] or {})]
    assert counted["failed"] == len(_failures(kind, rows))


def check_books(row: dict, steps: list[dict]) -> None:
    """What an execution says of itself is what its rows say."""
    by_state = {state: sum(s["state"] == state for s in steps) for state in State}
    assert row["state"] == derive_state(steps)
    assert row["failed"] == by_state[State.FAILED]
    assert row["cancelled"] == by_state[State.CANCELLED]
    assert row["interrupted"] == by_state[State.INTERRUPTED]
    assert row["waiting"] == by_state[State.WAITING]
    here = [s for s in steps if s["stage"] == row["stage"]]
    assert row["stage_open"] == sum(s["state"] not in FINAL_STATES for s in here)
    assert all(s["state"] in FINAL_STATES for s in steps if s["stage"] < row["stage"])
    later = {s["state"] for s in steps if s["stage"] > row["stage"]}
    finished = FINAL_STATES if row["run"] > 1 else set()
    assert later <= {State.PENDING, State.CANCELLED, State.SKIPPED} | finished
    empty = set(range(row["stages"])) - {s["stage"] for s in steps}
    assert not empty or row["run"] > 1, "only a reversal that was forgotten leaves its stage empty"
    check_held(here)
    check_failures(row, steps)
    is_final = all(s["state"] in FINAL_STATES for s in steps)
    assert (row["finished_at"] is not None) == is_final == (row["stage"] == row["stages"])


def check_held(here: list[dict]) -> None:
    """Of a step with `max_parallel` so many rows are under way, and no row waits for nothing."""
    for position in {s["position"] for s in here if s["max_parallel"] is not None}:
        rows = [s for s in here if s["position"] == position]
        held = sum(s["state"] == State.PENDING for s in rows)
        closed = FINAL_STATES | {State.WAITING}
        under_way = sum(s["state"] not in closed for s in rows) - held
        most = rows[0]["max_parallel"]
        assert under_way == most if held else under_way <= most
    unlimited = [s for s in here if s["max_parallel"] is None]
    assert not any(s["state"] == State.PENDING for s in unlimited)


def check_failures(row: dict, steps: list[dict]) -> None:
    """Whom a block leaves out, what is given up, and whether the plan stops: as the rows say."""
    if any(s["reason"] == "not_approved" for s in steps) and row["cancel_below"] == row["stages"]:
        return  # it never began
    stops = any(_stops(s) and s["stage"] < row["finally_stage"] for s in steps)
    limited, unclear = {}, False
    for s in steps:
        if s["max_failures"] is not None:
            scope = ("block", s["block"]) if s["block"] else ("step", s["position"])
            limited.setdefault(scope, []).append(s)
    for (kind, _), rows in limited.items():
        failed = _failures(kind, rows)
        if len(failed) <= rows[0]["max_failures"] and not _broken(kind, rows):
            _check_left_out(rows, failed, row)
            continue
        open_states = {s["state"] for s in rows if s["started_at"] is None} - FINAL_STATES
        assert not open_states, "what has not begun is skipped"
        means = rows[0]["block_on_failure"] or rows[0]["on_failure"]
        stops |= means != "continue" and rows[0]["stage"] < row["finally_stage"]
        # In a block the step that fails last has a word in it, too.
        unclear |= means == "continue" and any(s["on_failure"] == "undo" for s in rows)
    # Once somebody had it go on, what failed before does not stop it any more.
    assert row["stopping"] == stops or row["run"] > 1 or unclear
    others = {id(s) for rows in limited.values() for s in rows}
    skipped = [s for s in steps if _was_skipped(s) and id(s) not in others]
    assert not skipped or row["stopping"] or row["run"] > 1


def _stops(s: dict) -> bool:
    """By itself, not by the limits of its block or step."""
    counted = s["block"] or (s["max_failures"] is not None and s["state"] != State.CANCELLED)
    lenient = s["on_failure"] == "continue" or s["undoes"] is not None
    return _ended_badly(s) and not counted and not lenient


def _ended_badly(s: dict) -> bool:
    """It failed, or nobody approved it."""
    return s["state"] == State.FAILED or s["reason"] == "not_approved"


def _was_skipped(s: dict) -> bool:
    """By the ledger, for what others did: not by its condition, nor by a person."""
    return s["state"] == State.SKIPPED and not s["dynamic"] and s["reason"] != "resolved"


def _failures(kind: str, rows: list[dict]) -> dict[str, int]:
    """Who failed, and in which stage first."""
    found: dict[str, int] = {}
    for s in sorted(rows, key=lambda s: s["stage"]):
        if s["state"] != State.FAILED or (kind == "block" and s["on_failure"] == "continue"):
            continue
        batch = (s["template"] or {}).get("batch")
        names = [s["target"]["name"]] if s["target"] else batch or [f"#{s['id']}"]
        for name in names if kind == "block" else [str(s["id"])]:
            found.setdefault(name, s["stage"])
    return found


def _broken(kind: str, rows: list[dict]) -> bool:
    """A block that could not be rendered, or was not approved."""
    return kind == "block" and any(
        (s["state"] == State.FAILED and "block" in (s["template"] or {}))
        or s["reason"] == "not_approved"
        for s in rows
    )


def _check_left_out(rows: list[dict], failed: dict[str, int], row: dict) -> None:
    for s in rows:
        since = failed.get(s["target"]["name"]) if s["target"] and s["block"] else None
        if since is not None and s["stage"] > since:
            allowed = {State.PENDING, State.WAITING, State.SKIPPED, State.CANCELLED}
            assert s["state"] in allowed or row["run"] > 1
        elif _was_skipped(s):  # in the same stage: it was rendered after its target had failed
            assert since == s["stage"] or row["stopping"] or row["run"] > 1


def check_mutexes(bench: LedgerBench) -> None:
    """At most one holder each."""
    holders = bench.ask(
        "select count(*) as n from steps where mutex is not null"
        " and state in ('running', 'interrupted') group by tenant, mutex"
    )
    assert all(row["n"] == 1 for row in holders)


def check_events(bench: LedgerBench, execution_id) -> None:
    """Replaying what was told gives the states that are stored."""
    told: dict[int, str] = {}
    ended = None
    for event in bench.ask(
        "select * from events where execution_id = :id order by xid, id", id=execution_id
    ):
        word = event["kind"].removeprefix("step.")
        if word in set(State):
            told[event["step_id"]] = word
        elif event["kind"] == "execution.finished":
            assert ended is None, "an execution ends once each time that it was started"
            ended = event["data"]["state"]
        elif event["kind"] in {"execution.resumed", "execution.undo_asked"}:
            ended = None
    for row in bench.rows(execution_id):
        if row["id"] in told and row["state"] not in KEPT:
            assert told[row["id"]] == row["state"]
        elif row["state"] not in KEPT:
            assert row["state"] == "queued"
    stored = bench.execution(execution_id)
    assert ended == (stored["state"] if stored["finished_at"] else None)


#: What may bring a final row back.
BRINGS_BACK = {"resume", "requeue"}
#: What lets an armed row that must not run twice start again.
BY_WORD = {"resolve", "requeue", "resume", "not done", "late"}


@dataclass
class Past:
    """What was seen before: final rows stay, tokens are given out once, effects happen once."""

    final: dict[int, dict] = field(default_factory=dict)
    #: Token to the start that it was given out for.
    tokens: dict[UUID, tuple] = field(default_factory=dict)
    #: Rows that armed and must not run twice, by their token.
    armed: dict[int, UUID] = field(default_factory=dict)

    def check(self, rows: list[dict], words: set[str]) -> None:
        """After these words."""
        if not words & BRINGS_BACK:
            now = {row["id"]: row for row in rows}
            for number, before in self.final.items():
                after = now.get(number, {})
                assert after | {"discarded_at": None, "stage": 0} == before, "final is final"
        self.final = {
            row["id"]: row | {"discarded_at": None, "stage": 0}
            for row in rows
            if row["state"] in FINAL_STATES
        }
        for row in rows:
            if row["token"]:
                start = (row["id"], row["run"], row["attempt"])
                assert self.tokens.setdefault(row["token"], start) == start
            self._check_effect(row, words)

    def _check_effect(self, row: dict, words: set[str]) -> None:
        before = self.armed.get(row["id"])
        if before and row["token"] != before and row["state"] not in FINAL_STATES:
            assert words & BY_WORD, "nobody said that it may run again"
        if row["armed"] and row["repeat"] in {"never", "probe"} and row["state"] in HELD:
            self.armed[row["id"]] = row["token"]
        else:
            self.armed.pop(row["id"], None)
