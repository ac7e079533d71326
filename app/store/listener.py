"""Waiting for PostgreSQL's notifications on a connection of its own."""

import os
import select
from collections.abc import Sequence
from typing import Any, Self

from psycopg2 import Error
from sqlalchemy import Engine

from app.errors import Unavailable
from app.store.db import guard_unavailable


class Listener:
    """LISTENs on one channel; a context manager. Raises Unavailable when the ledger is away."""

    def __init__(self, engine: Engine, channel: str) -> None:
        with guard_unavailable():
            self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.exec_driver_sql(f'listen "{channel}"')
        self._driver: Any = self._connection.connection.driver_connection
        self._wake_reader, self._wake_writer = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Not back into the pool: a connection that listens must not serve anybody else.
        self._connection.invalidate()
        self._connection.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def wait(self, timeout_s: float | None) -> Sequence[str]:
        """The payloads that came; none after `timeout_s` seconds or a `wake`."""
        ready, _, _ = select.select([self._driver, self._wake_reader], [], [], timeout_s)
        if self._wake_reader in ready:
            os.read(self._wake_reader, 4096)
        try:
            self._driver.poll()
        except Error as error:
            raise Unavailable("the ledger (PostgreSQL) closed the connection") from error
        payloads = [notice.payload for notice in self._driver.notifies]
        self._driver.notifies.clear()
        return payloads

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        os.write(self._wake_writer, b".")
