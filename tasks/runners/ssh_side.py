"""Short programs on a connection that serves something else, on channels of their own."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import paramiko

from app.command import Command
from app.errors import StepError, Stopped
from tasks.runners.base import StepControl
from tasks.runners.remote import Become, stdin_text, wrap
from tasks.runners.ssh_connections import Session
from tool_catalog.model import Reason

_BLOCK_BYTES = 64 * 1024
#: How long a program may say nothing before we look at cancel and deadline again.
_QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Side:
    """Runs programs as the login, or as whom it becomes."""

    session: Session
    become: Become
    control: StepControl

    def start(self, channel: paramiko.Channel, *argv: str) -> None:
        """Run a program on a channel; what follows on it is the program's standard input."""
        marker = secrets.token_hex(16)
        command = Command(kind="argv", argv=argv)
        line = self.become.command_line(wrap(command, marker, self.control.seconds_left))
        channel.exec_command(line)
        channel.sendall(stdin_text(command, self.become, marker).encode())

    def run(self, *argv: str) -> bytes:
        """What a program prints; nothing where the login may run none, or it is not there."""
        try:
            with self.session.connection.create_session() as channel:
                channel.settimeout(_QUIET_S)
                self.start(channel, *argv)
                channel.shutdown_write()
                return b"".join(self._listen(channel))
        except (OSError, paramiko.SSHException):
            if self.session.connection.is_connected:
                return b""
            raise

    def _listen(self, channel: paramiko.Channel) -> Iterator[bytes]:
        while True:
            keep_going(self.control)
            with suppress(TimeoutError):
                block = channel.recv(_BLOCK_BYTES)
                if not block:
                    return
                yield block


def keep_going(control: StepControl) -> None:
    """Raise where the step shall stop or its time is over."""
    if control.cancelled.is_set():
        raise Stopped("stopped while the file was copied", verified=True)
    if not control.seconds_left:
        raise StepError(
            Reason.TIMEOUT,
            f"the transfer took longer than {control.timeout_s:g} s; "
            "give the step a longer timeout_s",
        )
