"""Runs commands on POSIX hosts over SSH, and ends them there for certain."""

import secrets
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

from app.command import Command
from app.errors import StepError
from app.step import Credential, Target
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.checks import last_line, raise_unless_passed, refuse_stopped
from tasks.runners.output import open_outputs
from tasks.runners.remote import (
    MISSING_STATUS,
    MISSING_WORDS,
    Become,
    become_by,
    is_refused,
    read_stop,
    signal_argv,
    stdin_text,
    stop_argv,
    wrap,
)
from tasks.runners.sftp import RemoteFiles
from tasks.runners.ssh_connections import Connections, Session, unreachable
from tasks.runners.watch import Feed, watch
from tool_catalog.model import Reason

_READ_BYTES = 64 * 1024
#: How much is read before cancel and deadline are looked at again, in reads.
_READS = 16
#: A remote child that left with our pipe open is not waited for longer than this.
_AFTER_EXIT_S = 0.5
#: For the side channel that signals and ends; ending takes up to 3 s.
_SIDE_S = 6.0

_LOST = (OSError, EOFError, paramiko.SSHException)


class SshRunner:
    """Runs an argv on a target; connections are kept, one command at a time on each."""

    def __init__(self, scratch: Path) -> None:
        #: Where artifacts are written until somebody stores them; made when needed.
        self._scratch = scratch
        self._connections = Connections()

    def run(
        self,
        command: Command,
        target: Target,
        credential: Credential | None,
        control: StepControl,
    ) -> RawOutput:
        """Connect, check, arm, run. Raises StepError saying what to do next."""
        credential = _need(credential, target)
        refuse_stopped(control)
        if command.precheck:
            self._check(command, target, credential, control)
        elif command.run_as is not None and control.arms:
            self._check_become(command, target, credential, control)
        raw = self._run_one(command, target, credential, control)
        _explain(command, target, credential, raw)
        return raw

    @contextmanager
    def files(
        self,
        target: Target,
        credential: Credential | None,
        control: StepControl,
        user: str | None = None,
    ) -> Iterator[RemoteFiles]:
        """The target's files, as the login or as `user`; raises StepError saying what to do."""
        credential = _need(credential, target)
        refuse_stopped(control)
        with (
            self._connections.session(target, credential, control) as session,
            RemoteFiles(session, become_by(user, credential), control) as files,
        ):
            yield files

    def close(self) -> None:
        """Close the kept connections."""
        self._connections.close()

    def _check(
        self, command: Command, target: Target, credential: Credential, control: StepControl
    ) -> None:
        """Raise CHECK_FAILED unless the precheck exits 0."""
        raw = self._ask(command.precheck, command, target, credential, control)
        raise_unless_passed(command.precheck, raw)

    def _check_become(
        self, command: Command, target: Target, credential: Credential, control: StepControl
    ) -> None:
        """Raise NO_PRIVILEGE before anything is armed, unless the user can be become."""
        raw = self._ask(("true",), command, target, credential, control)
        if raw.exit_code != 0:
            raise _refused(command, target, credential, last_line(raw))

    def _ask(
        self,
        argv: tuple[str, ...],
        command: Command,
        target: Target,
        credential: Credential,
        control: StepControl,
    ) -> RawOutput:
        """Run something short beside a command, as the same user; raises as `run` does."""
        asked = Command(kind="argv", argv=argv, env=command.env, run_as=command.run_as)
        quiet = StepControl(control.seconds_left, cancelled=control.cancelled)
        raw = self._run_one(asked, target, credential, quiet)
        _explain(asked, target, credential, raw)
        return raw

    def _run_one(
        self, command: Command, target: Target, credential: Credential, control: StepControl
    ) -> RawOutput:
        marker = secrets.token_hex(16)
        become = become_by(command.run_as, credential)
        line = become.command_line(wrap(command, marker, control.seconds_left))
        stdin = stdin_text(command, become, marker)
        with self._connections.session(target, credential, control) as session:
            refuse_stopped(control)
            outputs = open_outputs(command, self._scratch, control.on_line)
            try:
                control.before_effect()
                remote = _Remote(session, become, marker)
                remote.start(line, stdin)
                return watch(remote, command, outputs, control)
            except BaseException:
                outputs.discard()
                raise


def _need(credential: Credential | None, target: Target) -> Credential:
    if credential is None:
        raise StepError(
            Reason.AUTH_FAILED,
            f"there is no credential for {target.name}; "
            f"'opsfarm credentials add NAME --asset {target.name} --user USER' adds one",
        )
    return credential


