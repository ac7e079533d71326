"""Every word of the ledger in every state of a row: it does what it says, or nothing at all."""

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.lab.ledger_books import check, check_events, check_mutexes
from tests.lab.ledger_moves import MOVES, OF_THE_HOLDER, STATES
from tests.lab.ledger_words import arrive, took

CASES = [(name, state) for name in MOVES for state in STATES]
HELD = ("running", "armed", "interrupted")


def arranged(bench, name, state):
    move = MOVES[name]
    scene = arrive(bench, state, **move.members)
    move.before(scene)
    return move, scene


@pytest.mark.parametrize(("name", "state"), [c for c in CASES if c[1] in MOVES[c[0]].leads])
def test_a_word_does_what_it_says_where_it_may(bench, name, state):
    move, scene = arranged(bench, name, state)
    with bench.session() as session:
        assert took(move.word(session, scene))
    assert scene.state == move.leads[state]
    check(bench, scene.execution)
    check_mutexes(bench)
    check_events(bench, scene.execution)


@pytest.mark.parametrize(("name", "state"), [c for c in CASES if c[1] not in MOVES[c[0]].leads])
def test_a_word_changes_nothing_where_it_may_not(bench, name, state):
    move, scene = arranged(bench, name, state)
    with bench.unchanged(), bench.session() as session:
        assert not took(move.word(session, scene))


@pytest.mark.parametrize("state", HELD)
@pytest.mark.parametrize("name", OF_THE_HOLDER)
def test_who_does_not_hold_a_row_has_nothing_to_say_of_it(bench, name, state):
    """A result that comes too late is kept as an event, and changes nothing."""
    move, scene = arranged(bench, name, state)
    scene.step = replace(scene.step, token=uuid4())
    before = bench.snapshot()
    with bench.session() as session:
        assert not took(move.word(session, scene))
    after = bench.snapshot()
    late = after["events"][len(before["events"]) :]
    assert [event["kind"] for event in late] == ["result.late"] * (name in {"finish", "fail"})
    after["events"] = after["events"][: len(before["events"])]
    assert after == before
