"""Runs commands on the worker's own host: no shell, own session, fixed environment."""

import os
import secrets
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from app.command import Command
from app.errors import StepError
from app.filling import Text, reveal
from app.step import Credential, Target
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.checks import last_line, raise_unless_passed, refuse_stopped
from tasks.runners.environment import FIXED, MARKER, SEARCH_PATH
from tasks.runners.local_user import LocalUser, find_local_user
from tasks.runners.output import open_outputs
from tasks.runners.processes import end_processes, signal_group
from tasks.runners.remote import is_refused
from tasks.runners.watch import Feed, watch
from tool_catalog.model import Reason

_READ_BYTES = 64 * 1024
#: A child that left with our pipe open is not waited for longer than this.
_AFTER_EXIT_S = 0.5


class LocalRunner:
    """Runs an argv as a child process that dies with its worker."""

    def __init__(self, scratch: Path) -> None:
        #: Where artifacts are written until somebody stores them; made when needed.
        self._scratch = scratch

    def run(
        self,
        command: Command,
        target: Target,  # noqa: ARG002  # this host is the only target
        credential: Credential | None,  # noqa: ARG002  # no login on our own host
        control: StepControl,
    ) -> RawOutput:
        """Run it here; missing programs and failed prechecks are told before the step is armed."""
        argv = _find_program(command.argv)
        user = find_local_user(command.run_as)
        if command.precheck:
            self._check(command, user, control)
        elif user is not None and user.by_sudo and control.arms:
            self._check_sudo(command, user, control)
        raw = self._run_one(replace(command, argv=argv), user, control, control.before_effect)
        if user is not None and user.by_sudo and raw.exit_code == 1 and is_refused(raw.stderr):
            raise _refused(user, raw)
        return raw

    def close(self) -> None:
        """Nothing is kept."""

    def _check(self, command: Command, user: LocalUser | None, control: StepControl) -> None:
        """Raise CHECK_FAILED unless the precheck exits 0."""
        raw = self._ask(_find_program(command.precheck), command, user, control)
        if user is not None and user.by_sudo and raw.exit_code == 1 and is_refused(raw.stderr):
            raise _refused(user, raw)
        raise_unless_passed(command.precheck, raw)

    def _check_sudo(self, command: Command, user: LocalUser, control: StepControl) -> None:
        """Raise NO_PRIVILEGE before anything is armed, unless sudo lets the worker."""
        raw = self._ask(_find_program(("true",)), command, user, control)
        if raw.exit_code != 0:
            raise _refused(user, raw)

    def _ask(
        self,
        argv: tuple[str, ...],
        command: Command,
        user: LocalUser | None,
        control: StepControl,
    ) -> RawOutput:
        """Run something short beside a command, as the same user."""
        asked = Command(kind="argv", argv=argv, env=command.env)
        quiet = StepControl(control.seconds_left, cancelled=control.cancelled)
        return self._run_one(asked, user, quiet, quiet.before_effect)

    def _run_one(
        self,
        command: Command,
        user: LocalUser | None,
        control: StepControl,
        before_effect: Callable[[], None],
    ) -> RawOutput:
        refuse_stopped(control)
        outputs = open_outputs(command, self._scratch, control.on_line)
        try:
            before_effect()
            with _Child(command, user, control.seconds_left) as child:
                return watch(child, command, outputs, control)
        except BaseException:
            outputs.discard()
            raise


def _refused(user: LocalUser, raw: RawOutput) -> StepError:
    return StepError(
        Reason.NO_PRIVILEGE,
        f"this worker cannot become {user.entry.pw_name}: {last_line(raw)}; "
        "allow it in sudoers (NOPASSWD), or run the step on an asset",
    )


