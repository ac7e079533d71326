"""A double of an Axis camera: the wire is real (sockets, digest logins, VAPIX), its world made up.

It proves what reaches a camera and what is made of its answers, never that a model behaves so.
"""

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from app.step import Credential, Secret, Target
from tests.lab import camera_info, camera_ptz
from tests.lab.camera_head import Head
from tests.lab.digest import Account, Doorkeeper
from tests.lab.receivers import Received, Receiver, Reply

USERS = {
    "root": Account("pa55-root", "admin"),
    "guard": Account("pa55-guard", "operator"),
    "visitor": Account("pa55-visitor", "viewer"),
}
_HTML = {"Content-Type": "text/html; charset=iso-8859-1"}
#: Who may call what, at least; the JSON APIs judge their methods themselves.
_LEAST = {
    "/axis-cgi/com/ptz.cgi": "viewer",
    "/axis-cgi/com/ptzconfig.cgi": "admin",
    "/axis-cgi/param.cgi": "operator",
    "/axis-cgi/basicdeviceinfo.cgi": "viewer",
    "/axis-cgi/apidiscovery.cgi": None,
}
_FREE_METHODS = (b"getAllUnrestrictedProperties", b"getSupportedVersions")


class Camera(AbstractContextManager["Camera"]):
    """`with Camera() as camera`: `camera.target`, `camera.heads[1]`, `camera.requests`."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, heads: int = 1, **doorkeeper: object
    ) -> None:
        self.heads = {number: Head() for number in range(1, heads + 1)}
        self.properties = camera_info.device()
        self.parameters = {
            "Brand.Brand": "AXIS",
            "Brand.ProdNbr": self.properties["ProdNbr"],
            "Properties.Firmware.Version": self.properties["Version"],
            "Properties.PTZ.PTZ": "yes",
            "Properties.System.SerialNumber": self.properties["SerialNumber"],
            "Network.HostName": "axis-accc8e000001",
        }
        self.door = Doorkeeper(dict(USERS), **doorkeeper)
        #: May answer in the camera's place: a test's way to break it.
        self.interfere: Callable[[Received], Reply | None] = lambda _request: None
        self._server = Receiver(self._answer, tls)
        self._tls = tls is not None

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.__exit__(*exc)

    @property
    def requests(self) -> list[Received]:
        """Everything that arrived, also what was refused."""
        return self._server.received

    @property
    def connections(self) -> int:
        """How many were opened."""
        return self._server.connections

    def target(self, **options: object) -> Target:
        """The camera as an asset."""
        scheme = "https" if self._tls else "http"
        return Target(
            name="cam-1",
            asset_id=7,
            address="127.0.0.1",
            connection="http",
            port=self._server.port,
            options={"scheme": scheme, **options},
        )

    def credential(self, user: str = "root", password: str | None = None) -> Credential:
        """The login of one of its users."""
        return Credential("cam-login", user, Secret(password or USERS[user].password))

    def _answer(self, request: Received) -> Reply:
        path = urlsplit(request.path).path
        broken = self.interfere(request)
        if broken is not None:
            return broken
        if path not in _LEAST:
            return _page(404, "Not Found")
        account, asked = self.door.judge(
            request.headers.get("authorization"), request.method, request.path
        )
        if account is None and not _is_free(path, request.body):
            return _page(401, "Unauthorized", {"WWW-Authenticate": asked})
        if request.method not in {"GET", "POST"}:
            return _page(405, "Method Not Allowed", {"Allow": "GET, POST"})
        least = _LEAST[path]
        if account and least and account.role not in _rights_from(least):
            return _page(403, "Forbidden")
        return self._serve(path, request, account.role if account else "")

    def _serve(self, path: str, request: Received, role: str) -> Reply:
        given = dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))
        if request.headers.get("content-type") == "application/x-www-form-urlencoded":
            given |= dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        if path == "/axis-cgi/com/ptz.cgi":
            return camera_ptz.answer_ptz(self.heads, given)
        if path == "/axis-cgi/com/ptzconfig.cgi":
            return camera_ptz.answer_config(self.heads, given)
        if path == "/axis-cgi/param.cgi":
            return camera_info.answer_param(self.parameters, given)
        api = camera_info.device_info if "basic" in path else camera_info.api_discovery
        return camera_info.answer_json(api, self, request, role)


def _is_free(path: str, body: bytes) -> bool:
    known = path.endswith("basicdeviceinfo.cgi") and any(name in body for name in _FREE_METHODS)
    return known or _LEAST[path] is None


def _rights_from(least: str) -> tuple[str, ...]:
    return camera_info.RIGHTS[camera_info.RIGHTS.index(least) :]


def _page(status: int, words: str, headers: dict | None = None) -> Reply:
    said = f"{status} {words}"
    body = f"<HTML><HEAD><TITLE>{said}</TITLE></HEAD><BODY><H1>{said}</H1></BODY></HTML>"
    return Reply(status, body.encode(), {**_HTML, **(headers or {})})
