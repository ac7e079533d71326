"""What bounds a session of pywinrm: a host may drip, redirect, or never end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from winrm.transport import Transport

from tasks.runners.cutoff import CutOff

#: An answer is an envelope of 150 KiB, as asked for, and what it is wrapped in.
ANSWER_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024
_REFUSED_LOGIN = 401


class BoundedAdapter(HTTPAdapter):
    """Sends the requests of one session, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._cut_off = CutOff()
        self._seconds = 0.0
        self.poolmanager.pool_classes_by_scheme = {
            "http": _watched_pool(HTTPConnectionPool, HTTPConnection, self),
            "https": _watched_pool(HTTPSConnectionPool, HTTPSConnection, self),
        }

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Every request inside ends after so many seconds, however slowly the host answers."""
        self._cut_off, self._seconds = CutOff(), seconds
        try:
            yield
        finally:
            self._cut_off.end()

    def watch(self, connection: HTTPConnection) -> None:
        """Called when a connection is about to carry a request."""
        self._cut_off.watch(connection.sock, self._seconds)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401  # handed on as they are
        """Send, and read the answer up to its bound; raises requests.RequestException.

        A refused login's answer is left unread: NTLM looks at its connection's certificate.
        """
        response = super().send(*args, **kwargs)
        try:
            if response.status_code != _REFUSED_LOGIN:
                response._content = _read(response)  # noqa: SLF001  # no other way to hand it on
        except requests.RequestException:
            response.close()
            raise
        return response


def _read(response: requests.Response) -> bytes:
    if response.is_redirect:
        raise requests.TooManyRedirects("a host of WinRM sends nobody elsewhere")
    body = bytearray()
    for piece in response.iter_content(_READ_BYTES):
        body += piece
        if len(body) > ANSWER_BYTES:
            raise requests.ConnectionError("the answer is longer than was asked for")
    return bytes(body)


class BoundedTransport(Transport):
    """pywinrm's own, whose sessions send by a bounded adapter alone."""

    def __init__(self, adapter: BoundedAdapter, **options: Any) -> None:  # noqa: ANN401  # handed on as they are
        super().__init__(**options)
        self._adapter = adapter

    def build_session(self) -> requests.Session:
        """A session that was made before, or a new one."""
        session = super().build_session()
        self._mount(session)
        return session

    def setup_encryption(self, session: requests.Session) -> None:
        """Shake hands on a session that is being made."""
        self._mount(session)
        super().setup_encryption(session)

    def _mount(self, session: requests.Session) -> None:
        for scheme in ("https://", "http://"):
            session.mount(scheme, self._adapter)


class _WatchedConnection(HTTPConnection):
    """Tells its adapter before a request leaves."""

    adapter: ClassVar[BoundedAdapter]

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # handed on as they are
        if self.is_closed:
            self.connect()
        self.adapter.watch(self)
        super().request(*args, **kwargs)


def _watched_pool(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], adapter: BoundedAdapter
) -> type[HTTPConnectionPool]:
    """A pool class whose connections belong to this adapter."""
    watched = type("Watched", (_WatchedConnection, connection), {"adapter": adapter})
    return type("WatchedPool", (pool,), {"ConnectionCls": watched})
