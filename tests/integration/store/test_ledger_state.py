"""Random walks over random plans: every word does what it must, and the books are kept.

`WALKS=2000 pytest tests/integration/store/test_ledger_state.py`: a longer run, other walks each
time; what fails is made as short as possible, which takes minutes.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.step import FINAL_STATES
from tests.lab.ledger_books import Past, check_all, check_events
from tests.lab.ledger_plans import plans
from tests.lab.ledger_walk import HOLDERS, OTHERS, PROBES, Walk

WALKS = int(os.environ.get("WALKS", "40"))
LONG = "WALKS" in os.environ
PHASES = (Phase.generate, Phase.shrink) if LONG else (Phase.generate,)
EVENTS = st.tuples(
    st.sampled_from(["claim"] * 4 + HOLDERS * 2 + ["interrupt"] * 3 + PROBES + OTHERS),
    st.integers(0, 20),
)


@pytest.fixture
def started(bench):
    """Makes two executions on an emptied ledger."""
    ann = bench.add_principal("ann")

    def start(bench, drawn):
        tables = "executions, steps, events, cap_starts, approvals"
        bench.ask(f"truncate {tables} restart identity cascade")
        opened = [bench.submit(plan, ask=ask, send=1).execution_id for plan, _, ask in drawn]
        return Walk(bench, ann, dict(zip(opened, (blocks for _, blocks, _ in drawn), strict=True)))

    return start


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=WALKS,
    deadline=None,
    derandomize=not LONG,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(plans(), min_size=2, max_size=2), st.lists(EVENTS, min_size=40, max_size=70))
def test_a_random_walk_keeps_the_books(bench, started, drawn, events):
    walk = started(bench, drawn)
    past = Past()
    for word, choice in events:
        walk.act(word, choice)
        rows = walk.rows()
        check_all(bench, rows)
        past.check(rows, walk.said)
    walk.finish_all()
    check_all(bench, walk.rows())
    for execution_id in walk.executions:
        check_events(bench, execution_id)
        left = set(bench.states(execution_id)) - FINAL_STATES
        assert not left, "whatever happened, every step came to its end"
