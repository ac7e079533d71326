"""What an operation that is an HTTP request must keep."""

import re

from tool_catalog.bad_key import BadKey
from tool_catalog.model import HttpRequest, Operation, ParameterType

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Keys that belong to programs.
_NOT_WITH = ("stdin", "env", "precheck", "run_for")
#: Headers that the runner makes itself.
_OWN_HEADERS = frozenset({"authorization", "host", "content-length", "connection", "cookie"})


def check_request(operation: Operation, place: str) -> None:
    """Raises BadKey for the first thing in an operation's request that cannot work."""
    http = operation.http
    if http is None:
        return
    for key in _NOT_WITH:
        if getattr(operation, key):
            raise BadKey(f"{place}.{key}", "goes with argv; a request has query and body")
    if operation.at == "worker":
        raise BadKey(f"{place}.at", "a request goes to its target, which has address and login")
    _check_path(operation, http, f"{place}.http.path")
    _check_parts(http, f"{place}.http")


def _check_parts(http: HttpRequest, place: str) -> None:
    bodies = [name for name in ("json_body", "form", "body") if getattr(http, name) is not None]
    if len(bodies) > 1:
        raise BadKey(f"{place}.{bodies[1]}", "a request has one of json, form and body")
    if not http.ok:
        raise BadKey(f"{place}.ok", "is empty: no answer would be a success")
    for name in http.headers:
        if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise BadKey(f"{place}.headers.{name}", "is no header that a tool may set")


def _check_path(operation: Operation, http: HttpRequest, place: str) -> None:
    if not http.path.startswith("/") or re.search(r"[?#\s]", http.path):
        raise BadKey(place, 'begins with "/" and holds no query: that is in `query`')
    for name in _PLACEHOLDER.findall(http.path):
        parameter = operation.parameters.get(name)
        if parameter is None or parameter.type is ParameterType.SECRET:
            raise BadKey(place, f"a path is no place for {name!r}: servers write paths down")
        if not parameter.required and parameter.default is None:
            raise BadKey(place, f"{name!r} may be absent: make it required, or give it a default")
