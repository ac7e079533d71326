"""`python -m app.admin.prepare`: bring the schema up to date, make the keys of a first start.

A process of its own, so that neither the supervisor nor the CLI carries the database's libraries.
"""

import argparse
import secrets
import sys
import time
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.admin.state import write_private
from app.config import Settings, read_settings
from app.errors import Conflict, OpsfarmError
from app.principal import Role
from app.store.db import make_engine, migrate
from app.store.keyring import Keyring, make_key_file
from app.store.principals import Principals

#: How long a database may take to answer after its start.
PATIENCE_S = 60.0


def wait_for_database(engine: Engine, patience_s: float = PATIENCE_S) -> None:
    """Wait until it takes a connection; raises OperationalError when it does not in time."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def make_keys(engine: Engine, settings: Settings, admin_key_file: Path) -> None:
    """Make the farm's key and an administrator's API key where there are none that fit."""
    key_file = settings.secret_key_file
    if key_file is not None and not settings.secret_key and not key_file.exists():
        make_key_file(key_file)
    principals = Principals(engine, Keyring.from_settings(settings))
    if admin_key_file.exists() and principals.find(admin_key_file.read_text().strip()):
        return
    write_private(admin_key_file, _add_administrator(principals, settings.tenant) + "\n")


def _add_administrator(principals: Principals, tenant: str) -> str:
    """The key of a new administrator; an earlier one whose key was lost keeps its name."""
    try:
        return principals.add(tenant, "admin", Role.ADMIN)[1]
    except Conflict:
        return principals.add(tenant, f"admin-{secrets.token_hex(4)}", Role.ADMIN)[1]


def main() -> int:
    """Exit status 0 when the farm may start; else one line that says why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--admin-key-file", type=Path, help="made when it is missing or unknown")
    given = parser.parse_args()
    try:
        settings = read_settings()
        engine = make_engine(settings.database_url, name="opsfarm prepare")
        wait_for_database(engine)
        migrate(engine)
        if given.admin_key_file:
            make_keys(engine, settings, given.admin_key_file)
        engine.dispose()
    except OpsfarmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OperationalError as error:
        # Without the URL: it holds the password.
        sys.stderr.write(f"the database does not answer: {str(error.orig).strip()}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
