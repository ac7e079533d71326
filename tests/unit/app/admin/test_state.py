"""The state folder's files: whole or absent, private, and honest about who lives."""

import multiprocessing

import pytest

from app.admin.state import (
    FarmFile,
    FarmState,
    FarmStatus,
    ProcessState,
    ProcessStatus,
    StateFolder,
    find_supervisor,
    hold_lock,
    read_farm,
    read_status,
    require_farm,
    write_farm,
    write_private,
    write_status,
)
from app.errors import ConfigError, FarmUnreachable

FARM = FarmFile("http://a", "http://f", "postgresql://d", "redis://b", {"api": 1}, "/p.yaml")


def test_a_farm_shows_no_password_and_names_its_policy():
    shown = {"api_url": "http://a", "flower_url": "http://f", "ports": {"api": 1}}
    assert FARM.show() == shown | {"policy": "/p.yaml"}


STATUS = FarmStatus(
    7, FarmState.RUNNING, "", [ProcessStatus("asset", ProcessState.RUNNING, 8, 1.5, 2, "note")]
)


@pytest.fixture
def folder(tmp_path):
    folder = StateFolder(tmp_path / "state")
    folder.make()
    return folder


def test_what_is_written_is_read(folder):
    write_farm(folder, FARM)
    write_status(folder, STATUS)
    assert read_farm(folder) == FARM
    assert read_status(folder) == STATUS


def test_before_a_start_there_is_nothing(folder):
    assert read_farm(folder) is None
    assert read_status(folder) is None
    assert find_supervisor(folder) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"api_url": "x"}', '{"state": "dreaming"}'])
def test_a_damaged_file_is_as_good_as_none(folder, text):
    folder.farm_file.write_text(text)
    folder.status_file.write_text(text)
    assert read_farm(folder) is None
    assert read_status(folder) is None


def test_a_private_file_is_never_readable_by_others(folder):
    path = folder.path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(folder.path.glob("key.*")) == []


def test_logs_and_artifacts_are_for_their_owner(folder):
    for name in ("logs", "run", "artifacts", "cache", "tmp"):
        assert (folder.path / name).stat().st_mode & 0o777 == 0o700


def test_the_lock_names_its_holder_and_dies_with_it(folder):
    context = multiprocessing.get_context("spawn")
    holds, may_end = context.Event(), context.Event()
    other = context.Process(target=hold_until, args=(folder, holds, may_end))
    other.start()
    assert holds.wait(20)
    assert find_supervisor(folder) == other.pid
    with pytest.raises(ConfigError, match="a farm runs from"), hold_lock(folder):
        pass
    other.kill()
    other.join()
    other.close()
    assert find_supervisor(folder) is None


def hold_until(folder, holds, may_end):
    with hold_lock(folder):
        holds.set()
        may_end.wait()


def test_a_reader_of_the_lock_does_not_keep_a_farm_from_starting(folder):
    with hold_lock(folder):
        pass
    assert find_supervisor(folder) is None
    with hold_lock(folder):
        pass


def test_without_a_farm_the_way_to_one_is_named(folder):
    write_farm(folder, FARM)
    write_status(folder, STATUS)
    with pytest.raises(FarmUnreachable, match="start one with 'opsfarm up'"):
        require_farm(folder)
