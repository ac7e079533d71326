"""One HTTP exchange: guarded address, no proxy, no redirect, no cookie, capped in time and size."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from app.errors import StepError, Stopped
from tasks.runners.base import StepControl
from tasks.runners.cutoff import CutOff
from tasks.runners.opening import open_unless_stopped
from tasks.runners.trust import Trust
from tool_catalog.model import Reason

#: The longest that connecting may take; also where urllib3 was given no limit of its own.
CONNECT_TIMEOUT_S = 10.0
_READ_BYTES = 64 * 1024

#: What requests, urllib3 and sockets raise for a server that cannot be talked to.
_LOST = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


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
    #: Ends it before its time.
    cancelled: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an exchange asks of the step that it serves."""

    #: Called once connected, right before a request leaves; what it raises is raised.
    before_send: Callable[[], None]
    seconds_left: Callable[[], float]
    cancelled: threading.Event | None = None


class Opener(Protocol):
    """Opens sockets for a transport: an AddressGuard, or whatever knows where it may go."""

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connected socket; raises StepError."""
        ...


class HttpTransport(HTTPAdapter):
    """Sends prepared requests over kept connections. One thread at a time may use it.

    Only the adapter of requests is used, never a session: so there is nothing that could follow
    a redirect, remember a cookie of another step, or read a proxy or a login from the environment.
    """

    def __init__(self, opener: Opener, trust: Trust | None = None) -> None:
        super().__init__()
        self.opener = opener
        self.running: _Exchange | None = None
        #: The last request left on a connection that had served one before.
        self.reused = False
        self._trust = trust or Trust()
        self.poolmanager.connection_pool_kw |= self._trust.pool_options
        self.poolmanager.pool_classes_by_scheme = {
            "http": _guarded_pool(HTTPConnectionPool, HTTPConnection, self),
            "https": _guarded_pool(_TlsPool, HTTPSConnection, self),
        }

    def exchange(
        self,
        request: requests.PreparedRequest,
        limits: Limits,
        before_send: Callable[[], None],
    ) -> Answer:
        """Connect, call `before_send`, send, read the answer; raises as `open` does."""
        bounds = Bounds(before_send, lambda: limits.timeout_s, limits.cancelled)
        with self.open(request, bounds) as reply:
            body, truncated = reply.read(limits.body_bytes)
        return Answer(reply.status, reply.phrase, reply.headers, body, truncated)

    @contextmanager
    def open(self, request: requests.PreparedRequest, bounds: Bounds) -> Iterator["Reply"]:
        """Connect, send, give the answer's head and its body as it comes.

        Raises StepError, whose text names the host and never the URL: with `sent` when the
        request left and no whole answer came back (so what it did is unknown). Raises Stopped,
        unverified, when it was cancelled after it had left.
        """
        self.running = running = _Exchange(_host_of(request), bounds)
        try:
            with running.explained():
                response = self._send(request, bounds.seconds_left())
            try:
                running.refuse_cut()
                yield Reply(response, running)
            finally:
                # Reading on to reuse the connection would have no bound: only a whole body is.
                response.close()
        finally:
            self.running = None
            running.end()

    def forget_connections(self) -> None:
        """The next request opens a connection of its own."""
        self.poolmanager.clear()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401  # requests' signature
        """Leave the pools to their own authorities; requests would add the public ones."""
        if self._trust.ca is None:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]  # no hints there

    def _send(self, request: requests.PreparedRequest, left_s: float) -> requests.Response:
        timeouts = (min(CONNECT_TIMEOUT_S, left_s), left_s)
        return self.send(request, stream=True, timeout=timeouts, verify=self._trust.requests_verify)


class Reply:
    """An answer whose body is still to come. `headers` have lower-case names."""

    def __init__(self, response: requests.Response, running: "_Exchange") -> None:
        self.status = response.status_code
        self.phrase = _plain(response.reason or "")
        self.headers = {n.lower(): _plain(value) for n, value in response.headers.items()}
        self._response = response
        self._running = running

    def header_lines(self, name: str) -> list[str]:
        """Every line of a header that may come more than once."""
        return [_plain(value) for value in self._response.raw.headers.getlist(name)]

    def chunks(self) -> Iterator[bytes]:
        """The body, decoded, as it comes; raises as `HttpTransport.open` does."""
        source = self._response.raw.stream(_READ_BYTES, decode_content=True)
        while True:
            with self._running.explained():
                data = next(source, None)
            self._running.refuse_cut()
            if data is None:
                return
            yield data

    def read(self, most_bytes: int) -> tuple[bytes, bool]:
        """The body's first bytes, and whether it went on beyond them."""
        body = bytearray()
        for data in self.chunks():
            body += data
            if len(body) > most_bytes:
                break
        return bytes(body[:most_bytes]), len(body) > most_bytes


