"""The state that SQL stores is the one that Python derives from the rows, whatever they are."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.outcome import derive_state
from app.step import FINAL_STATES, State

FINAL = st.lists(st.sampled_from(sorted(FINAL_STATES)), min_size=1, max_size=4)
ANY = st.lists(st.sampled_from(State), min_size=1, max_size=5)
LATER = st.lists(
    st.sampled_from([State.PENDING, State.CANCELLED, State.SKIPPED, State.SUCCEEDED]),
    min_size=1,
    max_size=3,
)
#: The counters of an execution, from its rows: what the ledger's functions keep up to date.
STATE = """
    with rows as (
        select * from unnest(cast(:states as text[]), cast(:stages as int[])) as r (state, stage)
    ), counted as (
        select jsonb_build_object(
            'stage', :stage, 'stages', :count,
            'stage_open', count(*) filter (where stage = :stage and not state = any (:final)),
            'waiting', count(*) filter (where state = 'waiting'),
            'interrupted', count(*) filter (where state = 'interrupted'),
            'failed', count(*) filter (where state = 'failed'),
            'cancelled', count(*) filter (where state = 'cancelled')) as counters
        from rows
    )
    select execution_state(jsonb_populate_record(null::executions, counters)) as state from counted
"""


@st.composite
def executions(draw):
    """Rows by stage: those behind the present one are final, those ahead have not begun."""
    behind = draw(st.lists(FINAL, max_size=2))
    here = draw(ANY.filter(lambda states: not set(states) <= FINAL_STATES))
    ahead = draw(st.lists(LATER, max_size=2))
    ended = draw(st.booleans()) and bool(behind)
    stages = behind if ended else [*behind, here, *ahead]
    return stages, len(behind)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(executions())
@example(([["interrupted", "waiting", "failed"]], 0))
@example(([["failed"], ["waiting"], ["pending"]], 1))
@example(([["skipped"]], 1))
def test_stored_is_derived(bench, drawn):
    stages, stage = drawn
    rows = [(str(state), number) for number, states in enumerate(stages) for state in states]
    [told] = bench.ask(
        STATE,
        states=[state for state, _ in rows],
        stages=[number for _, number in rows],
        stage=stage,
        count=len(stages),
        final=[str(state) for state in FINAL_STATES],
    )
    assert told["state"] == derive_state([{"state": state} for state, _ in rows])
