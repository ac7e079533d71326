"""One HTTP exchange taken apart: name, connection, TLS, first byte, body, each with its time."""

import hashlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import SplitResult

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from app.errors import StepError, Stopped
from tasks.runners.addresses import AddressGuard
from tasks.runners.base import StepControl
from tasks.runners.cutoff import CutOff
from tool_catalog.model import Reason

_READ_BYTES = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a visit shall do, and how long it may take."""

    method: str
    wait_s: float
    max_bytes: int
    #: PEM file of the authorities to check certificates with.
    ca_file: str
    #: Looked for in the body as it comes.
    text: bytes = b""


@dataclass(slots=True)
class Visit:
    """What one request brought; times in milliseconds."""

    url: str
    status: int = 0
    version: str = ""
    address: str = ""
    #: Phase to its time: dns_ms, connect_ms, tls_ms, first_byte_ms, total_ms.
    times: dict[str, float] = field(default_factory=dict)
    #: Name and value, as they came.
    headers: list[tuple[str, str]] = field(default_factory=list)
    tls: dict[str, Any] | None = None
    size_bytes: int = 0
    sha256: str = ""
    truncated: bool = False
    holds_text: bool = True

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in lower case."""
        return next((value for each, value in self.headers if each == name), None)


class Visitor:
    """Makes visits for one step; raises StepError, and Stopped when it is cancelled."""

    def __init__(self, guard: AddressGuard, wishes: Wishes, control: StepControl) -> None:
        self._guard = guard
        self._wishes = wishes
        self._control = control

    def visit(self, parts: SplitResult) -> Visit:
        """One request to the URL that these are the parts of."""
        visit = Visit(show_url(parts))
        self._cut_off = cut_off = CutOff(self._control.cancelled)
        try:
            self._visit(parts, visit)
        except (OSError, http.client.HTTPException) as error:
            raise _explain(parts.hostname or "", error, cut_off) from None
        finally:
            cut_off.end()
        if cut_off.by is not None:  # what came may look whole where only its end says so
            raise _explain(parts.hostname or "", TimeoutError(), cut_off)
        return visit

    def _visit(self, parts: SplitResult, visit: Visit) -> None:
        host, began = parts.hostname or "", time.monotonic()
        port = parts.port or (443 if parts.scheme == "https" else 80)
        places = _timed(visit, "dns_ms", lambda: self._guard.resolve(host, port))
        opened = _timed(visit, "connect_ms", lambda: self._open(host, places))
        if parts.scheme == "https":
            opened = _timed(visit, "tls_ms", lambda: self._secure(host, places, opened, visit))
        else:
            self._cut_off.watch(opened, self._control.seconds_left)
        with closing(opened):
            visit.address = str(opened.getpeername()[0])
            opened.settimeout(None)  # it is watched
            self._exchange(opened, parts, visit)
        visit.times["total_ms"] = _since(began)

    def _open(self, host: str, places: list[Any]) -> socket.socket:
        wait_s = min(self._wishes.wait_s, self._control.seconds_left)
        if self._control.cancelled.is_set():
            raise Stopped("stopped before it connected", verified=True)
        if wait_s <= 0:
            raise StepError(Reason.TIMEOUT, "no time was left to connect")
        return self._guard.open_first(host, places, wait_s)

    def _secure(
        self, host: str, places: list[Any], opened: socket.socket, visit: Visit
    ) -> socket.socket:
        """The connection in TLS; with a certificate that is not valid, a second one without."""
        try:
            careful = ssl.create_default_context(cafile=self._wishes.ca_file)
            secured = self._shake_hands(opened, host, careful)
            visit.tls = {"valid": True, "why": None}
        except ssl.SSLCertVerificationError as error:
            careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            careless.check_hostname = False
            careless.verify_mode = ssl.CERT_NONE  # only to look: nothing secret is sent
            secured = self._shake_hands(self._open(host, places), host, careless)
            visit.tls = {"valid": False, "why": error.verify_message}
        visit.tls |= _describe(secured)
        return secured

    def _shake_hands(
        self, opened: socket.socket, host: str, context: ssl.SSLContext
    ) -> ssl.SSLSocket:
        secured = context.wrap_socket(opened, server_hostname=host, do_handshake_on_connect=False)
        self._cut_off.watch(secured, self._control.seconds_left)
        try:
            secured.do_handshake()
        except OSError:
            secured.close()
            raise
        return secured

    def _exchange(self, opened: socket.socket, parts: SplitResult, visit: Visit) -> None:
        connection = http.client.HTTPConnection(parts.netloc)
        connection.sock = opened
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "opsfarm", "Accept": "*/*", "Connection": "close"}
        began = time.monotonic()
        connection.request(self._wishes.method, target, headers=headers)
        answer = connection.getresponse()
        visit.times["first_byte_ms"] = _since(began)
        visit.status = answer.status
        visit.version = f"HTTP/{answer.version / 10:.1f}"
        visit.headers = [(name.lower(), value) for name, value in answer.getheaders()]
        self._read(answer, visit)

    def _read(self, answer: http.client.HTTPResponse, visit: Visit) -> None:
        hashed, text, seen = hashlib.sha256(), self._wishes.text, b""
        visit.holds_text = not text
        while data := answer.read1(_READ_BYTES):
            kept = data[: self._wishes.max_bytes - visit.size_bytes]
            hashed.update(kept)
            visit.size_bytes += len(kept)
            seen = seen[len(seen) - len(text) :] + kept if text else b""
            visit.holds_text = visit.holds_text or text in seen
            if len(kept) < len(data):
                visit.truncated = True
                break
        visit.sha256 = hashed.hexdigest()
        if answer.length and not visit.truncated:
            raise http.client.RemoteDisconnected("the body ended early")


def show_url(parts: SplitResult) -> str:
    """A URL without its query, which may hold a secret."""
    path = parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}{path}" + ("?…" if parts.query else "")


def _timed(visit: Visit, name: str, act: Callable[[], T]) -> T:
    began = time.monotonic()
    result = act()
    visit.times[name] = _since(began)
    return result


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)


def _describe(secured: ssl.SSLSocket) -> dict[str, Any]:
    """What TLS was agreed on, and whose certificate was shown."""
    cipher = secured.cipher()
    agreed = {"version": secured.version(), "cipher": cipher and cipher[0]}
    try:
        certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    except ValueError:  # it is not as standards want it, and OpenSSL takes it all the same
        return agreed
    ends = certificate.not_valid_after_utc
    return {
        **agreed,
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": _names(certificate),
        "not_after": ends.isoformat().replace("+00:00", "Z"),
        "days_left": (ends - datetime.now(UTC)).days,
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _explain(host: str, error: Exception, cut_off: CutOff) -> StepError:
    if cut_off.by == "cancel":
        return Stopped(f"the request to {host} was cut off", verified=True)
    if cut_off.by == "time" or isinstance(error, TimeoutError):
        words = f"{host} gave no whole answer in time"
        return StepError(Reason.TIMEOUT, words, transient=True)
    if isinstance(error, ssl.SSLError):
        return StepError(Reason.UNREACHABLE, f"no TLS with {host}: {error.reason or 'closed'}")
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
        words = f"{host} closed the connection before it had answered"
        return StepError(Reason.UNREACHABLE, words, transient=True)
    if isinstance(error, http.client.HTTPException):
        return StepError(Reason.INVALID_OUTPUT, f"what {host} answers is not HTTP")
    return StepError(Reason.UNREACHABLE, f"no way to {host}: {error}", transient=True)
