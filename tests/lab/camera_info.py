"""What the camera double tells of itself: basicdeviceinfo, apidiscovery and param.cgi."""

import json
import re
from fnmatch import fnmatchcase

from tests.lab.receivers import Reply

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
RIGHTS = ("viewer", "operator", "admin")

#: "The old style" of error codes (basicdeviceinfo, apidiscovery).
_FORBIDDEN, _NOT_POST, _VERSION, _METHOD = 2001, 2002, 2003, 2004
_BAD_JSON, _BAD_KEY, _NO_SUCH_PROPERTY = 4000, 4002, 1000

_UNRESTRICTED = ("Brand", "ProdFullName", "ProdNbr", "ProdShortName", "ProdType", "ProdVariant")


def device(serial="ACCC8E000001", version="11.11.73"):
    """The properties of a made-up camera."""
    return {
        "Architecture": "aarch64",
        "Brand": "AXIS",
        "BuildDate": "Feb 02 2026 10:11",
        "HardwareID": "9A1",
        "ProdFullName": "AXIS P0000-LE Test Camera",
        "ProdNbr": "P0000-LE",
        "ProdShortName": "AXIS P0000-LE",
        "ProdType": "PTZ Camera",
        "ProdVariant": "",
        "SerialNumber": serial,
        "Soc": "Axis Artpec-8",
        "SocSerialNumber": "00000000-00000000-00000000-00000000",
        "Version": version,
        "WebURL": "http://www.axis.com",
    }


#: (id, version, name, status)
APIS = (
    ("api-discovery", "1.0", "API Discovery Service", "official"),
    ("basic-device-info", "1.3", "Basic Device Information", "official"),
    ("ptz-control", "1.0", "PTZ Control", "official"),
    ("light-control", "1.1", "Light Control", "beta"),
)


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def answer_json(api, camera, request, role):
    """One call of a JSON API: errors come with status 200 and a code."""
    asked = {}
    try:
        asked = _read(request)
        told = {"data": api(camera, asked, role)}
    except Refused as error:
        told = {"error": {"code": error.code, "message": str(error)}}
    context = {"context": asked["context"]} if "context" in asked else {}
    return Reply(200, json.dumps({"apiVersion": "1.3", **context, **told}).encode(), JSON)


def _read(request):
    if request.method != "POST":
        raise Refused(_NOT_POST, "HTTP request type not supported. Only HTTP POST is supported")
    try:
        asked = json.loads(request.body)
    except ValueError:
        raise Refused(_BAD_JSON, "Invalid JSON") from None
    if not isinstance(asked, dict) or "method" not in asked:
        raise Refused(4001, "Required parameter missing: method")
    if str(asked.get("apiVersion", "1.0")).partition(".")[0] != "1":
        raise Refused(_VERSION, "The requested API version is not supported")
    return asked


def device_info(camera, asked, role):
    method = asked["method"]
    if method == "getSupportedVersions":
        return {"apiVersions": ["1.3"]}
    if method == "getAllUnrestrictedProperties":
        return {"propertyList": {name: camera.properties[name] for name in _UNRESTRICTED}}
    if method not in {"getAllProperties", "getProperties"}:
        raise Refused(_METHOD, "Method not supported")
    _require(role, "operator")
    if method == "getAllProperties":
        return {"propertyList": camera.properties}
    names = asked.get("params", {}).get("propertyList")
    if not isinstance(names, list):
        raise Refused(_BAD_KEY, "The type of a provided parameter is not correct")
    for name in names:
        if name not in camera.properties:
            raise Refused(_NO_SUCH_PROPERTY, f"Property not supported: {name}")
    return {"propertyList": {name: camera.properties[name] for name in names}}


def api_discovery(_camera, asked, _role):
    if asked["method"] == "getSupportedVersions":
        return {"apiVersions": ["1.0"]}
    if asked["method"] != "getApiList":
        raise Refused(_METHOD, "Method not supported")
    wanted = asked.get("params", {})
    names = ("id", "version", "name", "status")
    told = [dict(zip(names, api, strict=True)) for api in APIS]
    fitting = [
        {**api, "docLink": "https://www.axis.com/partner_pages/vapix_library/"}
        for api in told
        if fnmatchcase(api["id"], wanted.get("id", "*"))
        and fnmatchcase(api["version"], wanted.get("version", "*"))
    ]
    return {"apiList": fitting}


def _require(role, least):
    if role not in RIGHTS[RIGHTS.index(least) :]:
        raise Refused(_FORBIDDEN, "Access forbidden")


def answer_param(parameters, given):
    """param.cgi: list and update of the shared store; every answer has status 200."""
    action = given.get("action")
    if action == "list":
        return _text(_list(parameters, given.get("group", "*")))
    if action == "update":
        return _text(_update(parameters, given))
    return _text(f"# Error: Invalid action: {action}\n")


def _list(parameters, groups):
    lines = []
    for group in groups.split(","):
        bare = group.removeprefix("root.")
        pattern = re.escape(bare).replace(r"\*", "[^.]*" if bare != "*" else ".*")
        found = [
            f"root.{name}={value}\n"
            for name, value in parameters.items()
            if re.match(rf"{pattern}(?:\.|$)", name)
        ]
        lines += found or [f"# Error: Error -1 getting param in group '{bare}'\n"]
    return "".join(lines)


def _update(parameters, given):
    changes = {name: value for name, value in given.items() if "." in name}
    for name, value in changes.items():
        if name.removeprefix("root.") not in parameters:
            return f"# Error: Error setting '{name}' to '{value}'!\n"
    parameters |= {name.removeprefix("root."): value for name, value in changes.items()}
    return "OK"


def _text(text):
    return Reply(200, text.encode(), TEXT)
