"""Pipelines that cannot work are refused when the tool file is read."""

import pytest

from app.powershell import frame_script
from queues import Domain
from tasks.runners.winrm import command_line
from tool_catalog.bad_key import BadKey
from tool_catalog.script_checks import MAX_PIPELINE
from tool_catalog.tool_file import read_tool

CMD_EXE_CHARACTERS = 8191


def read(pipeline="Get-Thing -Name $p.name", parameters=None, **members):
    operation = {
        "summary": "Shows it",
        "effect": "read",
        "parameters": parameters or {"name": {"type": "string"}},
        "powershell": pipeline,
        "examples": [{"parameters": {}}],
        **members,
    }
    file = {"summary": "For a test", "operations": {"show": operation}}
    return read_tool(file, name="x", domain=Domain.AUTOMATION, folder="", digest="")


def test_a_good_pipeline_is_kept_as_it_is():
    assert read().operations["show"].powershell == "Get-Thing -Name $p.name"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pipeline": "Get-Thing $p.nme"}, "powershell: no parameter 'nme'; did you mean 'name'"),
        ({"pipeline": "Get-Thing $p.Name"}, "powershell: no parameter 'Name'"),
        ({"pipeline": "Invoke-Expression $p.name"}, "runs a text as code"),
        ({"pipeline": "$p.name | iex"}, "runs a text as code"),
        ({"pipeline": "x" * (MAX_PIPELINE + 1)}, f"longer than {MAX_PIPELINE} characters"),
        ({"stdin": "{name}"}, "stdin: goes with argv"),
        ({"env": {"A": "b"}}, "env: goes with argv"),
        ({"precheck": ["true"]}, "precheck: goes with argv"),
        ({"output": {"artifact": "pcap"}}, "output.artifact: a pipeline gives rows"),
        ({"parameters": {"name": {"type": "artifact", "of": "pcap"}}}, "lies on the worker"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(given, says):
    with pytest.raises(BadKey) as info:
        read(**given)
    assert says in str(info.value)
    assert info.value.key.startswith("operations.show")


def test_the_longest_pipeline_fits_into_a_command_line():
    assert len(command_line(frame_script("x" * MAX_PIPELINE))) < CMD_EXE_CHARACTERS
