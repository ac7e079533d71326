"""Sends requests to assets: their own address only, logged in, capped, over kept connections."""

import socket
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from app.command import Command
from app.errors import StepError, Stopped
from app.filling import reveal
from app.http_connection import DEFAULT_PORTS, HttpConnection, read_http_connection
from app.http_request import Request
from app.step import Credential, Target
from tasks.runners.addresses import AddressGuard
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.checks import refuse_stopped
from tasks.runners.http_login import Login
from tasks.runners.http_transport import Bounds, HttpTransport, Reply
from tasks.runners.kept import Kept
from tasks.runners.output import HEAD_BYTES, WHOLE_BYTES, open_outputs
from tasks.runners.trust import Trust
from tool_catalog.model import Reason

#: Devices close idle connections after 5 s and more; one that died is opened anew.
IDLE_S = 20.0
#: Without a login, with an aged nonce, with a new one.
_TRIES = 3
_REFUSED = 401
#: What is read of a refusal, to use its connection for the next try.
_REFUSAL_BYTES = 64 * 1024


class HttpRunner:
    """Runs a request on a target. What it may reach is the asset's address and port, no other."""

    def __init__(self, scratch: Path, ca_file: Path | None = None) -> None:
        #: Where artifacts are written until somebody stores them; made when needed.
        self._scratch = scratch
        #: The authorities of assets that name none.
        self._ca_file = ca_file
        self._kept: Kept[_Session] = Kept(IDLE_S)

    def run(
        self,
        command: Command,
        target: Target,
        credential: Credential | None,
        control: StepControl,
    ) -> RawOutput:
        """Connect, log in, arm, send. Raises StepError saying what to do next.

        `status`, `headers` and the body, as `stdout`, are those of the answer, whatever its
        status: reading meaning into it is for others.
        """
        request = command.request
        if request is None:
            what = f"{target.name} is reached by http, which runs no {command.kind}"
            raise StepError(Reason.INVALID_PARAMETER, what)
        refuse_stopped(control)
        started = time.monotonic()
        with self._session(target, credential) as session:
            sink = _Sink(command, self._scratch, control)
            raw = _Sending(session, request, control, sink).run()
        return replace(raw, duration_s=time.monotonic() - started)

    def close(self) -> None:
        """Close the kept connections."""
        self._kept.close()

    @contextmanager
    def _session(self, target: Target, credential: Credential | None) -> Iterator["_Session"]:
        place = _Place.of(target)
        login = credential and (credential.name, credential.username, credential.password)
        key: Hashable = (place, login)
        session = self._kept.take(key) or _Session(place, credential, self._ca_file)
        try:
            yield session
        finally:
            self._kept.give(key, session)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an asset's requests go."""

    name: str
    address: str
    port: int
    connection: HttpConnection

    @classmethod
    def of(cls, target: Target) -> "_Place":
        try:
            connection = read_http_connection(target.options)
        except ValueError as error:
            raise StepError(
                Reason.INVALID_PARAMETER,
                f"the asset {target.name} cannot be reached: connection.{error}",
            ) from None
        port = target.port or DEFAULT_PORTS[connection.scheme]
        return cls(target.name, target.address, port, connection)

    def url(self, uri: str) -> str:
        """The URL of path and query."""
        host = self.connection.server_name or self.address
        host = f"[{host}]" if ":" in host else host
        default = self.port == DEFAULT_PORTS[self.connection.scheme]
        port = "" if default else f":{self.port}"
        return f"{self.connection.scheme}://{host}{port}{self.connection.base_path}{uri}"

    def connect(self, _host: str, _port: int, timeout_s: float) -> socket.socket:
        """A socket to the asset's own address, whatever a URL says: it is in the inventory."""
        guard = AddressGuard(names=frozenset({self.address.lower().rstrip(".")}))
        return guard.connect(self.address, self.port, timeout_s)


