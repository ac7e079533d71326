"""SSH connections that are kept and reused: pinned host keys, no agent, no files of the worker's.

Fabric opens and holds them. Commands run on their channels directly (`tasks.runners.ssh`):
fabric's own `run` keeps all output in memory as text, and leaves the remote process alive when it
is told to stop.
"""

import io
import socket
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fabric
import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from app.errors import StepError
from app.step import Credential, Target
from tasks.runners.base import StepControl
from tasks.runners.opening import open_unless_stopped
from tasks.runners.ssh_host_keys import SSH_PORT, changed_host_key, pinned_keys
from tool_catalog.model import Reason

_CONNECT_S = 10
_KEEPALIVE_S = 15
_IDLE_S = 300.0

_KEY_CLASSES = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

#: What paramiko raises for a host that cannot be talked to.
_UNREACHABLE = (OSError, EOFError, paramiko.SSHException)


@dataclass(slots=True)
class Session:
    """A connection with a fresh channel on it, for one command at a time."""

    connection: fabric.Connection
    channel: paramiko.Channel
    target: Target
    #: A side channel may have shown that the connection is of no more use.
    broken: bool = field(default=False)


class Connections:
    """The kept connections of a worker, each used by one command at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Hashable, list[tuple[float, fabric.Connection]]] = {}

    @contextmanager
    def session(
        self, target: Target, credential: Credential, control: StepControl
    ) -> Iterator[Session]:
        """A channel on a kept connection that answers, or on a new one.

        Raises StepError, and Stopped when the step is cancelled meanwhile: nothing was sent to
        the host but a login.
        """
        key = _key(target, credential)
        connection, channel = open_unless_stopped(
            lambda: self._open(key, target, credential), _close, control
        )
        session = Session(connection, channel, target)
        try:
            yield session
        finally:
            channel.close()
            if session.broken or not connection.is_connected:
                connection.close()
            else:
                self._keep(key, connection)

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            kept, self._idle = self._idle, {}
        for entries in kept.values():
            for _, connection in entries:
                connection.close()

    def _open(
        self, key: Hashable, target: Target, credential: Credential
    ) -> tuple[fabric.Connection, paramiko.Channel]:
        while (connection := self._take(key)) is not None:
            try:
                return connection, connection.create_session()
            except _UNREACHABLE:  # it died while it was idle
                connection.close()
        connection = connect(target, credential)
        try:
            return connection, connection.create_session()
        except _UNREACHABLE as error:
            connection.close()
            raise unreachable(target, error) from None

    def _take(self, key: Hashable) -> fabric.Connection | None:
        with self._lock:
            entries = self._idle.get(key)
            return entries.pop()[1] if entries else None

    def _keep(self, key: Hashable, connection: fabric.Connection) -> None:
        """Keep one, and let go of all that were not used for a while."""
        now = time.monotonic()
        old = []
        with self._lock:
            self._idle.setdefault(key, []).append((now, connection))
            for name, entries in list(self._idle.items()):
                old += [kept for since, kept in entries if now - since > _IDLE_S]
                self._idle[name] = [entry for entry in entries if now - entry[0] <= _IDLE_S]
                if not self._idle[name]:
                    del self._idle[name]
        for kept in old:
            kept.close()


def _close(opened: tuple[fabric.Connection, paramiko.Channel]) -> None:
    opened[0].close()


def connect(target: Target, credential: Credential) -> fabric.Connection:
    """A new connection, logged in; raises StepError saying what to do next."""
    keys = pinned_keys(target)
    connection = fabric.Connection(
        target.address,
        user=credential.username,
        port=target.port or SSH_PORT,
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        forward_agent=False,
        connect_timeout=_CONNECT_S,
        connect_kwargs=_login(credential),
    )
    known = connection.client.get_host_keys()
    usual = connection.port == SSH_PORT
    name = target.address if usual else f"[{target.address}]:{connection.port}"
    for key in keys:
        known.add(name, key.get_name(), key)
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        connection.open()
    except (*_UNREACHABLE, ValueError) as error:
        connection.client.close()
        raise _explain(target, credential, error) from None
    connection.transport.set_keepalive(_KEEPALIVE_S)
    return connection


def unreachable(target: Target, error: BaseException, *, sent: bool = False) -> StepError:
    """The error of a host that does not answer (any more)."""
    where = f"{target.name} ({target.address}:{target.port or SSH_PORT})"
    why = str(error) or type(error).__name__
    if sent:
        message = f"the connection to {where} was lost while the command ran: {why}"
    else:
        message = f"{where} cannot be reached: {why}; check that it is up and that sshd answers"
    return StepError(Reason.UNREACHABLE, message, transient=True, sent=sent)


def _key(target: Target, credential: Credential) -> Hashable:
    """What two steps must share to share a connection: also the secrets themselves."""
    login = (credential.name, credential.username, credential.password, credential.private_key)
    return (target.address, target.port, str(target.options.get("host_key")), *login)


def _login(credential: Credential) -> dict[str, object]:
    login: dict[str, object] = {
        "allow_agent": False,
        "look_for_keys": False,
        "banner_timeout": _CONNECT_S,
        "auth_timeout": _CONNECT_S,
        "channel_timeout": _CONNECT_S,
        "transport_factory": _prompt_transport,
    }
    if credential.private_key is not None:
        return {**login, "pkey": _private_key(credential)}
    if credential.password is not None:
        return {**login, "password": credential.password.reveal()}
    raise StepError(
        Reason.AUTH_FAILED,
        f"credential {credential.name} has neither a password nor a private key; add one",
    )


def _prompt_transport(sock: socket.socket, **options: Any) -> paramiko.Transport:  # noqa: ANN401  # paramiko's own
    """A transport whose small packets do not wait for one another (40 ms each, measured)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return paramiko.Transport(sock, **options)


def _private_key(credential: Credential) -> paramiko.PKey:
    text = credential.private_key.reveal() if credential.private_key else ""
    password = credential.password.reveal() if credential.password else None
    for key_class in _KEY_CLASSES:
        try:
            return key_class.from_private_key(io.StringIO(text), password)
        except (paramiko.SSHException, ValueError, UnsupportedAlgorithm):
            continue  # another type of key; its text is never part of an error
    raise StepError(
        Reason.AUTH_FAILED,
        f"the private key of credential {credential.name} cannot be read; "
        "it must be Ed25519, ECDSA or RSA in OpenSSH or PEM form",
    )


def _explain(target: Target, credential: Credential, error: Exception) -> StepError:
    if isinstance(error, paramiko.BadHostKeyException):
        return changed_host_key(target, [error.key], pinned_keys(target))
    if isinstance(error, paramiko.AuthenticationException):
        return StepError(
            Reason.AUTH_FAILED,
            f"{target.name} refused the login of {credential.username} with credential "
            f"{credential.name}; check the user there, and that its key or password is this one",
        )
    return unreachable(target, error)
