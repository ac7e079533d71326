"""ARCHITECTURE.md's state table and the ledger's tests speak of the same transitions."""

import pytest

from tests.lab.ledger_moves import MOVES, STATES
from tests.lab.transition_table import read_proofs, read_table

TABLE = {row.name: row for row in read_table()}
PROOFS = read_proofs()
#: Words that change no row's state on their way: they have no row, or are told beside another.
BESIDE = {"heartbeat", "discard_step", "undo_execution"}
#: What a word does to others than the row that it names.
BEHIND = {"requeue_step": {"skipped"}}


def test_no_two_rows_have_one_name():
    assert len(TABLE) == len(read_table()) > 20


@pytest.mark.parametrize("happens", [True, False], ids=["it happens", "it is refused"])
@pytest.mark.parametrize("name", TABLE, ids=" by ".join)
def test_every_transition_is_proven_from_both_sides(name, happens):
    proven = [proof.test for proof in PROOFS if (proof.name, proof.happens) == (name, happens)]
    assert proven, f"mark a test: @pytest.mark.transition{(*name, f'happens={happens}')}"


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.test)
def test_every_proof_names_a_transition_of_the_table(proof):
    assert proof.name in TABLE


@pytest.mark.parametrize("name", MOVES)
def test_what_a_word_does_stands_in_the_table(name):
    move = MOVES[name]
    rows = [row for row in TABLE.values() if {move.function, move.by} & set(row.functions)]
    allowed = {(source, end) for row in rows for source in row.sources for end in row.ends}
    done = {(_stored(before), after) for before, after in move.leads.items()}
    moved = {pair for pair in done if pair[0] != pair[1]}
    assert moved <= allowed
    assert rows or move.function in BESIDE


@pytest.mark.parametrize("name", TABLE, ids=" by ".join)
def test_every_word_is_said_in_all_states_that_the_table_gives_it(name):
    row, word = TABLE[name], name[1]
    moves = [move for move in MOVES.values() if move.function == word]
    said = {_stored(before) for move in moves for before in move.leads}
    wanted = row.sources & {_stored(state) for state in STATES}
    assert not moves or wanted - BEHIND.get(word, set()) <= said


def _stored(state: str) -> str:
    return "running" if state == "armed" else state
