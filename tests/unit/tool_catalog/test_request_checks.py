"""Requests in tool files that cannot work, each named by its key."""

import pytest

from tool_catalog.loader import load_tool
from tool_catalog.model import CatalogError

TOOL = """
summary: A thing with an API
execution_location: automation-service
operations:
  show:
    summary: Looks
    effect: read
    parameters:
      name: {{type: word, required: true, example: a}}
      part: {{type: word, example: b}}
      key: {{type: secret, example: {{$secret: k}}}}
    {operation}
    examples: [{{parameters: {{name: a}}}}]
"""


def load(tmp_path, operation):
    path = tmp_path / "thing.yaml"
    path.write_text(TOOL.format(operation=operation))
    return load_tool(path).operations["show"]


def test_what_a_request_may_be(tmp_path):
    text = (
        "http: {method: POST, path: '/a/{name}/b', query: {p: '{part}'}, headers: {X-Key: '{key}'},"
        " json: {n: '{name}'}, ok: [200, 204]}"
    )
    http = load(tmp_path, text).http
    assert (http.path, http.ok) == ("/a/{name}/b", (200, 204))


@pytest.mark.parametrize(
    ("operation", "key", "words"),
    [
        ("http: {method: GET, path: a}", "http.path", 'begins with "/"'),
        ("http: {method: GET, path: '/a?b=c'}", "http.path", "that is in `query`"),
        ("http: {method: GET, path: '/{part}'}", "http.path", "'part' may be absent"),
        ("http: {method: GET, path: '/{key}'}", "http.path", "no place for 'key'"),
        ("http: {method: GET, path: '/{credential.password}'}", "http.path", "no place for"),
        ("http: {method: GET, path: '/{nam}'}", "http.path", "no parameter 'nam'"),
        ("http: {method: GET, path: /, query: {a: '{nam}'}}", "http.query", "did you mean 'name'"),
        ("http: {method: POST, path: /, form: {a: b}, body: c}", "http.body", "one of json, form"),
        ("http: {method: GET, path: /, ok: []}", "http.ok", "no answer would be a success"),
        ("http: {method: GET, path: /, headers: {Authorization: x}}", "http.headers", "may set"),
        ("http: {method: GET, path: /, headers: {'A B': x}}", "http.headers.A B", "may set"),
        ("http: {method: TRACE, path: /}", "http.method", "GET"),
        ("http: {method: GET, path: /, pth: /}", "http.pth", "did you mean 'path'"),
        ("http: {method: GET, path: /}\n    stdin: x", "stdin", "goes with argv"),
        ("http: {method: GET, path: /}\n    precheck: [a]", "precheck", "goes with argv"),
        ("http: {method: GET, path: /}\n    at: worker", "at", "goes to its target"),
    ],
)
def test_what_it_may_not_be(tmp_path, operation, key, words):
    with pytest.raises(CatalogError) as caught:
        load(tmp_path, operation)
    assert f"operations.show.{key}" in str(caught.value)
    assert words in str(caught.value)
