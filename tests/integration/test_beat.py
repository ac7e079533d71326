"""Beat as its own process, as Celery users start it, on a real ledger and broker."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from app.admin.servers import find_free_port, start_postgres
from app.config import read_settings
from app.parts import build_parts
from app.principal import Role
from app.schedules import add_schedule
from app.store.db import make_engine, migrate
from workers.beat import LedgerScheduler

PROJECT = Path(__file__).parents[2]
PLAN = {"name": "probe", "steps": [{"tool": "df", "parameters": {"path": "/"}}]}
WAIT_S = 30


@pytest.fixture
def farm_env(database_url, redis_server, tmp_path, monkeypatch):
    """The settings of a farm of this test's own, in the environment."""
    env = {
        "OPSFARM_DATABASE_URL": database_url,
        "OPSFARM_BROKER_URL": redis_server,
        "OPSFARM_QUEUE_PREFIX": f"{secrets.token_hex(4)}.",
        "OPSFARM_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "OPSFARM_STATE_DIR": str(tmp_path / "state"),
        "OPSFARM_BEAT_TICK_S": "0.2",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


@pytest.fixture
def parts(farm_env):
    parts = build_parts(read_settings())
    yield parts
    parts.close()
    parts.celery.close()


@pytest.fixture
def add(parts):
    """Add a schedule as an operator of this farm."""
    principal, _ = parts.principals.add("default", "ops", Role.OPERATOR)

    def add(name, **given):
        body = {"name": name, "plan": PLAN, "overlap": "allow"} | given
        return add_schedule(json.dumps(body).encode(), principal, parts)

    return add


@contextmanager
def beat(folder, *argv):
    """A beat process; its output is in `folder`/beat-<n>.log."""
    log = folder / f"beat-{secrets.token_hex(2)}.log"
    command = argv or ("-m", "workers", "beat")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdout=sink,
            stderr=sink,
        )
    try:
        yield process, log
    finally:
        process.terminate()
        process.wait(timeout=20)


def dues(parts):
    """The due times that have an execution, and how many executions there are."""
    query = "select idempotency_key from executions where source like 'schedule:%'"
    with parts.engine.connect() as connection:
        keys = [key for (key,) in connection.execute(text(query))]
    return {key.split(":", 2)[2] for key in keys}, len(keys)


def await_dues(parts, count):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if len(dues(parts)[0]) >= count:
            return
        time.sleep(0.1)
    pytest.fail(f"only {dues(parts)} after {WAIT_S} s")


CELERY_BEAT = (
    *("-m", "celery", "-A", "workers.entry", "beat"),
    *("-S", "workers.beat:LedgerScheduler", "-l", "INFO"),
)


@pytest.mark.parametrize("argv", [(), CELERY_BEAT], ids=["python -m workers", "celery beat"])
def test_beat_fires_and_ends_in_order_leaving_no_file(parts, add, tmp_path, argv):
    add("probe", interval_s=1)
    with beat(tmp_path, *argv) as (process, log):
        await_dues(parts, 2)
        process.terminate()
        assert process.wait(timeout=15) == 0, log.read_text()
    assert [path for path in tmp_path.iterdir() if "celerybeat" in path.name] == []
    assert "Traceback" not in log.read_text()
    with parts.engine.connect() as connection:
        row = connection.execute(text("select state, source, name from executions")).first()
    assert row == ("running", "schedule:probe", "probe")  # nobody works here


def test_two_beats_start_each_due_time_once(parts, add, tmp_path):
    for number in range(3):
        add(f"probe-{number}", interval_s=1)
    with beat(tmp_path) as (first, _), beat(tmp_path) as (second, _):
        await_dues(parts, 12)
        assert first.poll() is None
        assert second.poll() is None
    with parts.engine.connect() as connection:
        fired = connection.execute(
            text("select count(*) from events where kind = 'schedule.fired'")
        ).scalar_one()
    started, count = dues(parts)
    assert fired == count
    assert len(started) >= 12


def test_a_killed_beat_is_followed_by_the_next(parts, add, tmp_path):
    add("probe", interval_s=1)
    with beat(tmp_path) as (process, _):
        await_dues(parts, 1)
        process.kill()
    with beat(tmp_path):
        await_dues(parts, 3)


def test_beat_waits_for_a_ledger_that_is_away_and_says_so_once(
    server_folder, farm_env, monkeypatch, tmp_path
):
    port = find_free_port()
    monkeypatch.setenv(
        "OPSFARM_DATABASE_URL", f"postgresql://postgres:word@127.0.0.1:{port}/postgres"
    )
    with beat(tmp_path) as (process, log):
        deadline = time.monotonic() + WAIT_S
        while "beat waits for the ledger" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)  # five more attempts
        assert process.poll() is None
        server = start_postgres(server_folder / f"beat-{port}", port, "word", ["fsync=off"])
        try:
            engine = make_engine(os.environ["OPSFARM_DATABASE_URL"])
            migrate(engine)
            engine.dispose()
            while "beat goes on" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait(timeout=20)
            server.stop()
    words = log.read_text()
    assert words.count("beat waits for the ledger") == 1
    assert words.count("beat goes on") == 1


def test_the_next_sleep_is_never_longer_than_the_tick(parts, add):
    scheduler = LedgerScheduler(parts.celery, settings=parts.settings)
    try:
        assert scheduler.tick() == pytest.approx(0.2)
        add("far", interval_s=3600)
        assert scheduler.tick() == pytest.approx(0.2)
    finally:
        scheduler.close()
