"""Reading the Procfile."""

import sys

import pytest

from app.admin.supervisor import PROJECT, read_procfile
from app.errors import ConfigError
from queues import Pool


def test_the_projects_procfile_names_every_pool_and_service():
    names = [name for name, _argv in read_procfile(PROJECT / "Procfile")]
    assert set(names) == {pool.value for pool in Pool} | {"api", "dispatcher", "beat", "flower"}


def test_python_is_the_one_that_runs_us(tmp_path):
    path = tmp_path / "Procfile"
    path.write_text("one: python -m x 'two words'\ntwo: sleep 1\n# a comment\n")
    assert read_procfile(path) == [
        ("one", [sys.executable, "-m", "x", "two words"]),
        ("two", ["sleep", "1"]),
    ]


def test_an_empty_procfile_is_refused(tmp_path):
    path = tmp_path / "Procfile"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="names no process"):
        read_procfile(path)
