"""What Windows hosts are asked over WinRM, and devices and services over HTTP."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app import http_connection, winrm_connection
from app.command import Command
from app.errors import StepError
from app.http_connection import read_http_connection
from app.http_request import Request
from app.powershell import frame_script
from app.step import Credential, Target
from app.winrm_connection import read_winrm_connection
from tasks.operations.automation.host_visit import NotAsked, Probe, Visit
from tasks.operations.base import OperationContext
from tool_catalog.model import Reason

_UNAUTHORISED = (401, 403)
#: Scripts that only read; any account that may log in may run them.
PROBE = "$true"
READ_OS = "Get-CimInstance -ClassName Win32_OperatingSystem | Select-Object -Property Caption"


class WinrmVisit(Visit):
    """A Windows host over WinRM."""

    def __init__(
        self, target: Target, context: OperationContext, parameters: Mapping[str, Any]
    ) -> None:
        super().__init__(target, context, parameters)
        ports = winrm_connection.DEFAULT_PORTS
        self.port = self.port or ports[_scheme(target, read_winrm_connection)]

    def probes(self) -> Iterator[tuple[str, Probe]]:
        """The certificate is judged with the login: the runner shows both."""
        yield from super().probes()
        yield "login", self.login
        yield "os", self.read_os

    def login(self) -> str:
        """A login, and a PowerShell that answers."""
        credential = self.need_login()
        self._shell(PROBE)
        return f"as {credential.username} with credential {credential.name}"

    def read_os(self) -> str:
        """What Windows calls itself."""
        answer = self._shell(READ_OS)
        try:
            self.os = str(json.loads(answer)[0]["Caption"]).strip()
        except (ValueError, LookupError, TypeError):
            words = "Win32_OperatingSystem says nothing there; the login works all the same"
            raise StepError(Reason.INVALID_OUTPUT, words) from None
        return self.os

    def _shell(self, pipeline: str) -> str:
        command = Command(kind="powershell", script=frame_script(pipeline), stdin="{}")
        raw = self.run(command, self.context.credential)
        if raw.exit_code != 0:
            said = raw.stderr_tail.decode(errors="replace").strip() or f"exit {raw.exit_code}"
            raise StepError(Reason.EXIT_CODE, f"PowerShell failed there: {said}")
        return raw.stdout.decode(errors="replace")


class HttpVisit(Visit):
    """A device or service over HTTP."""

    def __init__(
        self, target: Target, context: OperationContext, parameters: Mapping[str, Any]
    ) -> None:
        super().__init__(target, context, parameters)
        ports = http_connection.DEFAULT_PORTS
        self.port = self.port or ports[_scheme(target, read_http_connection)]
        self._asks = False

    def probes(self) -> Iterator[tuple[str, Probe]]:
        """The certificate is judged with the first answer."""
        yield from super().probes()
        yield "answer", self.answer
        yield "login", self.login

    def answer(self) -> str:
        """What the server says to somebody without a login."""
        try:
            return f"HTTP {self._ask(None)} at {self._path}"
        except StepError as error:
            if error.reason is not Reason.AUTH_FAILED:
                raise
            self._asks = True
            return f"{self._path} asks for a login"

    def login(self) -> str:
        """What it says to the credential."""
        if not self._asks:
            raise NotAsked(f"nothing at {self._path} asks for one; name another `path` to try it")
        credential = self.need_login()
        status = self._ask(credential)
        return f"as {credential.username} with credential {credential.name}: HTTP {status}"

    @property
    def _path(self) -> str:
        return str(self.parameters.get("path", "/"))

    def _ask(self, credential: Credential | None) -> int:
        request = Request(method="GET", path=self._path)
        raw = self.run(Command(kind="http", request=request), credential)
        status = raw.status or 0
        if status in _UNAUTHORISED:
            words = f"{self.target.name} refused the login (HTTP {status}); check the credential"
            raise StepError(Reason.AUTH_FAILED, words)
        return status


def _scheme(target: Target, read: Callable[[Mapping[str, Any]], Any]) -> str:
    """Http or https; raises StepError for a `connection` that cannot be."""
    try:
        return str(read(target.options).scheme)
    except ValueError as error:
        words = f"the asset {target.name} cannot be reached: connection.{error}"
        raise StepError(Reason.INVALID_PARAMETER, words) from None
