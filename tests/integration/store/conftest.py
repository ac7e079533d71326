import pytest

from tests.lab.ledger_bench import LedgerBench


@pytest.fixture
def bench(engine):
    """A ledger of this test's own."""
    return LedgerBench(engine)
