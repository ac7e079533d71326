"""A real SMTP server on loopback (aiosmtpd) that can be told to misbehave.

By local part: `perm550` is refused for good, `tmp451` for now, `once451` the first time only;
`hold` is never answered.
"""

import asyncio
import socket
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from app.admin.servers import find_free_port
from tests.lab.certificates import Certificates


@dataclass
class Mail:
    """A message as it arrived: dots unstuffed, line ends kept."""

    sender: str
    recipients: list[str]
    content: bytes
    encrypted: bool


@dataclass
class MailServer(AbstractContextManager["MailServer"]):
    """`with MailServer() as server`; `server.mails` holds what arrived."""

    #: "off", "starttls" or "implicit".
    tls: str = "off"
    certificates: Certificates | None = None
    #: Login and password that are asked for.
    login: tuple[str, str] | None = None
    #: How many times the connection is cut after the final dot, before the reply.
    drops: int = 0
    #: What is answered to DATA instead of taking the message.
    refuse_data: str = ""
    max_bytes: int = 33554432
    #: Whether the last word on a message never comes.
    holds_data: bool = False
    #: Called with each recipient before it is answered.
    on_recipient: Callable[[str], None] = lambda _address: None
    mails: list[Mail] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __enter__(self) -> Self:
        self._told_to_wait: set[str] = set()
        context = self.certificates.server_context() if self.certificates else None
        self.port = find_free_port()
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            ssl_context=context if self.tls == "implicit" else None,
            tls_context=context if self.tls == "starttls" else None,
            require_starttls=self.tls == "starttls",
            auth_required=self.login is not None,
            # aiosmtpd does not count TLS from the first byte as TLS.
            auth_require_tls=self.tls != "implicit",
            authenticator=self._authenticate,
            data_size_limit=self.max_bytes,
            enable_SMTPUTF8=False,
        )
        self._controller.start()
        self.connections = 0  # the controller's own first one does not count
        return self

    def __exit__(self, *_exc: object) -> None:
        hung_up = asyncio.run_coroutine_threadsafe(
            self._controller.hang_up(), self._controller.loop
        )
        hung_up.result(5)
        self._controller.stop()

    def _authenticate(self, _server, _session, _envelope, _mechanism, data) -> AuthResult:
        expected = self.login and tuple(part.encode() for part in self.login)
        return AuthResult(success=(data.login, data.password) == expected, handled=False)

    async def handle_RCPT(self, _server, _session, envelope, address, options):  # noqa: N802  # aiosmtpd's name
        self.on_recipient(address)
        local = address.partition("@")[0]
        if local == "hold":
            await asyncio.Event().wait()
        if local == "perm550":
            return "550 5.1.1 no such mailbox"
        if local == "tmp451" or (local == "once451" and address not in self._told_to_wait):
            self._told_to_wait.add(address)
            return "451 4.7.1 try again later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  # aiosmtpd's name
        if self.refuse_data:
            return self.refuse_data
        if self.holds_data:
            await asyncio.Event().wait()
        self.mails.append(
            Mail(
                envelope.mail_from,
                list(envelope.rcpt_tos),
                envelope.original_content,
                encrypted=session.ssl is not None or self.tls == "implicit",
            )
        )
        if self.drops > 0:
            self.drops -= 1
            server.transport.abort()
        return "250 OK queued as 4711"


class _Controller(Controller):
    def __init__(self, handler: MailServer, **options) -> None:
        super().__init__(handler, **options)
        self._conversations: list[SMTP] = []

    def factory(self):
        self.handler.connections += 1
        self._conversations.append(self._converse())
        return self._conversations[-1]

    async def hang_up(self):
        """Close what clients left open, and see it closed."""
        for conversation in self._conversations:
            for transport in (conversation.transport, conversation._original_transport):
                if transport is not None:
                    transport.abort()
        while any(talk.transport for talk in self._conversations):  # noqa: ASYNC110  # aiosmtpd sets no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # their sockets are closed one turn of the loop later

    def _converse(self):
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # see auth_require_tls
            return SMTP(self.handler, **self.SMTP_kwargs)


class TrickleServer:
    """Says `first`, then `again` every so often, whatever it hears, until the client leaves."""

    tls = "off"
    certificates = None

    def __init__(self, first: bytes, again: bytes, every_s: float) -> None:
        self._first = first
        self._again = again
        self._every_s = every_s

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with self._socket.accept()[0] as client, suppress(OSError):
            client.sendall(self._first)
            while not self._done.wait(self._every_s):
                client.sendall(self._again)
