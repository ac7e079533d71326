"""`python -m app.admin.supervisor`: the resident parent of everything in an embedded farm."""

import argparse
import os
import select
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from honcho.environ import parse_procfile

from app.admin.arrange import Arrangement, arrange
from app.admin.child import Child, end_leftovers, last_line
from app.admin.servers import answers, prepare_postgres, prepare_redis
from app.admin.state import (
    FarmState,
    FarmStatus,
    StateFolder,
    hold_lock,
    read_status,
    write_farm,
    write_status,
)
from app.config import PROJECT, Settings, read_settings
from app.errors import ConfigError

START_TIMEOUT_S = 90.0
#: Starts of PostgreSQL or Redis that may fail before the farm gives up.
SERVER_TRIES = 3
#: Beyond `drain_s`: what an orderly end may take before it is forced.
END_SLACK_S = 15.0
SERVER_END_S = 20.0


class _StopAsked(Exception):
    """SIGTERM, SIGINT or SIGHUP came."""


class _Bell:
    """Wakes the one thread for a signal: a child's end, or the wish to stop."""

    def __init__(self) -> None:
        self._read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop = False
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note_stop)

    def wait(self, timeout_s: float) -> None:
        """Return at a signal or after the time."""
        if select.select([self._read_end], [], [], timeout_s)[0]:
            os.read(self._read_end, 4096)

    def answer_stop(self) -> None:
        """Raise _StopAsked once when somebody asked for the end."""
        if self._stop:
            self._stop = False
            raise _StopAsked

    def _note_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop = True


class Supervisor:
    """Starts servers and processes, restarts what dies, ends everything in order."""

    def __init__(self, folder: StateFolder, settings: Settings, procfile: Path) -> None:
        self._folder = folder
        self._settings = settings
        self._procfile = procfile
        self._bell = _Bell()
        self._servers: list[Child] = []
        self._processes: list[Child] = []
        self._doing = (FarmState.STARTING, "")

    def run(self) -> int:
        """Run the farm until SIGTERM; exit status 1 when it could not start."""
        try:
            self._start()
            self._say(FarmState.RUNNING, "")
            while True:
                self._turn(60)
        except _StopAsked:
            self._stop()
            return 0
        except (ConfigError, OSError) as error:
            self._stop()
            self._say(FarmState.FAILED, str(error))
            sys.stderr.write(f"{error}\n")
            return 1

    def _start(self) -> None:
        self._say(FarmState.STARTING, "ending what an earlier farm left")
        before = read_status(self._folder)
        end_leftovers(before.processes if before else ())
        given = arrange(self._folder, self._settings)
        write_farm(self._folder, given.farm)
        preparation = self._child("prepare", _prepare_argv(self._folder), given)
        preparation.start()  # its imports take as long as the servers' start
        try:
            self._say(FarmState.STARTING, "starting PostgreSQL and Redis")
            self._start_servers(given)
            self._say(FarmState.STARTING, "bringing the ledger's schema up to date")
            self._turn_until(lambda: preparation.ended, "PostgreSQL")
        finally:
            preparation.kill()
        if preparation.process is None or preparation.process.returncode != 0:
            raise ConfigError(
                f"the ledger could not be prepared: {last_line(preparation.log)} "
                f"(see {self._folder.logs})"
            )
        self._start_processes(given)

    def _start_servers(self, given: Arrangement) -> None:
        if given.redis_password:
            argv = prepare_redis(
                self._folder.path / "redis", given.farm.ports["redis"], given.redis_password
            )
            self._start_server(self._child("redis", argv, given), signal.SIGTERM)
        if given.postgres_password:
            argv = prepare_postgres(
                self._folder.path / "postgres",
                given.farm.ports["postgres"],
                given.postgres_password,
                ["max_connections=200"],
            )
            # SIGINT is its fast shutdown: open connections are ended, not waited for.
            self._start_server(self._child("postgres", argv, given), signal.SIGINT)
        for child in self._servers:
            self._wait_for_server(child, given.farm.ports[child.name])

    def _wait_for_server(self, child: Child, port: int) -> None:
        self._turn_until(lambda: answers(port) or child.restarts >= SERVER_TRIES, child.name)
        if child.restarts >= SERVER_TRIES:
            raise ConfigError(f"{child.name} does not stay up ({child.note}); see {child.log}")

    def _start_server(self, child: Child, end_with: signal.Signals) -> None:
        child.stop_signal = child.death_signal = end_with
        child.start()
        self._servers.append(child)

    def _start_processes(self, given: Arrangement) -> None:
        self._say(FarmState.STARTING, "starting the processes")
        for name, command in read_procfile(self._procfile):
            child = self._child(name, command, given)
            child.start()
            self._processes.append(child)
            self._bell.answer_stop()

    def _child(self, name: str, argv: Sequence[str], given: Arrangement) -> Child:
        return Child(name, argv, self._folder.log_of(name), given.environment)

    def _turn(self, timeout_s: float) -> None:
        """Wait for something to happen and see to it."""
        paused = any(child.is_paused for child in self._children)
        self._bell.wait(min(timeout_s, 0.1) if paused else timeout_s)
        changed = [child.watch() for child in self._children]
        if any(changed):
            self._say(*self._doing)
        self._bell.answer_stop()

    def _turn_until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not done():
            self._turn(0.02)
            if time.monotonic() > deadline:
                raise ConfigError(f"{what} did not start; see {self._folder.logs}")

    def _stop(self) -> None:
        """End the processes, then the servers that they need to end in order."""
        self._say(FarmState.STOPPING, "letting running steps end")
        self._end(self._processes, self._settings.drain_s + END_SLACK_S)
        self._say(FarmState.STOPPING, "stopping PostgreSQL and Redis")
        self._end(self._servers, SERVER_END_S)

    def _end(self, children: Sequence[Child], patience_s: float) -> None:
        for child in children:
            child.ask_to_end()
        deadline = time.monotonic() + patience_s
        while not all(child.ended for child in children) and time.monotonic() < deadline:
            self._bell.wait(0.1)
        for child in children:
            child.kill()

    @property
    def _children(self) -> list[Child]:
        return [*self._servers, *self._processes]

    def _say(self, state: FarmState, message: str) -> None:
        self._doing = (state, message)
        seen = [child.status for child in self._children]
        write_status(self._folder, FarmStatus(os.getpid(), state, message, seen))


def _prepare_argv(folder: StateFolder) -> list[str]:
    key_file = str(folder.admin_key_file)
    return [sys.executable, "-m", "app.admin.prepare", "--admin-key-file", key_file]


def read_procfile(path: Path) -> list[tuple[str, list[str]]]:
    """Name and argv of each process; `python` is ours, whatever PATH says."""
    processes = parse_procfile(path.read_text()).processes
    found = [(name, shlex.split(command)) for name, command in processes.items()]
    if not found or not all(argv for _name, argv in found):
        raise ConfigError(f"{path} names no process, or one without a command")
    return [
        (name, [sys.executable, *argv[1:]] if argv[0] == "python" else argv) for name, argv in found
    ]


def main() -> int:
    """Run until SIGTERM; exit status 1 when another supervisor holds the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--procfile", type=Path, default=PROJECT / "Procfile")
    procfile = parser.parse_args().procfile
    try:
        settings = read_settings()
        folder = StateFolder(settings.state_dir.resolve())
        folder.make()
        with hold_lock(folder):
            return Supervisor(folder, settings, procfile).run()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
