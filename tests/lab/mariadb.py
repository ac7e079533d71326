"""A real MariaDB of the test's own on loopback."""

import getpass
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.admin.servers import answers, find_free_port
from tests.lab.daemon import run_daemon
from tests.lab.root_tree import PASSWORD

#: Two people: `ops` may do everything with the database `lab`, `guest` only log in.
ACCOUNTS = f"""
alter user 'root'@'localhost' identified by '{PASSWORD}';
create database lab;
create user 'ops'@'127.0.0.1' identified by '{PASSWORD}';
grant all on lab.* to 'ops'@'127.0.0.1';
create user 'guest'@'127.0.0.1' identified by '{PASSWORD}';
"""


@dataclass(frozen=True)
class MariaDb:
    """A running server."""

    port: int
    socket: Path
    user: str = "ops"
    password: str = PASSWORD
    database: str = "lab"

    def ask(self, query: str) -> list[list[str]]:
        """Rows of a query, as root."""
        argv = ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root"]
        argv += [f"--password={PASSWORD}", "--batch", "--skip-column-names", self.database]
        done = subprocess.run([*argv, "-e", query], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]


@contextmanager
def run_mariadb(folder: Path, program: str) -> Iterator[MariaDb]:
    """Make a server in an empty folder (3 s) and run it; `program` is the path of mariadbd."""
    data, accounts = folder / "data", folder / "accounts.sql"
    accounts.write_text(ACCOUNTS)
    user = f"--user={getpass.getuser()}"
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", user]
    install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True)
    server = MariaDb(find_free_port(), folder / "socket")
    argv = [program, "--no-defaults", user, f"--datadir={data}", f"--socket={server.socket}"]
    argv += ["--bind-address=127.0.0.1", f"--port={server.port}", f"--init-file={accounts}"]
    argv += [f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=0"]
    with run_daemon(argv, folder / "mariadb.log", lambda: answers(server.port)):
        yield server
