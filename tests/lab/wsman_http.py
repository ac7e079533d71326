"""The HTTP side of the WinRM double: logins, sealed bodies, and answers that are none."""

from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Answer:
    """Something else than what an action should give: a fault, a status, a cut connection, ..."""

    fault: int | None = None
    status: int = 500
    body: bytes = b""
    #: Where to go instead.
    location: str | None = None
    cut: bool = False
    #: One byte now and then, as long as the client listens.
    drip: bool = False


class Misbehave(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class WsmanServer(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them

    def __init__(self, double) -> None:
        self.double = double
        self._open = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request, client_address):
        self._open.append(request)
        super().process_request(request, client_address)

    def cut(self) -> None:
        """End connections that are kept alive."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(2)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.session = self.server.double.login.new_session(self.connection)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/wsman":
            self.reply(404, b"")
            return
        challenge = self.session.check(self.headers.get("Authorization"))
        if challenge is not None:
            self.reply(401, b"", ("WWW-Authenticate", challenge))
            return
        if not body:  # the handshake before sealed messages
            self.reply(200, b"")
            return
        envelope = self.session.open(self.headers["Content-Type"], body)
        try:
            status, answer = self.server.double.answer(ET.fromstring(envelope))
        except Misbehave as odd:
            self.misbehave(odd.answer)
            return
        kind, sealed = self.session.seal(answer)
        self.reply(status, sealed, ("Content-Type", kind))

    def misbehave(self, answer):
        self.close_connection = True
        if answer.drip:
            self.drip()
        elif not answer.cut:
            headers = [("Location", answer.location)] if answer.location else []
            with suppress(OSError):  # the client had enough
                self.reply(answer.status, answer.body, *headers)

    def drip(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with suppress(OSError):
            while not self.server.double.ended.wait(0.05):
                self.wfile.write(b"<")

    def reply(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass
