"""Fixtures of tests that need several real parts at once."""

import pytest

from tests.lab.api_farm import ApiFarm
from tests.lab.bench import ToolBench
from tests.lab.command_line import Process
from tests.lab.sshd import start_sshd
from tests.lab.windows import WindowsHost


@pytest.fixture
def api_farm(database_url, redis_server, tmp_path):
    """A served API whose worker is the test itself."""
    farm = ApiFarm(database_url, redis_server, tmp_path / ".opsfarm")
    yield farm
    farm.close()


@pytest.fixture
def start(api_farm):
    """`start("run", "df", ...)`: a process that is still there."""
    processes = []

    def run(*argv, **settings):
        processes.append(Process(api_farm, argv, **settings))
        return processes[-1]

    yield run
    for process in processes:
        process.close()


@pytest.fixture
def opsfarm(start):
    """`opsfarm("run", "df")`: (exit status, standard output, lines of standard error)."""

    def run(*argv, given="", **settings):
        process = start(*argv, **settings)
        status, out = process.end(given)
        return status, out, process.notes

    return run


@pytest.fixture
def begin(api_farm, start):
    """`begin("run", ...)`: the process, its execution's id, and the step that it waits for."""

    def run(*argv, **settings):
        process = start(*argv, **settings)
        line = process.wait_for_note("execution ")
        execution_id = line.split()[1].rstrip(":")
        return process, execution_id, api_farm.claim(execution_id)

    return run


@pytest.fixture
def bench(tmp_path):
    """`bench.run("df", "usage", {...}, target=...).result`: a step as a worker performs it."""
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
