"""get-service against a double of a Windows host: the wire is real, PowerShell is not."""

import pytest

from app.step import State
from tool_catalog.model import Reason

#: What must arrive for `get-service list`, to the last character.
LIST = """\
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
try {
$p = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String(-join @($input))) | ConvertFrom-Json
ConvertTo-Json -Depth 4 -Compress -InputObject @(
$found = Get-Service -Name $p.name -ErrorAction SilentlyContinue -ErrorVariable missed
$missed | Where-Object { $_.CategoryInfo.Category -eq 'ObjectNotFound' } | ForEach-Object { throw $_ }
$found |
  Where-Object { -not $p.status -or [string]$_.Status -eq $p.status } |
  Select-Object -Property @('Name', 'DisplayName', @{n='Status'; e={[string]$_.Status}}, @{n='StartType'; e={[string]$_.StartType}})
)
} catch {
[Console]::Error.WriteLine("$($_.CategoryInfo.Category): $($_.FullyQualifiedErrorId): $($_.Exception.Message)")
exit 1
}
"""  # noqa: E501  # lines of another language

SPOOLER = {
    "Name": "Spooler",
    "DisplayName": "Druckwarteschlange für Gerät №7",
    "Status": "Running",
    "StartType": "Automatic",
}
NO_SERVICE = (
    "ObjectNotFound: NoServiceFoundForGivenName,Microsoft.PowerShell.Commands.GetServiceCommand: "
    "Cannot find any service with service name 'Spoiler'."
)


@pytest.fixture
def run(bench, windows):
    def call(operation, given):
        where = {"target": windows.target, "credential": windows.credential}
        return bench.run("get-service", operation, given, **where).result

    return call


@pytest.mark.proves("get-service", "list")
def test_services_are_listed_as_the_host_says(run, windows):
    given = {"name": ["Spooler", "W*"], "status": "Running"}
    windows.plant("get-service", "list", given, [SPOOLER])
    result = run("list", given)
    assert (result.state, result.output, result.exit_code) == (State.SUCCEEDED, [SPOOLER], 0)
    [arrived] = windows.double.arrived
    assert (arrived.script, arrived.parameters) == (LIST, given)


def test_no_service_in_that_state_is_no_failure(run, windows):
    windows.plant("get-service", "list", {"status": "Paused"}, [])
    result = run("list", {"status": "Paused"})
    assert (result.state, result.output) == (State.SUCCEEDED, [])


@pytest.mark.proves("get-service", "dependencies")
def test_what_a_service_needs(run, windows):
    row = {"Name": "LanmanServer", "Status": "Stopped", "Requires": ["SamSS"], "RequiredBy": []}
    windows.plant("get-service", "dependencies", {"name": "LanmanServer"}, [row])
    result = run("dependencies", {"name": "LanmanServer"})
    assert (result.state, result.output) == (State.SUCCEEDED, [row])


@pytest.mark.parametrize("operation", ["list", "dependencies"])
def test_a_service_that_is_not_there(run, windows, operation):
    name = ["Spoiler"] if operation == "list" else "Spoiler"
    windows.plant("get-service", operation, {"name": name}, error=NO_SERVICE)
    result = run(operation, {"name": name})
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert result.summary == "there is no service named Spoiler"


def test_an_account_that_may_not_look(run, windows):
    said = (
        "PermissionDenied: CouldNotGetServiceInfo,Microsoft.PowerShell.Commands: Access is denied"
    )
    windows.plant("get-service", "list", {}, error=said)
    assert run("list", {}).reason is Reason.NO_PRIVILEGE


def test_a_script_that_nobody_planted_fails(run):
    result = run("list", {"name": ["Other"]})
    assert (result.state, result.reason) == (State.FAILED, Reason.EXIT_CODE)
