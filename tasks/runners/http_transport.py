"""One HTTP exchange: guarded address, no proxy, no redirect, no cookie, capped in time and size."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from app.errors import StepError
from tasks.runners.addresses import AddressGuard
from tool_catalog.model import Reason


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
        self._verify = str(ca_file) if ca_file else True
        self.poolmanager.pool_classes_by_scheme = {
            "http": _guarded_pool(HTTPConnectionPool, HTTPConnection, guard),
            "https": _guarded_pool(HTTPSConnectionPool, HTTPSConnection, guard),
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
        host = urlsplit(request.url or "").hostname or ""
        opened = self._connect(request, limits.timeout_s)
        before_send()
        cut = threading.Event()
        try:
            with _cut_off(opened, limits.timeout_s, cut):
                answer = self._send(request, limits)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _lost(host, error, limits, cut) from None
        if cut.is_set():  # the body may look whole where only its end says so
            raise _lost(host, TimeoutError(), limits, cut)
        return answer

    def _connect(self, request: requests.PreparedRequest, timeout_s: float) -> socket.socket:
        """An open connection of the pool, so that a later failure means "sent"."""
        try:
            found = self.get_connection_with_tls_context(request, self._verify)
        except requests.exceptions.InvalidURL:
            raise StepError(Reason.INVALID_PARAMETER, "the URL is not valid") from None
        pool = cast("HTTPConnectionPool", found)
        self.cert_verify(pool, request.url or "", self._verify, None)  # type: ignore[no-untyped-call]  # a hole in its stubs
        # Borrowing a connection to open it: the pool is a stack, so it is the one used next.
        connection = cast("HTTPConnection", pool._get_conn())  # noqa: SLF001  # see above
        try:
            if connection.is_closed:
                connection.timeout = timeout_s
                connection.connect()
        except OSError as error:
            connection.close()
            raise _not_connected(connection.host, error) from None
        finally:
            pool._put_conn(connection)  # noqa: SLF001  # see above
        if connection.sock is None:
            raise StepError(Reason.UNREACHABLE, "the connection was closed", transient=True)
        return connection.sock

    def _send(self, request: requests.PreparedRequest, limits: Limits) -> Answer:
        response = self.send(request, stream=True, timeout=limits.timeout_s, verify=self._verify)
        try:
            body = response.raw.read(limits.body_bytes + 1, decode_content=True)
        finally:
            # Reading on to reuse the connection would have no bound: only a whole body is reused.
            response.close()
        return Answer(
            status=response.status_code,
            phrase=response.reason or "",
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body[: limits.body_bytes],
            truncated=len(body) > limits.body_bytes,
        )


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


def _guarded_pool(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], guard: AddressGuard
) -> type[HTTPConnectionPool]:
    """A pool class whose connections open their sockets through the guard."""

    def open_socket(self: HTTPConnection) -> socket.socket:
        timeout_s = self.timeout if isinstance(self.timeout, int | float) else None
        return guard.connect(self.host, self.port, timeout_s or 10)

    guarded = type(f"Guarded{connection.__name__}", (connection,), {"_new_conn": open_socket})
    return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": guarded})


@contextmanager
def _cut_off(opened: socket.socket, after_s: float, cut: threading.Event) -> Iterator[None]:
    """End the connection in time however slowly bytes drip (a socket's own limit restarts)."""

    def end() -> None:
        cut.set()
        with suppress(OSError):  # already closed by its owner
            socket.socket.shutdown(opened, socket.SHUT_RDWR)

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _lost(host: str, error: Exception, limits: Limits, cut: threading.Event) -> StepError:
    if cut.is_set() or isinstance(
        error, requests.Timeout | TimeoutError | urllib3.exceptions.ReadTimeoutError
    ):
        reason, what = Reason.TIMEOUT, f"gave no whole answer within {limits.timeout_s:g} s"
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
