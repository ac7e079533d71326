"""One shell on a Windows host, over pywinrm's protocol; every error of its is mapped here."""

import ssl
from binascii import Error as BadBase64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import requests
from spnego.exceptions import SpnegoError
from winrm.exceptions import (
    AuthenticationError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from app.errors import StepError
from app.step import Credential, Target
from app.winrm_connection import DEFAULT_PORTS, WinrmConnection, read_winrm_connection
from tasks.runners.winrm_adapter import BoundedAdapter, BoundedTransport
from tool_catalog.model import Reason

_UTF8 = 65001
#: The host ends a shell, and what runs in it, when nobody asks for so long: our worker died.
_IDLE = "PT180S"
#: How long the host may be silent; it is asked to answer within `_OPERATION_S`.
_REQUEST_S = 10
_OPERATION_S = 8
#: What a call may take in all, with its login.
_CALL_S = 30
#: How long the host waits for output before it says that there is none yet: so soon stops work.
_RECEIVE_S = 1
_SEND_BYTES = 32 * 1024

#: Codes of WS-Management faults (winerror.h, wsmerror.h).
_ACCESS_DENIED = 5
_ABORTED = 995
_NO_SUCH_SHELL = 2150858843
_TOO_MANY_SHELLS = 2150859174

_REFUSED_LOGIN = (AuthenticationError, SpnegoError, PermissionError)
#: What pywinrm raises for an answer that is not one of WS-Management's.
_NO_WSMAN = (
    *(AssertionError, AttributeError, StopIteration, KeyError, TypeError, ValueError),
    *(ParseError, BadBase64, WinRMError),
)


class ShellGone(StepError):
    """The host knows the shell no more: it ended it, or was started anew."""


class Shell:
    """A shell with one command in it; `close` it whatever happened. Its errors are StepErrors."""

    def __init__(self, target: Target, credential: Credential, ca_file: Path | None) -> None:
        self._target = target
        self._credential = credential
        self._connection = read_connection(target)
        self._endpoint = _endpoint(target, self._connection.scheme)
        self._adapter = BoundedAdapter()
        self._protocol = self._make_protocol(ca_file)
        self._id = ""
        self._command = ""
        self._is_open = False
        #: The command got its input: it may have acted.
        self.sent = False

    @property
    def name(self) -> str:
        """The host's name."""
        return self._target.name

    def open(self) -> None:
        """Log in and open the shell."""
        with self._explained():
            self._id = self._protocol.open_shell(codepage=_UTF8, idle_timeout=_IDLE)
            self._is_open = True

    def start(self, line: str) -> None:
        """Start a command, which waits for its input."""
        with self._explained():
            self._command = self._protocol.run_command(self._id, line, console_mode_stdin=False)

    def send(self, data: bytes) -> None:
        """Hand the command its whole input."""
        self.sent = True
        pieces = [data[at : at + _SEND_BYTES] for at in range(0, len(data), _SEND_BYTES)]
        with self._explained():
            for number, piece in enumerate(pieces, 1):
                end = number == len(pieces)
                self._protocol.send_command_input(self._id, self._command, piece, end=end)

    def receive(self) -> tuple[bytes, bytes, int | None, bool]:
        """(stdout, stderr, exit code, whether it ended), after a second at the latest."""
        self._protocol.operation_timeout_sec = _RECEIVE_S
        try:
            with self._explained():
                return self._receive()
        finally:
            self._protocol.operation_timeout_sec = _OPERATION_S

    def terminate(self) -> None:
        """Tell the host to end the command."""
        with self._explained():
            self._protocol.cleanup_command(self._id, self._command)

    def close(self) -> bool:
        """End the shell and all that runs in it; True when the host confirmed it."""
        try:
            return not self._is_open or self._delete() or self._delete()
        finally:
            self._protocol.transport.close_session()

    def is_gone(self) -> bool:
        """Whether the host, asked once more, knows the shell no longer."""
        try:
            self.receive()
        except StepError as error:
            return isinstance(error, ShellGone)
        return False

    def _make_protocol(self, ca_file: Path | None) -> Protocol:
        """Raises StepError where the credential cannot work."""
        name, password = self._credential.username, self._credential.password
        if password is None:
            message = f"credential {self._credential.name} has no password, which WinRM needs"
            raise StepError(Reason.AUTH_FAILED, f"{message}; add one")
        login: list[Any] = [name, password.reveal()]
        if self._connection.transport == "basic":  # requests would write Latin-1 (RFC 7617, 2.1)
            login = [word.encode() for word in login]
        protocol = Protocol(
            self._endpoint,
            username=login[0],
            password=login[1],
            read_timeout_sec=_REQUEST_S,
            operation_timeout_sec=_OPERATION_S,
        )
        protocol.transport = BoundedTransport(
            self._adapter,
            endpoint=self._endpoint,
            username=login[0],
            password=login[1],
            auth_method=self._connection.transport,
            server_cert_validation="validate" if self._connection.verify_tls else "ignore",
            ca_trust_path=None if ca_file is None else str(ca_file),
            message_encryption="always" if self._connection.scheme == "http" else "never",
            read_timeout_sec=_REQUEST_S,
            proxy=None,
        )
        return protocol

    def _receive(self) -> tuple[bytes, bytes, int | None, bool]:
        try:
            out, err, code, done = self._protocol.get_command_output_raw(self._id, self._command)
        except WinRMOperationTimeoutError:
            return b"", b"", None, False
        except WSManFaultError as fault:
            if fault.wsman_fault_code != _ABORTED:
                raise
            return b"", b"", None, True
        return out, err, _signed(code) if done else None, done

    def _delete(self) -> bool:
        """Whether the shell is gone; a connection that broke is opened anew by the next try."""
        try:
            with self._explained():
                self._protocol.close_shell(self._id, close_session=False)
        except ShellGone:
            pass
        except StepError:
            return False
        self._is_open = False
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with self._adapter.within(_CALL_S):
                yield
        except WSManFaultError as fault:
            raise self._refused(fault) from None
        except WinRMOperationTimeoutError:
            raise self._unreachable("it did not answer in time") from None
        except (*_REFUSED_LOGIN, WinRMTransportError, requests.RequestException, *_NO_WSMAN) as e:
            # Nothing may follow on a connection whose encryption may not stand.
            self._protocol.transport.close_session()
            raise self._broken(e) from None

    def _refused(self, fault: WSManFaultError) -> StepError:
        name, code = self._target.name, fault.wsman_fault_code
        if code == _NO_SUCH_SHELL:
            return ShellGone(
                Reason.UNREACHABLE,
                f"{name} ended the shell while the script ran; was it started anew?",
                sent=self.sent,
            )
        if code == _TOO_MANY_SHELLS:
            message = (
                f"{name} has no room for another shell (its winrm/config/winrs allows no more)"
            )
            return StepError(Reason.REFUSED_BY_DEVICE, message, transient=True)
        if code == _ACCESS_DENIED:
            return StepError(
                Reason.NO_PRIVILEGE,
                f"{name} lets {self._credential.username} in, but not run anything: the account "
                "must be an administrator there, or in its Remote Management Users",
            )
        message = f"{name} refused it: {fault.reason} (WS-Management fault {code})"
        return StepError(Reason.REFUSED_BY_DEVICE, message, sent=self.sent)

    def _broken(self, error: Exception) -> StepError:
        if isinstance(error, _REFUSED_LOGIN):
            return StepError(
                Reason.AUTH_FAILED,
                f"{self._target.name} refused the login of {self._credential.username} with "
                f"credential {self._credential.name}; check both, and that the host allows "
                f"{self._connection.transport}",
            )
        if isinstance(error, WinRMTransportError):
            return self._unreachable(f"it answered with HTTP status {error.code}")
        cause = _innermost(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StepError(
                Reason.HOST_KEY_CHANGED,
                f"the certificate of {self._target.name} is not to be trusted: "
                f"{cause.verify_message}; set connection.ca on the asset to the authority that "
                "signed it, in PEM",
            )
        if isinstance(error, requests.Timeout):
            return self._unreachable("it did not answer in time")
        if isinstance(error, requests.RequestException):
            words = str(error) if cause is error else type(cause).__name__
            return self._unreachable(getattr(cause, "strerror", None) or words)
        return self._unreachable("it answered, but not as WinRM does")

    def _unreachable(self, why: str) -> StepError:
        where = f"{self._target.name} ({self._endpoint})"
        if self.sent:
            message = f"the connection to {where} was lost while the script ran: {why}"
        else:
            message = f"{where} cannot be reached: {why}; check that it is up and WinRM listens"
        return StepError(Reason.UNREACHABLE, message, transient=True, sent=self.sent)


def read_connection(target: Target) -> WinrmConnection:
    """The options of a target's `connection`; raises StepError naming the bad one."""
    try:
        return read_winrm_connection(target.options)
    except ValueError as error:
        message = f"the connection of {target.name} cannot work: {error}"
        raise StepError(Reason.INVALID_PARAMETER, message) from None


def _endpoint(target: Target, scheme: str) -> str:
    host = f"[{target.address}]" if ":" in target.address else target.address
    return f"{scheme}://{host}:{target.port or DEFAULT_PORTS[scheme]}/wsman"


def _signed(code: int) -> int:
    """An exit code as Windows shows it: 32 bits with a sign."""
    return (code + 2**31) % 2**32 - 2**31


def _innermost(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
