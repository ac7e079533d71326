"""When a farm counts as ready, and where it is looked for."""

import time

import pytest

from app.admin import control
from app.admin.control import find_absent_pools, find_missing, locate
from app.admin.state import (
    FarmFile,
    FarmState,
    FarmStatus,
    ProcessState,
    ProcessStatus,
    StateFolder,
    hold_lock,
    write_farm,
    write_status,
)
from app.config import read_settings
from app.errors import ConfigError

NOW = time.time()


def process(name, state=ProcessState.RUNNING, restarts=0, age_s=10.0):
    return ProcessStatus(name, state, 1, time.time() - age_s, restarts, "its last words")


def status(*processes, state=FarmState.RUNNING, message=""):
    return FarmStatus(1, state, message, processes)


def worker(pool, seconds_ago=1.0, *, stopped=False):
    return {"pool": pool, "seconds_ago": seconds_ago, "stopped": stopped}


@pytest.mark.parametrize(
    ("seen", "workers", "absent"),
    [
        (status(process("asset")), [], ["asset"]),
        (status(process("asset")), [worker("asset")], []),
        (status(process("asset")), [worker("comms")], ["asset"]),
        (status(process("asset")), [worker("asset", 10**6)], ["asset"]),
        (status(process("asset")), [worker("asset", stopped=True)], ["asset"]),
        (status(process("capture", ProcessState.NOT_POSSIBLE)), [], []),
        (status(process("asset", ProcessState.RESTARTING, 1)), [], ["asset"]),
        (status(process("flower"), process("dispatcher")), [], []),
    ],
)
def test_absent_pools(seen, workers, absent):
    assert find_absent_pools(seen, {"workers": workers}) == absent


@pytest.fixture
def folder(tmp_path):
    folder = StateFolder(tmp_path / "state")
    folder.make()
    write_farm(folder, FarmFile("", "", "", "", {"api": 1}))
    folder.admin_key_file.write_text("key")
    return folder


def test_a_start_says_what_it_is_about(folder):
    with hold_lock(folder):
        write_status(folder, status(state=FarmState.STARTING, message="starting PostgreSQL"))
        assert find_missing(folder) == "starting PostgreSQL"
        write_status(folder, status(process("api")))
        assert find_missing(folder) == "waiting for the API"


def test_a_farm_that_failed_says_why(folder):
    write_status(folder, status(state=FarmState.FAILED, message="no disk"))
    with pytest.raises(ConfigError, match="the farm did not start: no disk"):
        find_missing(folder)


@pytest.mark.parametrize("name", ["api", "dispatcher", "asset"])
def test_what_does_not_stay_up_is_not_waited_for(folder, name):
    with hold_lock(folder):
        write_status(folder, status(process(name, ProcessState.RESTARTING, 3)))
        with pytest.raises(ConfigError, match=f"{name} does not stay up: its last words"):
            find_missing(folder)


def test_a_wrong_configuration_is_told_at_once(folder):
    with hold_lock(folder):
        write_status(folder, status(process("comms", ProcessState.REFUSED)))
        with pytest.raises(ConfigError, match="the farm did not start: its last words"):
            find_missing(folder)


def test_stopping_what_does_not_run(folder):
    assert control.stop_farm(folder, print) is False


def test_the_named_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSFARM_STATE_DIR", str(tmp_path / "mine"))
    assert locate(read_settings()).path == tmp_path / "mine"


def test_without_a_farm_nearby_it_is_the_folder_beside_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate(read_settings()).path == control.PROJECT / ".opsfarm"


def test_a_farm_nearby_is_found_from_below(tmp_path, monkeypatch):
    (tmp_path / ".opsfarm").mkdir()
    (tmp_path / ".opsfarm" / "farm.json").write_text("{}")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert locate(read_settings()).path == tmp_path / ".opsfarm"
