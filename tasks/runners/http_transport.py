"""One HTTP exchange: guarded address, no proxy, no redirect, no cookie, capped in time and size."""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from app.errors import StepError
from tasks.runners.addresses import AddressGuard
from tool_catalog.model import Reason

#: Where urllib3 was given no limit of its own.
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server answered. `headers` have lower-case names."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes
    #: The body went on beyond the cap.
    truncated: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an exchange may take once connected, and how much of the body is kept."""

    timeout_s: float
    body_bytes: int


class HttpTransport(HTTPAdapter):
    """Sends prepared requests over kept connections. One thread at a time may use it.

    Only the adapter of requests is used, never a session: so there is nothing that could follow
    a redirect, remember a cookie of another step, or read a proxy or a login from the environment.
    """

    def __init__(self, guard: AddressGuard, ca_file: Path | None = None) -> None:
        super().__init__()
        self.guard = guard
        self.running: _Exchange | None = None
        self._verify = str(ca_file) if ca_file else True
        self.poolmanager.pool_classes_by_scheme = {
            "http": _guarded_pool(HTTPConnectionPool, HTTPConnection, self),
            "https": _guarded_pool(HTTPSConnectionPool, HTTPSConnection, self),
        }

    def exchange(
        self,
        request: requests.PreparedRequest,
        limits: Limits,
        before_send: Callable[[], None],
    ) -> Answer:
        """Connect, call `before_send`, send, read the answer.

        Raises StepError, whose text names the host and never the URL: with `sent` when the
        request left and no whole answer came back (so what it did is unknown).
        """
        self.running = running = _Exchange(before_send, limits.timeout_s)
        try:
            answer = self._send(request, limits)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _lost(_host_of(request), error, running) from None
        finally:
            self.running = None
            running.end()
        if running.was_cut:  # the body may look whole where only its end says so
            raise _lost(_host_of(request), TimeoutError(), running)
        return answer

    def _send(self, request: requests.PreparedRequest, limits: Limits) -> Answer:
        response = self.send(request, stream=True, timeout=limits.timeout_s, verify=self._verify)
        try:
            body = response.raw.read(limits.body_bytes + 1, decode_content=True)
        finally:
            # Reading on to reuse the connection would have no bound: only a whole body is reused.
            response.close()
        return Answer(
            status=response.status_code,
            phrase=_plain(response.reason or ""),
            headers={name.lower(): _plain(value) for name, value in response.headers.items()},
            body=body[: limits.body_bytes],
            truncated=len(body) > limits.body_bytes,
        )


class _Exchange:
    """One request on its way: whether it has begun, and what ends it in time."""

    def __init__(self, before_send: Callable[[], None], timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.begun = False
        self.was_cut = False
        self._before_send = before_send
        self._timer: threading.Timer | None = None

    def begin(self, opened: socket.socket | None) -> None:
        """Called when connected; from here on a failure means that the request may have arrived."""
        self._before_send()
        self.begun = True
        # A socket's own limit starts anew with every byte that drips in.
        self._timer = threading.Timer(self.timeout_s, self._cut, args=(opened,))
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """The answer is here, or never will be."""
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self, opened: socket.socket | None) -> None:
        self.was_cut = True
        if opened is not None:
            with suppress(OSError):  # closed by its owner meanwhile
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


class _GuardedConnection(HTTPConnection):
    """Opens its socket through the guard, and tells its transport before a request leaves."""

    transport: ClassVar[HttpTransport]

    def _new_conn(self) -> socket.socket:
        timeout_s = self.timeout if isinstance(self.timeout, int | float) else CONNECT_TIMEOUT_S
        return self.transport.guard.connect(self.host, self.port, timeout_s)

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            raise _not_connected(self.host, error) from None

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # handed on as they are
        if self.is_closed:
            self.connect()
        if self.transport.running is not None:
            self.transport.running.begin(self.sock)
        super().request(*args, **kwargs)


def _guarded_pool(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], transport: HttpTransport
) -> type[HTTPConnectionPool]:
    """A pool class whose connections are guarded and belong to this transport."""
    guarded = type("Guarded", (_GuardedConnection, connection), {"transport": transport})
    return type("GuardedPool", (pool,), {"ConnectionCls": guarded})


def check_url(url: str, guard: AddressGuard, *, https_only: bool) -> None:
    """Refuse what is no plain http(s) URL; raises StepError, whose text holds only its host."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise StepError(Reason.INVALID_PARAMETER, "the URL is not valid") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise StepError(
            Reason.INVALID_PARAMETER, "the URL must begin with https://host or http://host"
        )
    if parts.username is not None or parts.password is not None:
        raise StepError(
            Reason.INVALID_PARAMETER, "the URL holds a login; give it as a secret instead"
        )
    if https_only and parts.scheme != "https" and not guard.lists(host):
        raise StepError(
            Reason.REFUSED_BY_POLICY,
            f"{host} is not reached by https, and what is sent there is secret; "
            "to permit http, add the host to OPSFARM_ALLOW_PRIVATE",
        )


def _plain(text: str) -> str:
    """Text of an answer's head without control characters, which no database need take."""
    return "".join(char if char.isprintable() else " " for char in text)


def _host_of(request: requests.PreparedRequest) -> str:
    return urlsplit(request.url or "").hostname or "the receiver"


def _lost(host: str, error: Exception, running: _Exchange) -> StepError:
    slow = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
    if not running.begun:
        return StepError(Reason.UNREACHABLE, f"cannot connect to {host}", transient=True)
    if running.was_cut or slow:
        reason, what = Reason.TIMEOUT, f"gave no whole answer within {running.timeout_s:g} s"
    else:
        reason, what = Reason.UNREACHABLE, "closed the connection before it had answered"
    message = f"{host} {what}; whether the request took effect is unknown"
    return StepError(reason, message, transient=True, sent=True)


def _not_connected(host: str, error: OSError) -> StepError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return StepError(
            Reason.UNREACHABLE, f"the certificate of {host} is not valid: {error.verify_message}"
        )
    detail = "timed out" if isinstance(error, TimeoutError) else (error.strerror or "closed")
    if isinstance(error, ssl.SSLError):
        return StepError(Reason.UNREACHABLE, f"no TLS with {host}: {error.reason or detail}")
    return StepError(Reason.UNREACHABLE, f"cannot connect to {host}: {detail}", transient=True)
