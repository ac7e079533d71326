"""Watchers who leave in the middle of a stream: nothing that needs a traceback."""

import logging

from anyio import BrokenResourceError
from starlette.types import ASGIApp, Receive, Scope, Send

_log = logging.getLogger(__name__)


class QuietDepartures:
    """Ends a stream quietly when its reader left while an event was handed over.

    FastAPI's stream of events then raises out of the task that it writes with.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        try:
            await self._app(scope, receive, send)
        except* BrokenResourceError:
            _log.debug("the reader of %s left", scope.get("path"))
