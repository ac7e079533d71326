import json

import pytest

from app import farm_address
from app.errors import FarmUnreachable, Unauthenticated
from app.farm_address import find_farm


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Neither the folder of whoever runs the tests nor the project's own is looked at."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(farm_address, "PROJECT", tmp_path / "project")


@pytest.fixture
def farm_in():
    def make(folder, url="http://127.0.0.1:8701", key="the-key\n"):
        folder.mkdir(parents=True)
        (folder / "farm.json").write_text(json.dumps({"api_url": url}))
        if key:
            (folder / "admin.key").write_text(key)
        return folder

    return make


def test_arguments_come_first(monkeypatch, farm_in, tmp_path):
    monkeypatch.setenv("OPSFARM_API_URL", "http://environment")
    monkeypatch.setenv("OPSFARM_API_KEY", "environment")
    found = find_farm("http://argument/", "argument")
    assert (found.url, found.key) == ("http://argument", "argument")


def test_then_the_environment(monkeypatch, farm_in, tmp_path):
    farm_in(tmp_path / "here" / ".opsfarm")
    monkeypatch.setenv("OPSFARM_API_URL", "http://environment")
    monkeypatch.setenv("OPSFARM_API_KEY", "environment")
    assert find_farm().url == "http://environment"


def test_then_the_nearest_folder_above(monkeypatch, farm_in, tmp_path):
    farm_in(tmp_path / ".opsfarm", url="http://far")
    inner = tmp_path / "here" / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert find_farm().url == "http://far"
    farm_in(tmp_path / "here" / ".opsfarm", url="http://near")
    assert find_farm().url == "http://near"
    assert find_farm().key == "the-key"


def test_then_the_projects_own(farm_in, tmp_path):
    farm_in(tmp_path / "project" / ".opsfarm", url="http://project")
    assert find_farm().url == "http://project"


def test_a_named_folder_is_the_only_one(monkeypatch, farm_in, tmp_path):
    farm_in(tmp_path / "here" / ".opsfarm")
    monkeypatch.setenv("OPSFARM_STATE_DIR", str(tmp_path / "empty"))
    with pytest.raises(FarmUnreachable, match="no farm is running here; start one with"):
        find_farm()
    farm_in(tmp_path / "named", url="http://named")
    assert find_farm(state_dir=tmp_path / "named").url == "http://named"


def test_a_key_of_the_environment_serves_for_a_found_farm(monkeypatch, farm_in, tmp_path):
    farm_in(tmp_path / "here" / ".opsfarm")
    monkeypatch.setenv("OPSFARM_API_KEY", "mine")
    assert find_farm().key == "mine"


def test_no_key_is_not_no_farm(farm_in, tmp_path):
    farm_in(tmp_path / "here" / ".opsfarm", key=None)
    with pytest.raises(Unauthenticated, match=r"admin\.key cannot be read"):
        find_farm()


def test_a_broken_farm_file_says_so(farm_in, tmp_path):
    folder = farm_in(tmp_path / "here" / ".opsfarm")
    (folder / "farm.json").write_text("{")
    with pytest.raises(FarmUnreachable, match=r"farm\.json cannot be read"):
        find_farm()


def test_the_key_does_not_show():
    assert "secret-key" not in repr(find_farm("http://x", "secret-key"))
