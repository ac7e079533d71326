"""PostgreSQL and Redis from the wheels: as whom they run, and what an earlier end left."""

import os
import tempfile
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy.exc import OperationalError

from app.admin.servers import (
    NOBODY,
    choose_account,
    find_free_port,
    prepare_postgres,
    start_postgres,
    start_redis,
)
from app.errors import ConfigError
from app.store.db import make_engine

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody else to run as")


@pytest.fixture
def open_folder():
    """A folder where everybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="opsfarm-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def ask(url, query):
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar()
    finally:
        engine.dispose()


def owner_of(process):
    return Path(f"/proc/{process.pid}").stat().st_uid


@as_root
def test_root_hands_postgres_to_nobody(open_folder):
    server = start_postgres(open_folder / "pg", find_free_port(), "planted")
    try:
        assert owner_of(server.process) == NOBODY
        assert ask(server.url, "select 7") == 7
    finally:
        server.stop()


@as_root
def test_where_nobody_cannot_enter_root_goes_without_its_rights(open_folder):
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    server = start_postgres(closed / "pg", find_free_port(), "planted")
    try:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        namespace = Path(f"/proc/{server.process.pid}/ns/user").readlink()
        assert f"Uid:\t{os.getuid()}" in status
        assert namespace != Path("/proc/self/ns/user").readlink()
        assert ask(server.url, "select 7") == 7
    finally:
        server.stop()


@as_root
def test_without_setpriv_and_unshare_root_is_told_what_to_do(open_folder, monkeypatch):
    monkeypatch.setenv("PATH", str(open_folder))
    with pytest.raises(ConfigError, match="run as an ordinary user"):
        choose_account(open_folder)


def test_a_wrong_password_is_refused(open_folder):
    server = start_postgres(open_folder / "pg", find_free_port(), "planted")
    try:
        with pytest.raises(OperationalError, match="password authentication failed"):
            ask(server.url.replace("planted", "guessed"), "select 7")
    finally:
        server.stop()


def test_a_killed_postgres_starts_again_with_its_data(open_folder):
    port = find_free_port()
    first = start_postgres(open_folder / "pg", port, "planted")
    engine = make_engine(first.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table kept as select 42 as answer")
    engine.dispose()
    first.process.kill()
    first.process.wait()
    second = start_postgres(open_folder / "pg", port, "planted")
    try:
        assert ask(second.url, "select answer from kept") == 42
    finally:
        second.stop()


def test_a_pid_file_whose_number_has_another_owner_is_no_obstacle(open_folder):
    start_postgres(open_folder / "pg", find_free_port(), "planted").stop()
    pid_file = open_folder / "pg" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getppid()}\n{pid_file.parent}\n")
    second = start_postgres(open_folder / "pg", find_free_port(), "planted")
    try:
        assert ask(second.url, "select 7") == 7
    finally:
        second.stop()


def test_a_running_server_is_not_started_over(open_folder, monkeypatch):
    server = start_postgres(open_folder / "pg", find_free_port(), "planted")
    monkeypatch.setattr("app.admin.servers.START_TIMEOUT_S", 0.1)
    try:
        with pytest.raises(ConfigError, match=f"process {server.process.pid}"):
            prepare_postgres(open_folder / "pg", find_free_port(), "planted")
        assert ask(server.url, "select 7") == 7
    finally:
        server.stop()


def test_redis_keeps_what_it_was_told(open_folder):
    port = find_free_port()
    first = start_redis(open_folder / "redis", port, "planted")
    with Redis.from_url(first.url) as client:
        client.set("kept", "42")
    first.stop()
    second = start_redis(open_folder / "redis", port, "planted")
    try:
        with Redis.from_url(second.url) as client:
            assert client.get("kept") == b"42"
    finally:
        second.stop()


def test_a_server_that_cannot_start_names_its_log(open_folder):
    folder = open_folder / "redis"
    folder.mkdir()
    (folder / "appendonly.aof").write_text("this is no append-only file\n")
    with pytest.raises(ConfigError, match=r"redis/redis\.log"):
        start_redis(folder, find_free_port(), "planted")
