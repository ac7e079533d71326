"""Whole steps on a Windows host: what is read before and after goes the way of the effect."""

import threading

import pytest

from app.step import State
from tests.lab.bench import ToolBench
from tests.lab.windows import WindowsHost
from tool_catalog.model import Reason, Repeat

TOOL = """
summary: A Windows service, for this test
execution_location: automation-service
operations:
  show:
    summary: How it is
    effect: read
    parameters: {name: {type: string, required: true}}
    powershell: Get-Service -Name $p.name | Select-Object -Property @('Status')
    output: {parser: json, fields: {Status: text}}
    examples: [{parameters: {name: Spooler}}]
  start:
    summary: Start it
    effect: change
    repeat: never
    parameters: {name: {type: string, required: true}}
    powershell: Start-Service -Name $p.name
    before: show
    verify: {operation: show, until: "output[0].Status == 'Running'", within_s: 5}
    output: {parser: json}
    examples: [{parameters: {name: Spooler}}]
"""
SPOOLER = {"name": "Spooler"}
STOPPED, RUNNING = [{"Status": "Stopped"}], [{"Status": "Running"}]


@pytest.fixture
def tools(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "lab-service.yaml").write_text(TOOL)
    return tmp_path / "tools"


@pytest.fixture
def host(tmp_path, tools):
    with WindowsHost(tmp_path, tools) as host:
        yield host


@pytest.fixture
def run(tmp_path, tools, host):
    bench = ToolBench(tmp_path / "state", tools)

    def call(**members):
        where = {"target": host.target, "credential": host.credential}
        return bench.run("lab-service", "start", SPOOLER, **where, **members)

    yield call
    bench.close()


def test_before_effect_and_proof_all_run_on_the_host(run, host):
    for rows in (STOPPED, STOPPED, RUNNING):
        host.plant("lab-service", "show", SPOOLER, rows)
    host.plant("lab-service", "start", SPOOLER, [])
    done = run()
    assert done.result.state is State.SUCCEEDED, done.result.summary
    assert done.kept.armed == [STOPPED]
    assert (done.result.before, done.result.after) == (STOPPED, RUNNING)
    assert done.result.changed is True
    shown = ["Start-Service" in arrived.script for arrived in host.double.arrived]
    assert (shown[0], shown.count(True), shown[-1]) == (False, 1, False)


def test_what_does_not_come_true_is_not_verified(run, host):
    host.plant("lab-service", "show", SPOOLER, STOPPED)
    host.plant("lab-service", "start", SPOOLER, [])
    result = run().result
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_VERIFIED)


def test_an_effect_that_fails_is_not_proven(run, host):
    said = "OpenError: CouldNotStartService,Microsoft.PowerShell.Commands: it is disabled"
    host.plant("lab-service", "show", SPOOLER, STOPPED)
    host.plant("lab-service", "start", SPOOLER, error=said)
    result = run().result
    assert (result.state, result.exit_code) == (State.FAILED, 1)
    assert "it is disabled" in result.summary


def test_a_cancel_is_a_step_that_was_stopped(run, host):
    cancelled = threading.Event()
    host.plant("lab-service", "show", SPOOLER, STOPPED)
    host.plant("lab-service", "start", SPOOLER, [], gate=threading.Event(), begun=cancelled.set)
    result = run(cancelled=cancelled, repeat=Repeat.NEVER).result
    assert (result.state, result.stopped) == (State.CANCELLED, "verified")
    assert not result.unknown