class _Session:
    """A kept connection to an asset, with what its server has asked for so far."""

    def __init__(self, place: _Place, credential: Credential | None, ca_file: Path | None) -> None:
        connection = place.connection
        own = connection.ca is not None or connection.fingerprint is not None
        trust = Trust(
            ca_file=None if own else ca_file,
            ca=connection.ca,
            fingerprint=connection.fingerprint,
            verify=connection.verify_tls,
        )
        self.place = place
        self.credential = credential
        self.transport = HttpTransport(place, trust)
        hidden = connection.scheme == "https" and connection.verify_tls
        self.login = Login(credential, connection.login, hidden=hidden)

    def prepare(self, request: Request) -> requests.PreparedRequest:
        """The request as it will be sent, with the login as far as it is known."""
        content_type, body = request.content()
        headers: dict[str, str | bytes] = {"User-Agent": "opsfarm"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        headers |= {name: reveal(value) for name, value in request.headers.items()}
        url = self.place.url(request.uri())
        prepared = requests.Request(request.method, url, headers=headers, data=body).prepare()
        authorization = self.login.header(request.method, prepared.path_url)
        if authorization is not None:
            prepared.headers["Authorization"] = authorization.encode()  # type: ignore[assignment]  # bytes are sent as they are
        return prepared

    def refuse(self) -> StepError:
        """The error of a login that was not taken."""
        name = self.place.name
        if self.credential is None:
            message = f"{name} asks for a login; add a credential to the asset"
        else:
            message = (
                f"{name} refused the login of {self.credential.username} "
                f"with credential {self.credential.name}; check both"
            )
        return StepError(Reason.AUTH_FAILED, message)

    def close(self) -> None:
        """Let go of the connection."""
        self.transport.close()


class _Sink:
    """Where the body of an answer goes: an artifact, or memory and the live lines."""

    def __init__(self, command: Command, scratch: Path, control: StepControl) -> None:
        self._command = command
        self._scratch = scratch
        self._control = control

    def take(self, reply: Reply, ok: tuple[int, ...]) -> RawOutput:
        """The whole answer; only that of a success becomes an artifact."""
        command = self._command if reply.status in ok else replace(self._command, artifact=None)
        most_bytes = WHOLE_BYTES if command.keeps_whole else HEAD_BYTES
        outputs = open_outputs(command, self._scratch, self._control.on_line)
        received = 0
        try:
            for data in reply.chunks():
                outputs.feed("stdout", data)
                received += len(data)
                if outputs.full or (command.artifact is None and received > most_bytes):
                    break
        except BaseException:
            outputs.discard()
            raise
        return replace(outputs.collect(), status=reply.status, headers=reply.headers)


class _Sending:
    """One request on one session, sent again as far as a login or an idle connection asks it."""

    def __init__(
        self, session: _Session, request: Request, control: StepControl, sink: _Sink
    ) -> None:
        self._session = session
        self._transport = session.transport
        self._request = request
        self._control = control
        self._sink = sink
        self._armed = False
        self._answered = False

    def run(self) -> RawOutput:
        """Send until there is an answer other than "who are you"."""
        if self._request.changes:
            # One that was closed while it was idle would leave the outcome unknown.
            self._transport.forget_connections()
        for _ in range(_TRIES):
            raw = self._try()
            if raw is not None:
                return raw
        raise self._session.refuse()

    def _try(self) -> RawOutput | None:
        try:
            return self._send()
        except Stopped as stopped:
            if self._request.changes or stopped.verified:
                raise
            name = self._session.place.name
            raise Stopped(f"the request to {name} was cut off", verified=True) from None
        except StepError as error:
            died_idle = error.sent and self._transport.reused and not self._answered
            if self._request.changes or not died_idle or error.reason is Reason.TIMEOUT:
                raise
        return self._send()

    def _send(self) -> RawOutput | None:
        """The answer; None where the login has learnt how to do better."""
        self._answered = False
        refuse_stopped(self._control)
        if not self._control.seconds_left:
            raise StepError(Reason.TIMEOUT, "no time was left to send the request")
        bounds = Bounds(self._arm, lambda: self._control.seconds_left, self._control.cancelled)
        with self._transport.open(self._prepare(), bounds) as reply:
            self._answered = True
            if reply.status != _REFUSED:
                return self._sink.take(reply, self._request.ok)
            reply.read(_REFUSAL_BYTES)
            asked = reply.header_lines("www-authenticate")
        if not self._session.login.learn(asked):
            raise self._session.refuse()
        return None

    def _prepare(self) -> requests.PreparedRequest:
        try:
            return self._session.prepare(self._request)
        except (requests.RequestException, ValueError):  # its text may hold a secret
            what = f"the request to {self._session.place.name} has a part that cannot be sent"
            raise StepError(Reason.INVALID_PARAMETER, what) from None

    def _arm(self) -> None:
        if not self._armed:
            self._control.before_effect()
            self._armed = True
