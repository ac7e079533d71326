import time

import pytest

from tool_catalog.names import did_you_mean, normalise, shorten, suggest, unknown


@pytest.mark.parametrize("name", ["slack-cli", "slack_cli", "SLACK-CLI", " Slack_Cli "])
def test_forms_of_one_name(name):
    assert normalise(name) == "slack-cli"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("dpeth", "depth"), ("DEPHT", "depth"), ("exclude-types", "exclude_types"), ("zzz", None)],
)
def test_a_near_name_is_suggested(name, suggestion):
    assert suggest(name, ["depth", "exclude_types", "path"]) == suggestion


def test_a_name_of_ten_megabytes_is_answered_at_once():
    began = time.perf_counter()
    error = unknown("tool", "x" * 10_000_000, ["df"])
    assert time.perf_counter() - began < 0.5
    assert error.suggestion is None
    assert len(str(error)) < 100


def test_the_words_of_an_unknown_name():
    error = unknown("tool", "nmpa", ["nmap", "df"])
    assert str(error) == "no tool 'nmpa'; did you mean 'nmap'?"
    assert (error.kind, error.name, error.allowed) == ("tool", "nmpa", ("nmap", "df"))


def test_pieces_of_messages():
    assert did_you_mean(None) == ""
    assert shorten("a" * 81) == "a" * 77 + "..."
