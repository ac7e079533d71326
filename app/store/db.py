"""Engines, sessions and migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from app.errors import ConfigError, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def make_engine(
    url: str, *, pool_size: int = 5, name: str = "opsfarm", autocommit: bool = False
) -> Engine:
    """An engine with explicit time limits; `name` shows in pg_stat_activity.

    With `autocommit` every statement is its own transaction: the ledger's functions are, and
    switching a connection for each call would double what SQLAlchemy costs.
    """
    if not url:
        raise ConfigError("no database: set OPSFARM_DATABASE_URL, or run 'opsfarm up'")
    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg2://" + url.split("://", 1)[1]
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_recycle=1800,
        pool_use_lifo=True,  # few warm connections instead of many cool ones
        connect_args={
            "connect_timeout": 5,
            "application_name": name,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # Keepalives rest while a statement is on its way: without this a cut line would hold
            # a heartbeat for a quarter of an hour, long after its steps were given to others.
            "tcp_user_timeout": 15_000,
            # A worker that hangs must not hold an execution's row lock for ever.
            "options": "-c statement_timeout=15000 -c idle_in_transaction_session_timeout=60000",
        },
    )


@contextmanager
def guard_unavailable() -> Iterator[None]:
    """Turn "the database cannot be reached" into `Unavailable`; other errors pass."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("the ledger (PostgreSQL) cannot be reached") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("the ledger (PostgreSQL) closed the connection") from error
        raise


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions for the inventory and other plain tables."""
    return sessionmaker(engine, expire_on_commit=False)


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to `revision`; several processes may call it at once."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        _lock(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _lock(connection: Connection) -> None:
    connection.exec_driver_sql("select pg_advisory_xact_lock(7276001)")
