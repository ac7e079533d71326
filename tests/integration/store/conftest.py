import secrets

import pytest

from app.store.db import make_engine
from tests.lab.ledger_bench import LedgerBench

TABLES = ("executions", "events", "output_chunks", "artifacts", "secrets", "workers", "principals")


@pytest.fixture(scope="session")
def bench_engine(template_database, postgres_server):
    """One database for all that only speak to the ledger: a copy for each would cost a minute."""
    name = f"bench_{secrets.token_hex(4)}"
    admin = make_engine(postgres_server)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"create database {name} template opsfarm_template")
    admin.dispose()
    engine = make_engine(postgres_server.rsplit("/", 1)[0] + f"/{name}", pool_size=12)
    yield engine
    engine.dispose()


@pytest.fixture
def bench(bench_engine):
    """A ledger in which nothing happened yet."""
    with bench_engine.begin() as connection:
        for table in TABLES:
            connection.exec_driver_sql(f"delete from {table}")
    return LedgerBench(bench_engine)
