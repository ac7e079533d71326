"""What a plan costs the broker: exact counts, so that any command or byte more is seen."""

import os
from functools import partial

import pytest

from benchmarks.farms import OurFarm, Servers
from benchmarks.plan_cost import measure_cost

PLANS = 60
WARM_UP = 20
MOST_COMMANDS = 24
MOST_BYTES = 8_000
#: Ten times the steps may cost this many times the bytes; one long chain costs 97 times.
MOST_GROWTH = 12
MOST_BYTES_OF_1000 = 5_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers():
    servers = Servers()
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def farm(servers):
    """Four workers and a dispatcher with the ledger on; only the commands are played back."""
    environment = dict(os.environ)
    farm = OurFarm(servers)  # it sets OPSFARM_*
    yield farm
    farm.stop()
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def run(farm):
    """`run(plan)`: submit it and wait for its end, which must be a good one."""

    def run(plan):
        execution_id = farm.submit(plan)
        farm.wait(execution_id)
        assert farm.parts.records.read_state(execution_id) == "succeeded"

    plan = farm.plan(4)
    for _ in range(WARM_UP):  # connections, bindings, what is asked for once
        run(plan)
    return run


def test_a_plan_of_four_steps_over_four_queues(servers, farm, run):
    plan = farm.plan(4)
    cost = measure_cost(servers, lambda: run(plan), PLANS)
    print(f"\n4 steps: {cost.commands:.1f} commands, {cost.bytes:,.0f} bytes")
    assert 2 * 4 <= cost.commands <= MOST_COMMANDS  # a push and a pop for each step at least
    assert cost.bytes <= MOST_BYTES


def test_a_long_plan_costs_as_its_length_says(servers, farm, run):
    plans = [farm.plan(steps) for steps in (100, 1000)]
    hundred, thousand = (measure_cost(servers, partial(run, plan), 1).bytes for plan in plans)
    print(f"\n100 steps: {hundred:,.0f} bytes; 1,000 steps: {thousand:,.0f} bytes")
    assert thousand <= MOST_BYTES_OF_1000
    assert thousand <= MOST_GROWTH * hundred
