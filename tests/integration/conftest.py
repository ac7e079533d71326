"""Fixtures of tests that need several real parts at once."""

import pytest

from tests.lab.api_farm import ApiFarm
from tests.lab.run_tool import ToolBench
from tests.lab.sshd import start_sshd
from tests.lab.windows import WindowsHost


@pytest.fixture
def api_farm(database_url, redis_server, tmp_path):
    """A served API whose worker is the test itself."""
    farm = ApiFarm(database_url, redis_server, tmp_path / ".opsfarm")
    yield farm
    farm.close()


@pytest.fixture
def bench(tmp_path):
    """`bench.run("df", "usage", {...})`: an operation through the real local runner."""
    bench = ToolBench(tmp_path / "state")
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory, require_program):
    """A real sshd on loopback, for one file of tests."""
    server = start_sshd(tmp_path_factory.mktemp("sshd"), require_program("sshd"))
    yield server
    server.stop()


@pytest.fixture
def windows(tmp_path):
    """A double of a Windows host; `windows.plant(...)` says what its PowerShell answers."""
    with WindowsHost(tmp_path) as host:
        yield host
