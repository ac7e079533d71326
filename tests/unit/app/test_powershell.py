"""The frame around a pipeline, and parameters on their way into it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StepError
from app.filling import HIDDEN_SECRETS, reveal
from app.powershell import frame_script, write_parameters
from app.step import Secret
from tool_catalog.model import Reason

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5).filter(lambda key: key != "$secret"), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def test_the_pipeline_stands_whole_in_the_frame():
    pipeline = "Get-Process |\n  Where-Object { $_.Id -eq 5 } | % { '%s' }"
    script = frame_script(f"{pipeline}\n\n")
    assert f"-InputObject @(\n{pipeline}\n)\n" in script
    assert script.startswith("$ErrorActionPreference = 'Stop'\n")
    assert "ConvertTo-Json -Depth 4 -Compress" in script
    assert "New-Object -TypeName System.Text.UTF8Encoding" in script


def test_no_value_reaches_the_script():
    assert frame_script("Get-Service -Name $p.name") == frame_script("Get-Service -Name $p.name")
    assert "FromBase64String(-join @($input))" in frame_script("x")


@given(parameters=st.dictionaries(st.text(max_size=5).filter(lambda key: key != "$secret"), JSON))
def test_parameters_are_json(parameters):
    assert json.loads(write_parameters(parameters, {})) == parameters


@given(secret=st.text(min_size=1))
def test_a_secret_is_in_the_json_and_in_no_view_of_it(secret):
    text = write_parameters({"a": [{"$secret": "x"}], "b": 1}, {"x": Secret(secret)})
    assert json.loads(reveal(text)) == {"a": [secret], "b": 1}
    assert str(text) == '{"a": ["***"], "b": 1}'


def test_a_dry_run_shows_a_secret_as_stars():
    text = write_parameters({"password": {"$secret": "x"}}, HIDDEN_SECRETS)
    assert str(text) == '{"password": "***"}'


def test_a_secret_that_is_not_there():
    with pytest.raises(StepError, match="no secret named x") as info:
        write_parameters({"password": {"$secret": "x"}}, {})
    assert info.value.reason is Reason.NOT_FOUND