def _find_program(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The argv with the program's absolute path; raises MISSING_PROGRAM.

    It is looked for where a worker looks before it offers a program, and nowhere else.
    """
    program = argv[0] if argv else ""
    found = shutil.which(program, path=SEARCH_PATH)
    if found is None:
        raise StepError(
            Reason.MISSING_PROGRAM,
            f"{program or 'an empty command'} is not installed on this worker; install it, "
            "or run the step on a worker that has it",
        )
    return (str(Path(found).absolute()), *argv[1:])


@cache
def _death_watch() -> tuple[str, ...]:
    """What makes a child die with its parent; nothing where util-linux's setpriv is missing."""
    setpriv = shutil.which("setpriv", path=SEARCH_PATH)
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


class _Child:
    """A child process in its own session; every way out of the `with` leaves nothing running."""

    def __init__(self, command: Command, user: LocalUser | None, seconds_left: float) -> None:
        self._marker = secrets.token_hex(16)
        #: Whose processes only sudo can reach.
        self._behind_sudo = user if user is not None and user.by_sudo else None
        self._pipes = {"stdout": os.pipe(), "stderr": os.pipe()}
        try:
            if user is not None:
                command = user.prepare(command, self._marker, seconds_left)
            identity = {} if user is None else user.identity
            self._process = _start(command, self._marker, self._pipes, identity)
        except StepError:
            self._close_pipes()
            raise
        finally:
            for _, write_end in self._pipes.values():
                os.close(write_end)
        self._selector = selectors.DefaultSelector()
        self._exit = os.pidfd_open(self._process.pid)
        self._selector.register(self._exit, selectors.EVENT_READ)
        for name, (read_end, _) in self._pipes.items():
            self._selector.register(read_end, selectors.EVENT_READ, name)
        #: When we stop reading; set once the process has exited.
        self._until: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._until is None:
            self.end()
        # Nobody has waited for the leader, so its group's number cannot be another's yet.
        signal_group(self._process.pid, signal.SIGKILL)
        self._selector.close()
        os.close(self._exit)
        self._close_pipes()
        with suppress(subprocess.TimeoutExpired):  # another user's: told as "unverified"
            self._process.wait(timeout=_AFTER_EXIT_S)

    def _close_pipes(self) -> None:
        for read_end, _ in self._pipes.values():
            os.close(read_end)

    def pump(self, feed: Feed, timeout_s: float) -> bool:
        """Wait for output or exit, and feed what came."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._selector.unregister(self._exit)
                self._until = time.monotonic() + _AFTER_EXIT_S
                continue
            data = os.read(key.fd, _READ_BYTES)
            if data:
                feed(key.data, data)
            else:
                self._selector.unregister(key.fileobj)
        if self._until is None:
            return True
        return bool(self._selector.get_map()) and time.monotonic() < self._until

    def signal(self, name: str) -> None:
        """Signal the whole group."""
        if self._behind_sudo is not None:
            self._behind_sudo.signal(self._marker, name)
            return
        signal_group(self._process.pid, signal.Signals[f"SIG{name}"])

    def end(self) -> str:
        """End the group, what left it, and their children; what is left."""
        if self._behind_sudo is not None:
            return self._behind_sudo.end(self._marker)
        return end_processes(self._process.pid, self._marker)

    def exit_code(self) -> int | None:
        """128 + the signal's number where a signal ended it; None while it lives."""
        look = os.WEXITED | os.WNOWAIT | os.WNOHANG
        ended = os.waitid(os.P_PID, self._process.pid, look)
        if ended is None:
            return None
        return ended.si_status + (0 if ended.si_code == os.CLD_EXITED else 128)


def _start(
    command: Command,
    marker: str,
    pipes: Mapping[str, tuple[int, int]],
    identity: Mapping[str, Any],
) -> "subprocess.Popen[bytes]":
    env = {**FIXED, "HOME": "/nonexistent", MARKER: marker}
    env |= {name: reveal(value) for name, value in command.env.items()}
    stdin = _stdin(command.stdin)
    try:
        return subprocess.Popen(  # noqa: S603  # an argv of ours, never a shell
            [*_death_watch(), *command.argv],
            stdin=stdin,
            stdout=pipes["stdout"][1],
            stderr=pipes["stderr"][1],
            env=env,
            cwd="/",
            start_new_session=True,
            **identity,
        )
    except OSError as error:
        raise StepError(
            Reason.INTERNAL, f"{command.argv[0]} could not be started: {error.strerror}"
        ) from None
    finally:
        os.close(stdin)


def _stdin(text: Text | None) -> int:
    """A file to read from: memory only, so that a secret in it touches no disk."""
    if text is None:
        return os.open(os.devnull, os.O_RDONLY)
    handle = os.memfd_create("stdin")
    with os.fdopen(os.dup(handle), "wb") as file:
        file.write(reveal(text).encode())
    os.lseek(handle, 0, os.SEEK_SET)
    return handle