def _explain(command: Command, target: Target, credential: Credential, raw: RawOutput) -> None:
    """Raise where the command never began: its program is missing, or sudo refused."""
    missing = f"{MISSING_WORDS}: {command.argv[0]}".encode()
    if raw.exit_code == MISSING_STATUS and missing in raw.stderr:
        raise StepError(
            Reason.MISSING_PROGRAM,
            f"{command.argv[0]} is not installed on {target.name}; install it there",
        )
    if command.run_as is not None and raw.exit_code == 1 and is_refused(raw.stderr):
        raise _refused(command, target, credential, last_line(raw))


def _refused(command: Command, target: Target, credential: Credential, why: str) -> StepError:
    return StepError(
        Reason.NO_PRIVILEGE,
        f"{credential.username} cannot become {command.run_as} on {target.name}: {why}; "
        f"check the sudo rule there and the password of credential {credential.name}",
    )


class _Remote:
    """A command on a channel, which its marker finds again on the host."""

    def __init__(self, session: Session, become: Become, marker: str) -> None:
        self._session = session
        self._channel = session.channel
        self._become = become
        self._marker = marker
        #: When we stop reading; moved on by output once the command has exited.
        self._until: float | None = None

    def start(self, line: str, stdin: str) -> None:
        """Start it; raises UNREACHABLE where it may or may not have begun."""
        try:
            self._channel.settimeout(_SIDE_S)
            self._channel.exec_command(line)
            with suppress(OSError):  # it ended without reading: its output says why
                self._channel.sendall(stdin.encode())
                self._channel.shutdown_write()
        except _LOST as error:
            raise self._lost(error) from None

    def pump(self, feed: Feed, timeout_s: float) -> bool:
        """Wait for output or exit, and feed what came; raises UNREACHABLE when it is cut off."""
        self._wait(timeout_s)
        fed = self._read(feed)
        if not self._channel.exit_status_ready():
            return True
        if self._channel.eof_received or self._channel.closed:
            return self._read(feed)
        if fed or self._until is None:
            self._until = time.monotonic() + _AFTER_EXIT_S
        return time.monotonic() < self._until

    def signal(self, name: str) -> None:
        """Signal the program from a second channel."""
        with suppress(*_LOST):  # an `end` follows where this had no effect
            self._side(signal_argv(self._marker, name))

    def end(self) -> str:
        """End the command's processes from a second channel; of a new connection, if need be."""
        for _ in range(2):
            try:
                return read_stop(self._side(stop_argv(self._marker)))
            except _LOST:  # fabric opens a closed connection anew
                self._session.broken = True
                self._session.connection.close()
        return "the host does not answer, so nobody could look"

    def exit_code(self) -> int | None:
        """The exit status; None where a signal ended even the wrapper."""
        status = self._channel.exit_status
        if status == -1 and not self._session.connection.is_connected and not self._session.broken:
            raise self._lost(EOFError("the connection was closed"))
        return None if status == -1 else int(status)

    def _wait(self, timeout_s: float) -> None:
        if self._channel.eof_received:  # its file descriptor stays readable from here on
            self._channel.status_event.wait(timeout_s)
            return
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.poll(timeout_s * 1000)

    def _read(self, feed: Feed) -> bool:
        """Feed what has arrived; False where nothing had."""
        fed = False
        for _ in range(_READS):
            if self._channel.recv_ready():
                feed("stdout", self._channel.recv(_READ_BYTES))
            elif self._channel.recv_stderr_ready():
                feed("stderr", self._channel.recv_stderr(_READ_BYTES))
            else:
                break
            fed = True
        return fed

    def _side(self, argv: list[str]) -> str:
        return _ask(self._session.connection.create_session(), argv, self._become)

    def _lost(self, error: BaseException) -> StepError:
        self._session.broken = True
        return unreachable(self._session.target, error, sent=True)


def _ask(channel: paramiko.Channel, argv: list[str], become: Become) -> str:
    """The last line that a short command prints; raises what paramiko does."""
    with channel:
        channel.settimeout(_SIDE_S)
        channel.exec_command(become.command_line(argv))
        channel.sendall(become.line.encode())
        channel.shutdown_write()
        said = channel.makefile("rb").read()
    lines = said.decode(errors="replace").splitlines()
    return lines[-1].strip() if lines else ""
