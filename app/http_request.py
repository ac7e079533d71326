"""An HTTP request as data, with a raw and a masked view (pure). The target adds the address."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from app.errors import StepError
from app.filling import PLACEHOLDER, SecretText, Text, Texts, as_text, reveal
from app.step import Secret
from tool_catalog.model import CatalogError, Effect, HttpRequest, Operation, Reason

#: Segments that a server or a client would resolve away.
_DOTS = frozenset({"", ".", ".."})

Pairs = tuple[tuple[str, Text], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a target. Values may be SecretText; a name or the path never is."""

    method: str
    #: Begins with "/", percent-encoded; the asset's `base_path` comes before it.
    path: str
    query: Pairs = ()
    headers: Mapping[str, Text] = field(default_factory=dict)
    #: At most one of json, form, body. A JSON value's texts may be SecretText.
    json: Any = None
    form: Pairs | None = None
    body: Text | None = None
    #: Statuses that are no failure.
    ok: tuple[int, ...] = (200,)
    #: Its operation changes something: no answer leaves the outcome unknown.
    changes: bool = False

    def uri(self) -> str:
        """Path and query, with secrets: it goes to the target, never to a log."""
        return _uri(self.path, ((name, reveal(value)) for name, value in self.query))

    def content(self) -> tuple[str | None, bytes | None]:
        """(content type, body), with secrets; (None, None) of a request without a body."""
        if self.json is not None:
            text = json.dumps(_revealed(self.json), ensure_ascii=False)
            return "application/json", text.encode()
        if self.form is not None:
            pairs = [(name, reveal(value)) for name, value in self.form]
            return "application/x-www-form-urlencoded", urlencode(pairs).encode()
        if self.body is not None:
            return "text/plain; charset=utf-8", reveal(self.body).encode()
        return None, None


def build_request(operation: Operation, http: HttpRequest, texts: Texts) -> Request:
    """The request of an operation; members whose parameter is absent disappear.

    Raises StepError for a value that cannot stand in a path or a header.
    """
    headers = {name: texts.fill(value) for name, value in http.headers.items()}
    return Request(
        method=http.method,
        path=_fill_path(operation, http.path, texts),
        query=tuple(_pairs(http.query, texts)),
        headers={name: _one_line(name, text) for name, text in headers.items() if text is not None},
        json=None if http.json_body is None else texts.fill_value(http.json_body),
        form=None if http.form is None else tuple(_pairs(http.form, texts)),
        body=None if http.body is None else texts.fill(http.body),
        ok=http.ok,
        changes=operation.effect is not Effect.READ,
    )


def show_line(request: Request) -> str:
    """Method, path and query in one line for people, masked."""
    pairs = ((name, str(value)) for name, value in request.query)
    return f"{request.method} {_uri(request.path, pairs, safe='*')}"


def show_request(request: Request) -> dict[str, Any]:
    """The masked view, JSON-safe: {"method", "path", "query", "headers", "json", ...}."""
    shown = {
        "method": request.method,
        "path": request.path,
        "query": _by_name(request.query),
        "headers": {name: str(value) for name, value in request.headers.items()},
        "json": _masked(request.json),
        "form": _by_name(request.form or ()),
        "body": None if request.body is None else str(request.body),
        "ok": list(request.ok),
    }
    return {name: value for name, value in shown.items() if value not in (None, {})}


def _uri(path: str, pairs: Iterable[tuple[str, str]], safe: str = "") -> str:
    query = urlencode(list(pairs), quote_via=quote, safe=safe)
    return f"{path}?{query}" if query else path


def _fill_path(operation: Operation, template: str, texts: Texts) -> str:
    """The path with each value percent-encoded: none adds a segment or leaves one."""
    path = template
    for name in PLACEHOLDER.findall(template):
        value = texts.value(name)
        if isinstance(value, Secret | SecretText):
            raise CatalogError(f"operation {operation.name}: a path is no place for {name}")
        text = "" if value is None else quote(as_text(value), safe="")
        if text in _DOTS:
            what = f"{name} cannot be {text!r}: it is a part of the path {template}"
            raise StepError(Reason.INVALID_PARAMETER, what)
        path = path.replace(f"{{{name}}}", text)
    return path


def _pairs(given: Mapping[str, Any], texts: Texts) -> Iterator[tuple[str, Text]]:
    """Names and values as a query or a form has them: a list repeats its name."""
    for name, value in texts.fill_value(given).items():
        for item in value if isinstance(value, list) else [value]:
            yield name, item if isinstance(item, SecretText) else as_text(item)


def _one_line(name: str, value: Text) -> Text:
    text = reveal(value)
    if not (text.isascii() and text.isprintable()):
        what = f"the header {name} must be one line of ASCII; write another value"
        raise StepError(Reason.INVALID_PARAMETER, what)
    return value


def _by_name(pairs: Pairs) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in pairs:
        held = shown.get(name)
        several = [*(held if isinstance(held, list) else [held]), str(value)]
        shown[name] = str(value) if held is None else several
    return shown


def _revealed(value: Any) -> Any:  # noqa: ANN401  # any JSON value, same shape back
    if isinstance(value, Mapping):
        return {name: _revealed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_revealed(item) for item in value]
    return value.reveal() if isinstance(value, SecretText) else value


def _masked(value: Any) -> Any:  # noqa: ANN401  # any JSON value, same shape back
    if isinstance(value, Mapping):
        return {name: _masked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return str(value) if isinstance(value, SecretText) else value
