"""Fixtures of the tests that meet the real thing."""

import pytest

from tests.lab.run_tool import ToolBench


@pytest.fixture
def bench(tmp_path):
    """`bench.run("df", "usage", {...})`: an operation through the real local runner."""
    bench = ToolBench(tmp_path / "state")
    yield bench
    bench.close()
