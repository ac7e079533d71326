"""What the demo's plan reaches: a mail server, a web server, a greeting port and some packets.

Real ones, on loopback ports of the demo's own, gone with it.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from app.admin.servers import find_free_port

_LARGEST_BODY = 1_000_000
_PACKET_PAUSE_S = 0.2


@dataclass  # without slots: aiosmtpd looks at every member, which fails on Python 3.11.2
class Mailbox:
    """A mail server's address and what it took, in order of arrival."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: ANN401, N802  # aiosmtpd's hook
        """Keep a message."""
        content = cast("bytes", envelope.content)
        self.mails.append(message_from_bytes(content, policy=policy.default))
        return "250 kept"


@contextmanager
def receive_mail() -> Iterator[Mailbox]:
    """A mail server without TLS and login, as a relay on the same host is."""
    mailbox = Mailbox(find_free_port())
    server = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    server.start()
    try:
        yield mailbox
    finally:
        server.stop()


@dataclass(slots=True)
class Hook:
    """A web server's address and the bodies that were posted to it."""

    url: str
    bodies: list[str] = field(default_factory=list)


@contextmanager
def receive_webhooks() -> Iterator[Hook]:
    """A web server that takes every POST."""
    hook = Hook("")

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:  # http.server's hook
            size = min(int(self.headers.get("Content-Length", 0)), _LARGEST_BODY)
            hook.bodies.append(self.rfile.read(size).decode(errors="replace"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """The demo prints what arrived."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hook.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def greet(words: str) -> Iterator[int]:
    """A TCP port that says some words to everybody; yields its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(words.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            ended.set()
            thread.join()


@contextmanager
def send_packets(words: str) -> Iterator[int]:
    """A UDP port that receives a packet with some words five times a second; yields its number."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, _sender() as sender:
        receiver.bind(("127.0.0.1", 0))
        address = receiver.getsockname()
        ended = threading.Event()

        def send() -> None:
            while not ended.wait(_PACKET_PAUSE_S):
                sender.sendto(words.encode(), address)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield int(address[1])
        finally:
            ended.set()
            thread.join()


def _sender() -> socket.socket:
    return socket.socket(type=socket.SOCK_DGRAM)
