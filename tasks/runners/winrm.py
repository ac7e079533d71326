"""Runs PowerShell on Windows hosts over WinRM; every shell is closed, whatever happens."""

import base64
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.command import Command
from app.errors import StepError
from app.filling import reveal
from app.step import Credential, Target
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.checks import refuse_stopped
from tasks.runners.clixml import ErrorText
from tasks.runners.opening import open_unless_stopped
from tasks.runners.output import open_outputs
from tasks.runners.watch import Feed, watch
from tasks.runners.winrm_shell import Shell, read_connection
from tool_catalog.model import Reason

log = logging.getLogger(__name__)

#: The script follows as base64 of UTF-16LE. No -OutputFormat: warnings would land in the output.
_PROGRAM = "powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass"
#: What the frame of every script writes where a cmdlet is missing (`app.powershell`).
_NO_CMDLET = re.compile(
    rb"^\w+: CommandNotFoundException: [^'\n]*'(?P<name>[^'\n]+)'", re.MULTILINE
)


class WinrmRunner:
    """Runs a script in a shell of its own; nothing is kept between two steps.

    A connection is cheap beside the start of PowerShell, and one that was kept may be dead.
    """

    def __init__(self, scratch: Path, ca_file: Path | None = None) -> None:
        #: Where artifacts are written until somebody stores them; made when needed.
        self._scratch = scratch
        #: Authorities to trust where the asset names none; None: the public ones.
        self._ca_file = ca_file

    def run(
        self,
        command: Command,
        target: Target,
        credential: Credential | None,
        control: StepControl,
    ) -> RawOutput:
        """Log in, start PowerShell, arm, hand it its parameters, follow it to its end."""
        if command.script is None:
            message = (
                f"{target.name} is reached by WinRM, which runs PowerShell and no other program"
            )
            raise StepError(Reason.INVALID_PARAMETER, message)
        if credential is None:
            message = f"there is no credential for {target.name}; add one to the asset"
            raise StepError(Reason.AUTH_FAILED, message)
        refuse_stopped(control)
        with self._open(target, credential, command_line(command.script), control) as shell:
            raw = self._follow(shell, command, control)
        _explain(raw, target)
        return raw

    def close(self) -> None:
        """Nothing is kept."""

    def _follow(self, shell: Shell, command: Command, control: StepControl) -> RawOutput:
        refuse_stopped(control)
        outputs = open_outputs(command, self._scratch, control.on_line)
        try:
            control.before_effect()
            shell.send(base64.b64encode(reveal(command.stdin or "{}").encode()) + b"\r\n")
            return watch(_Script(shell), command, outputs, control)
        except BaseException:
            outputs.discard()
            raise

    @contextmanager
    def _open(
        self, target: Target, credential: Credential, line: str, control: StepControl
    ) -> Iterator[Shell]:
        """A shell in which PowerShell waits for its parameters."""
        with _trusted(target, self._ca_file) as ca_file:
            shell = open_unless_stopped(
                lambda: _start(Shell(target, credential, ca_file), line), _close, control
            )
            try:
                yield shell
            finally:
                _close(shell)


def _start(shell: Shell, line: str) -> Shell:
    try:
        shell.open()
        shell.start(line)
    except BaseException:
        _close(shell)
        raise
    return shell


def _close(shell: Shell) -> None:
    if not shell.close():
        log.warning("a shell on %s may be open for three minutes", shell.name)


def command_line(script: str) -> str:
    """The command line that runs a script; the same for every value of its parameters."""
    return f"{_PROGRAM} -EncodedCommand {base64.b64encode(script.encode('utf-16-le')).decode()}"


@contextmanager
def _trusted(target: Target, ca_file: Path | None) -> Iterator[Path | None]:
    """A file with the authorities that the asset's `connection.ca` holds, else the given one."""
    own = read_connection(target).ca
    if own is None:
        yield ca_file
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(own)
        file.flush()
        yield Path(file.name)


def _explain(raw: RawOutput, target: Target) -> None:
    """Raise where a cmdlet of the script is not on the host."""
    found = _NO_CMDLET.search(raw.stderr) if raw.exit_code == 1 else None
    if found is not None:
        raise StepError(
            Reason.MISSING_PROGRAM,
            f"{found['name'].decode(errors='replace')} is not installed on {target.name}; "
            "add the module or the feature that holds it",
        )


class _Script:
    """A script that runs in a shell."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._errors = ErrorText()
        self._exit_code: int | None = None
        self._ended = False

    def pump(self, feed: Feed, timeout_s: float) -> bool:  # noqa: ARG002  # the host waits a second
        """Ask for output, and feed what came; raises UNREACHABLE when it is cut off."""
        if self._ended:
            return False
        out, err, self._exit_code, self._ended = self._shell.receive()
        feed("stdout", out)
        feed("stderr", self._errors.feed(err))
        if self._ended:
            feed("stderr", self._errors.finish())
        return not self._ended

    def signal(self, name: str) -> None:  # noqa: ARG002  # WinRM knows no other signal that ends
        """End the command, as the one way to stop it."""
        self._shell.terminate()

    def end(self) -> str:
        """End the command and its shell; empty when the host knows them no longer."""
        with suppress(StepError):  # the end of the shell ends it, too
            self._shell.terminate()
        self._ended = True
        if self._shell.close() and self._shell.is_gone():
            return ""
        return "the host did not confirm that the shell ended; it ends idle shells in three minutes"

    def exit_code(self) -> int | None:
        """The exit code of a script that ended by itself."""
        return self._exit_code
