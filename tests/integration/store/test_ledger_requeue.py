"""A failed row of a block that runs again brings its target back, unless another failed there."""

import pytest

from app.store.deadletters import DeadLetters
from app.store.decisions import Voice
from tests.lab.ledger_bench import FAILED, make_step
from tests.lab.shapes import Batches

PAIR = (("h1", "h2"),)


def requeue(bench, execution, key, index=0):
    row = bench.step_id(execution, key, index)
    return DeadLetters(bench.autocommit).requeue(row, Voice(bench.principal, "why"), send=64)


def count(bench, execution):
    [row] = bench.ask("select failed from failure_counts where execution_id = :id", id=execution)
    return row["failed"]


def side_by_side(bench, **members):
    """Two steps side by side and one behind them, on two hosts; what fails on one host is borne."""
    both = (make_step("x", **members), make_step("y"))
    execution = bench.open(Batches((both, make_step("z")), PAIR, max_failures=1))
    for key in "xy":
        bench.finish(bench.take(execution, key, 1))
    return execution


def end(bench, execution, key, result=None, index=0):
    assert bench.finish(bench.take(execution, key, index), result).accepted


def test_a_target_on_which_another_step_failed_stays_left_out(bench):
    execution = side_by_side(bench)
    end(bench, execution, "x", FAILED)
    end(bench, execution, "y", FAILED)
    end(bench, execution, "z", index=1)
    requeue(bench, execution, "x")
    end(bench, execution, "x")
    assert [row["state"] for row in bench.rows(execution, "z")] == ["skipped", "succeeded"]
    assert count(bench, execution) == 1, "it counts once, still"


@pytest.mark.parametrize("key", ["x", "y"])
def test_a_failure_that_was_not_counted_is_not_uncounted(bench, key):
    execution = side_by_side(bench, on_failure="continue")
    end(bench, execution, "x", FAILED)
    end(bench, execution, "y", FAILED)
    end(bench, execution, "z", index=1)
    requeue(bench, execution, key)
    assert count(bench, execution) == (1 if key == "x" else 0)


def test_a_target_that_comes_back_takes_part_again(bench):
    execution = side_by_side(bench)
    end(bench, execution, "x", FAILED)
    end(bench, execution, "y")
    end(bench, execution, "z", index=1)
    requeue(bench, execution, "x")
    assert count(bench, execution) == 0
    end(bench, execution, "x")
    end(bench, execution, "z")
    assert bench.state(execution) == "succeeded"
