"""The standard library's SMTP client, kept within the time of the step that it serves."""

import io
import smtplib
import time
from contextlib import suppress
from typing import Any

from app.errors import Stopped
from tasks.runners.base import StepControl

#: The longest wait for one reply, and for one block to be taken.
TIMEOUT_S = 10.0
#: A socket's time-out cannot be zero: that would mean not to wait, which is another mode.
_LEAST_S = 0.001
#: How soon a cancel is noticed.
_TICK_S = 0.2


class Client(smtplib.SMTP):
    """Waits for a whole reply `patience_s` at most, and never beyond the step's deadline."""

    def __init__(self, control: StepControl, host: str, port: int, **more: Any) -> None:  # noqa: ANN401  # as smtplib takes them
        self.control = control
        self.patience_s = TIMEOUT_S
        self.reply_by = 0.0
        super().__init__(host, port, timeout=self.limit_s(), **more)

    def limit_s(self) -> float:
        """How long the next wait may take."""
        return max(_LEAST_S, min(self.patience_s, self.control.seconds_left))

    def send(self, s: Any) -> None:  # noqa: ANN401  # text or bytes, as smtplib's
        """Send it within the time of one wait."""
        self._bound()
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """One reply with all its lines; a server that trickles them gets no more time."""
        self.reply_by = time.monotonic() + self.limit_s()
        if self.file is None:
            self.file = io.BufferedReader(_Replies(self))
        reply = super().getreply()
        self._bound()
        return reply

    def _bound(self) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.limit_s())


class TlsClient(Client, smtplib.SMTP_SSL):
    """The same, with TLS from the first byte."""


class _Replies(io.RawIOBase):
    """What the server says, read until the client's `reply_by`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  # any writable buffer
        """Bytes that came; raises TimeoutError, and Stopped once the step is cancelled."""
        sock, left_s = self._client.sock, self._client.reply_by - time.monotonic()
        if sock is None:
            return 0
        while left_s > 0:
            sock.settimeout(min(left_s, _TICK_S))
            with suppress(TimeoutError):
                return sock.recv_into(buffer)
            if self._client.control.cancelled.is_set():
                raise Stopped("stopped while the mail server was waited for", verified=True)
            left_s = self._client.reply_by - time.monotonic()
        raise TimeoutError("timed out")
