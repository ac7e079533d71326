"""Ports, passwords and the environment of the embedded farm's processes."""

import socket

import pytest

from app.admin.arrange import arrange, choose_ports, is_free, make_environment
from app.admin.servers import find_free_port
from app.admin.state import FarmFile, StateFolder, write_farm
from app.config import read_settings


@pytest.fixture
def folder(tmp_path):
    folder = StateFolder(tmp_path / "state")
    folder.make()
    return folder


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def farm_with(**ports):
    return FarmFile("", "", "", "", ports)


def test_the_preferred_port_is_taken_when_it_is_free():
    port = find_free_port()
    assert choose_ports({"api": port}, before=None) == {"api": port}


def test_a_busy_port_is_replaced_by_a_free_one(taken):
    chosen = choose_ports({"api": taken}, before=None)["api"]
    assert chosen != taken
    assert is_free(chosen)


def test_the_port_of_the_last_start_comes_first(taken):
    last = find_free_port()
    assert choose_ports({"api": find_free_port()}, farm_with(api=last)) == {"api": last}
    preferred = find_free_port()
    assert choose_ports({"api": preferred}, farm_with(api=taken)) == {"api": preferred}


def test_no_port_is_given_twice():
    port = find_free_port()
    chosen = choose_ports({"api": port, "flower": port, "redis": port}, before=None)
    assert len(set(chosen.values())) == 3


def test_a_farm_of_its_own_has_passwords(folder):
    given = arrange(folder, read_settings())
    assert len(given.postgres_password) >= 32
    assert len(given.redis_password) >= 32
    assert given.postgres_password in given.farm.database_url
    assert given.redis_password in given.farm.broker_url


def test_the_policy_that_it_starts_with_is_told(folder, tmp_path):
    assert arrange(folder, read_settings()).farm.policy.endswith("/app/policy.yaml")
    own = tmp_path / "own.yaml"
    assert arrange(folder, read_settings(policy_file=own)).farm.policy == str(own)


def test_the_cluster_keeps_its_password_and_survives_a_lost_farm_file(folder):
    first = arrange(folder, read_settings())
    write_farm(folder, first.farm)
    folder.farm_file.unlink()
    assert arrange(folder, read_settings()).postgres_password == first.postgres_password


def test_servers_of_the_users_own_replace_the_embedded_ones(folder):
    settings = read_settings(OPSFARM_DATABASE_URL="postgresql://db/x", broker_url="redis://b/0")
    given = arrange(folder, settings)
    assert (given.postgres_password, given.redis_password) == ("", "")
    assert given.environment["OPSFARM_DATABASE_URL"] == "postgresql://db/x"
    assert given.environment["OPSFARM_BROKER_URL"] == "redis://b/0"


def test_what_the_user_set_stays_and_the_rest_suits_a_farm_on_one_machine(folder, monkeypatch):
    monkeypatch.setenv("OPSFARM_EVENTS", "0")
    monkeypatch.setenv("OPSFARM_API_PORT", "1")
    found = make_environment(folder, read_settings(), farm_with(api=2, flower=3))
    assert found["OPSFARM_EVENTS"] == "0"
    assert found["OPSFARM_API_PORT"] == "2"
    assert found["OPSFARM_FLOWER_PORT"] == "3"
    assert found["OPSFARM_REMOTE_CONTROL"] == "1"
    assert "127.0.0.1" in found["OPSFARM_ALLOW_PRIVATE"]
    assert found["OPSFARM_SECRET_KEY_FILE"] == str(folder.secret_key_file)


def test_what_libraries_keep_goes_into_the_state_folder(folder):
    found = make_environment(folder, read_settings(), farm_with(api=2, flower=3))
    names = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    assert all(found[name].startswith(str(folder.path)) for name in names)


def test_a_key_of_the_users_own_is_not_replaced(folder):
    settings = read_settings(secret_key="x" * 44)
    found = make_environment(folder, settings, farm_with(api=2, flower=3))
    assert "OPSFARM_SECRET_KEY_FILE" not in found