class _Exchange:
    """One request on its way: whether it has begun, and what ends it in time."""

    def __init__(self, host: str, bounds: Bounds) -> None:
        self.begun = False
        self.cancelled = bounds.cancelled
        self._host = host
        self._bounds = bounds
        self._timeout_s = 0.0
        self._cut_off = CutOff(bounds.cancelled)

    def begin(self, opened: socket.socket | None) -> None:
        """Called when connected; from here on a failure means that the request may have arrived."""
        self._bounds.before_send()
        self.begun = True
        self._timeout_s = self._bounds.seconds_left()
        self._cut_off.watch(opened, self._timeout_s)

    def end(self) -> None:
        """The answer is here, or never will be."""
        self._cut_off.end()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what goes wrong inside as StepError or Stopped."""
        try:
            yield
        except _LOST as error:
            raise self._explain(error) from None

    def refuse_cut(self) -> None:
        """Raise where what came may look whole only because we have ended it."""
        if self._cut_off.by is not None:
            raise self._explain(TimeoutError())

    def _explain(self, error: Exception) -> StepError:
        host = self._host
        if not self.begun:
            return StepError(Reason.UNREACHABLE, f"cannot connect to {host}", transient=True)
        unknown = "whether the request took effect is unknown"
        if self._cut_off.by == "cancel":
            return Stopped(f"the request to {host} was cut off; {unknown}", verified=False)
        slow = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
        if self._cut_off.by == "time" or slow:
            reason, what = Reason.TIMEOUT, f"gave no whole answer within {self._timeout_s:g} s"
        else:
            reason, what = Reason.UNREACHABLE, "closed the connection before it had answered"
        return StepError(reason, f"{host} {what}; {unknown}", transient=True, sent=True)


class _GuardedConnection(HTTPConnection):
    """Opens its socket by its transport's opener, and tells it before a request leaves."""

    transport: ClassVar[HttpTransport]
    has_served = False

    def _new_conn(self) -> socket.socket:
        timeout_s = self.timeout if isinstance(self.timeout, int | float) else CONNECT_TIMEOUT_S
        opener, running = self.transport.opener, self.transport.running
        control = StepControl(
            timeout_s + CONNECT_TIMEOUT_S, cancelled=running.cancelled if running else None
        )
        return open_unless_stopped(
            lambda: opener.connect(self.host, self.port, timeout_s), socket.socket.close, control
        )

    def connect(self) -> None:
        self.has_served = False
        try:
            super().connect()
        except urllib3.exceptions.SSLError:
            raise StepError(
                Reason.HOST_KEY_CHANGED,
                f"{self.host} shows another certificate than the one on record; find out why "
                "before you set connection.fingerprint anew",
            ) from None
        except OSError as error:
            raise _not_connected(self.host, error) from None

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # handed on as they are
        if self.is_closed:
            self.connect()
        self.transport.reused = self.has_served
        self.has_served = True
        if self.transport.running is not None:
            self.transport.running.begin(self.sock)
        super().request(*args, **kwargs)


class _TlsPool(HTTPSConnectionPool):
    """Warns nobody at each request of what an asset's `verify_tls: false` has settled."""

    def _validate_conn(self, conn: Any) -> None:  # noqa: ANN401  # urllib3's own
        if conn.is_closed:
            conn.connect()


def _guarded_pool(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], transport: HttpTransport
) -> type[HTTPConnectionPool]:
    """A pool class whose connections are guarded and belong to this transport."""
    guarded = type("Guarded", (_GuardedConnection, connection), {"transport": transport})
    return type("GuardedPool", (pool,), {"ConnectionCls": guarded})


def _plain(text: str) -> str:
    """Text of an answer's head without control characters, which no database need take."""
    return "".join(char if char.isprintable() else " " for char in text)


def _host_of(request: requests.PreparedRequest) -> str:
    return urlsplit(request.url or "").hostname or "the receiver"


def _not_connected(host: str, error: OSError) -> StepError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return StepError(
            Reason.UNREACHABLE, f"the certificate of {host} is not valid: {error.verify_message}"
        )
    detail = "timed out" if isinstance(error, TimeoutError) else (error.strerror or "closed")
    if isinstance(error, ssl.SSLError):
        return StepError(Reason.UNREACHABLE, f"no TLS with {host}: {error.reason or detail}")
    return StepError(Reason.UNREACHABLE, f"cannot connect to {host}: {detail}", transient=True)
