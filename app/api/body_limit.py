"""The limit on request bodies, enforced while they stream in."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: How much of a refused body is read and thrown away, so that its sender gets to read the
#: answer instead of a broken connection.
_DRAIN_FACTOR = 128


class BodyLimit:
    """Refuses bodies beyond `max_bytes` with 413, whether they announce their length or not.

    `larger` holds paths that may have more.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, larger: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body is counted."""
        if scope["type"] == "http":
            max_bytes = self._larger.get(scope["path"], self._max_bytes)
            receive = _LimitedBody(receive, max_bytes, _announced_bytes(scope)).receive
        await self._app(scope, receive, send)


class _LimitedBody:
    def __init__(self, receive: Receive, max_bytes: int, announced_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._announced_bytes = announced_bytes
        self._bytes = 0

    async def receive(self) -> Message:
        """The next message; raises HTTPException(413) beyond the limit."""
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if max(self._bytes, self._announced_bytes) > self._max_bytes:
            await self._drain(message)
            # FastAPI passes this type, and no other, from the reader of a body to our handlers.
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request body is larger than {self._max_bytes} bytes",
                {"Connection": "close"},
            )
        return message

    async def _drain(self, message: Message) -> None:
        """Read the rest, within reason, and keep none of it."""
        while message.get("more_body") and self._bytes <= self._max_bytes * _DRAIN_FACTOR:
            message = await self._receive()
            self._bytes += len(message.get("body", b""))


def _announced_bytes(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else 0
