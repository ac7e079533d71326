"""`python -m app.admin.rotate_key`: a new farm key, and every data key wrapped with it.

A process of its own, so that the CLI does not carry the database's libraries.
"""

import json
import sys
from pathlib import Path

from sqlalchemy import Engine

from app.config import Settings, read_settings
from app.errors import ConfigError, OpsfarmError
from app.store.credentials import Vault
from app.store.db import make_engine
from app.store.keyring import put_new_key, read_key_file


def rotate_key(engine: Engine, key_file: Path) -> int:
    """Put a new key first in the file, then wrap everything anew; gives how many data keys.

    In this order nothing is ever wrapped with a key that is not in the file. Raises ConfigError,
    Unavailable, and SealBroken when a secret does not open: then none is wrapped anew.
    """
    vault = Vault(engine, read_key_file(key_file))
    vault.rewrap(read_key_file(key_file))  # before a key is made: do all of them open?
    return vault.rewrap(put_new_key(key_file))


def find_key_file(settings: Settings) -> Path:
    """The file to change; raises ConfigError where the key is not in a file."""
    if settings.secret_key.get_secret_value() or settings.secret_key_file is None:
        raise ConfigError(
            "the farm key is not in a file: write it into one of mode 0600 and set "
            "OPSFARM_SECRET_KEY_FILE in place of OPSFARM_SECRET_KEY"
        )
    return settings.secret_key_file


def main() -> int:
    """Exit status 0, with JSON of what was done; else one line that says why not."""
    try:
        settings = read_settings()
        key_file = find_key_file(settings)
        engine = make_engine(settings.database_url, name="opsfarm rotate-key")
        count = rotate_key(engine, key_file)
        engine.dispose()
    except OpsfarmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"rewrapped": count, "key_file": str(key_file)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
