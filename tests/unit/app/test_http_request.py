"""From an operation's `http` and parameters to a request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.command import build_command, show_command
from app.errors import StepError
from app.filling import reveal
from app.step import Secret
from tool_catalog.model import CatalogError, Operation, Reason

ANY = {
    "text": {"type": "text"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "deep": {"type": "boolean"},
    "names": {"type": "list", "of": "word"},
    "extra": {"type": "object"},
    "login": {"type": "secret"},
}
SECRETS = {
    "key": Secret("s3cret\"'&"),
    "credential.username": Secret("app"),
    "credential.password": Secret("pa ss"),
}


def request(http, parameters=None, secrets=SECRETS, **members):
    operation = Operation.model_validate(
        {
            "name": "show",
            "summary": "shows",
            "effect": "read",
            "repeat": "read",
            "parameters": ANY,
            "http": {"method": "GET", "path": "/", **http},
            "examples": [{"parameters": {}}],
            **members,
        }
    )
    return build_command(operation, parameters or {}, secrets).request


@pytest.mark.parametrize(
    ("query", "parameters", "uri"),
    [
        ({"a": "b"}, {}, "/?a=b"),
        ({"a": "{text}"}, {"text": "x y&z=1"}, "/?a=x%20y%26z%3D1"),
        ({"a": "{text}"}, {}, "/"),
        ({"a": "{text}", "b": "1"}, {}, "/?b=1"),
        ({"a": "{names}"}, {"names": ["x", "y"]}, "/?a=x&a=y"),
        ({"a": "{names}"}, {"names": []}, "/"),
        ({"a": "{names};"}, {"names": ["x", "y"]}, "/?a=x%2Cy%3B"),
        ({"a": "{count},{ratio}"}, {"count": -5, "ratio": 2.0}, "/?a=-5%2C2"),
        ({"a": "{count},{ratio}"}, {"count": -5}, "/"),
        ({"a": "{deep}", "n": 7}, {"deep": False}, "/?a=false&n=7"),
        ({"match[]": "{text}"}, {"text": "up"}, "/?match%5B%5D=up"),
        ({"a": "{{text}}"}, {"text": "up"}, "/?a=%7B%7Btext%7D%7D"),
    ],
)
def test_each_form_of_query(query, parameters, uri):
    assert request({"query": query}, parameters).uri() == uri


def test_json_keeps_the_types_of_parameters():
    body = {
        "method": "set",
        "params": {"n": "{count}", "on": "{deep}", "list": "{names}", "gone": "{text}", "no": None},
        "items": ["{ratio}", "{text}", "x{count}"],
        "extra": "{extra}",
    }
    parameters = {"count": 3, "deep": True, "names": ["a"], "ratio": 2.5, "extra": {"k": [1]}}
    kind, content = request({"method": "POST", "json": body}, parameters).content()
    assert kind == "application/json"
    assert json.loads(content) == {
        "method": "set",
        "params": {"n": 3, "on": True, "list": ["a"], "no": None},
        "items": [2.5, "x3"],
        "extra": {"k": [1]},
    }


def test_a_form_and_a_body():
    form = request({"form": {"a": "{names}", "b": "{text}"}}, {"names": ["1 2", "ä"]})
    assert form.content() == ("application/x-www-form-urlencoded", b"a=1+2&a=%C3%A4")
    assert request({"body": "n={count}"}, {"count": 1}).content()[1] == b"n=1"
    assert request({}).content() == (None, None)


@given(value=st.text(min_size=1, max_size=30).filter(lambda text: text not in {".", ".."}))
def test_a_value_stays_in_its_segment_of_the_path(value):
    path = request({"path": "/label/{text}/values"}, {"text": value}, SECRETS).path
    assert path.count("/") == 3
    assert path.isascii()
    assert not set(path) & set(" ?#\\")


@pytest.mark.parametrize("value", [".", "..", ""])
def test_a_value_cannot_leave_its_segment(value):
    with pytest.raises(StepError, match="text cannot be") as caught:
        request({"path": "/label/{text}/values"}, {"text": value})
    assert caught.value.reason is Reason.INVALID_PARAMETER


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "ä", "\0"])
def test_a_header_is_one_line_of_ascii(value):
    with pytest.raises(StepError, match="the header X-Key must be one line") as caught:
        request({"headers": {"X-Key": "{text}"}}, {"text": value})
    assert caught.value.reason is Reason.INVALID_PARAMETER
    assert value not in caught.value.message


def test_a_header_whose_parameter_is_absent_disappears():
    built = request({"headers": {"X-Key": "{text}", "Accept": "text/plain"}})
    assert built.headers == {"Accept": "text/plain"}


LOGGED_IN = {
    "method": "POST",
    "query": {"user": "{credential.username}", "pass": "{credential.password}"},
    "headers": {"X-Key": "{login}"},
    "json": {"key": "{login}", "mixed": "k={login}"},
}


def test_secrets_are_sent():
    built = request(LOGGED_IN, {"login": {"$secret": "key"}})
    assert built.uri() == "/?user=app&pass=pa%20ss"
    assert reveal(built.headers["X-Key"]) == "s3cret\"'&"
    assert json.loads(built.content()[1]) == {"key": "s3cret\"'&", "mixed": "k=s3cret\"'&"}


def test_no_view_shows_a_secret():
    operation = Operation.model_validate(
        {
            "name": "set",
            "summary": "sets",
            "effect": "change",
            "repeat": "never",
            "parameters": ANY,
            "http": {"path": "/x", **LOGGED_IN},
            "examples": [{"parameters": {}}],
        }
    )
    command = build_command(operation, {"login": {"$secret": "key"}}, SECRETS)
    shown = show_command(command)
    assert shown["line"] == "POST /x?user=***&pass=***"
    assert shown["request"]["json"] == {"key": "***", "mixed": "k=***"}
    assert shown["request"]["headers"] == {"X-Key": "***"}
    for view in (json.dumps(shown), repr(command), str(command.request)):
        assert "s3cret" not in view
        assert "pa ss" not in view


def test_a_path_is_no_place_for_a_secret():
    with pytest.raises(CatalogError, match="no place for login"):
        request({"path": "/{login}"}, {"login": {"$secret": "key"}})


def test_a_dry_run_needs_no_secret():
    operation = Operation.model_validate(
        {
            "name": "set",
            "summary": "sets",
            "effect": "change",
            "repeat": "never",
            "parameters": ANY,
            "http": {"path": "/x", **LOGGED_IN},
            "examples": [{"parameters": {}}],
        }
    )
    shown = show_command(build_command(operation, {"login": {"$secret": "key"}}))
    assert shown["kind"] == "http"
    assert shown["request"]["query"] == {"user": "***", "pass": "***"}


def test_what_changes_says_so():
    assert request({}).changes is False
    assert request({}, effect="change", repeat="never").changes is True
