"""HTTP servers on loopback that record what arrives and answer by a script, or not at all."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Received:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    #: Which request this is, from 1.
    number: int

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    #: A list is sent as a line for each of its items.
    headers: dict[str, str | list[str]] = field(default_factory=dict)
    #: Reset the connection instead of answering.
    reset: bool = False
    #: Answer only when the receiver ends.
    never: bool = False
    #: Send the head of an answer, then one header byte now and then.
    drip: bool = False


class Receiver(AbstractContextManager["Receiver"]):
    """`with Receiver(script) as hook`: `hook.url`, `hook.received`."""

    def __init__(
        self,
        script: Callable[[Received], Reply] = lambda _request: Reply(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._script = script
        self.ended = threading.Event()
        self._open: list[socket.socket] = []
        self._server = _Server(self)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.ended.set()
        self._server.shutdown()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def take(self, request: Received) -> Reply:
        self.received.append(request)
        return self._script(request)

    def took_connection(self, connection: socket.socket) -> None:
        self.connections += 1
        self._open.append(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.receiver = self.server.receiver
        self.receiver.took_connection(self.connection)

    def handle_method(self):
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        number = len(self.receiver.received) + 1
        body = self.rfile.read(length)
        self.answer(self.receiver.take(Received(self.command, self.path, headers, body, number)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_method  # noqa: N815  # http.server's names

    def answer(self, reply: Reply):
        self.close_connection = reply.reset or reply.never or reply.drip
        if reply.reset:  # linger 0: close sends RST
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif reply.never:
            self.receiver.ended.wait()
        elif reply.drip:
            self.drip()
        else:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                for line in [value] if isinstance(value, str) else value:
                    self.send_header(name, line)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

    def drip(self):
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.receiver.ended.wait(0.05):
                self.wfile.write(b"a")

    def log_message(self, *_args):
        pass


def slack(request: Received) -> Reply:
    """Slack's answers, picked by the last part of the path (its "token")."""
    token = request.path.rsplit("/", 1)[1]
    refusals = {
        "revoked": (404, "no_service"),
        "archived": (410, "channel_is_archived"),
        "restricted": (403, "action_prohibited"),
        "nochannel": (404, "channel_not_found"),
        "strange": (200, "maybe"),
    }
    if token in refusals:
        status, text = refusals[token]
        return _text(status, text)
    if token == "limited" and request.number == 1:
        return Reply(429, b"rate_limited", {"Retry-After": "1"})
    if token == "limitedlong":
        return Reply(429, b"rate_limited", {"Retry-After": "3600"})
    if token == "flaky" and request.number == 1:
        return _text(500, "rollup_error")
    if token in {"reset", "slow"}:
        return Reply(reset=token == "reset", never=token == "slow")
    return _text(*_judge_slack(request))


def _judge_slack(request: Received) -> tuple[int, str]:
    try:
        payload = request.json
    except ValueError:
        return 400, "invalid_payload"
    if not any(payload.get(name) for name in ("text", "blocks", "attachments")):
        return 400, "no_text"
    if len(payload.get("attachments", [])) > 100:
        return 400, "too_many_attachments"
    blocks = payload.get("blocks", [])
    if len(blocks) > 50 or not all("type" in block for block in blocks):
        return 400, "invalid_blocks"
    return 200, "ok"


def teams(request: Received) -> Reply:
    """A workflow under /workflows/..., a connector under /webhookb2/..."""
    token = urlsplit(request.path).path.rsplit("/", 1)[1]
    if token == "limited" and request.number == 1:
        return Reply(429, b"", {"Retry-After": "1"})
    if token == "slow":
        return Reply(never=True)
    if request.path.startswith("/workflows/"):
        return _workflow(request, token)
    return _connector(request, token)


def _workflow(request: Received, token: str) -> Reply:
    if parse_qs(urlsplit(request.path).query).get("sig") != ["s3cret%2F"]:
        return _fault(401, "DirectApiAuthorizationRequired")
    if token == "off":
        return _fault(404, "WorkflowNotFound")
    if len(request.body) > 28 * 1024:
        return Reply(413, b"Request Entity too large")
    card = request.json.get("attachments", [{}])[0]
    right_type = card.get("contentType") == "application/vnd.microsoft.card.adaptive"
    if not right_type or card["content"]["type"] != "AdaptiveCard":
        return _fault(400, "TriggerInputSchemaMismatch")
    return Reply(202)


def _connector(request: Received, token: str) -> Reply:
    if token == "throttled" and request.number == 1:
        return _text(200, f"{_FAILED} HTTP error 429 with ContextId 1")
    if token == "toolarge":
        return _text(200, f"{_FAILED} HTTP error 413 with ContextId 1")
    if request.json.get("@type") != "MessageCard":
        return _text(400, "Bad payload received by generic incoming webhook.")
    if not (request.json.get("summary") or request.json.get("text")):
        return _text(400, "Summary or Text is required.")
    return _text(200, "1")


_FAILED = "Webhook message delivery failed with error: Microsoft Teams endpoint returned"


def _text(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), {"Content-Type": "text/html"})


def _fault(status: int, code: str) -> Reply:
    body = json.dumps({"error": {"code": code, "message": "refused"}}).encode()
    return Reply(status, body, {"Content-Type": "application/json; charset=utf-8"})
