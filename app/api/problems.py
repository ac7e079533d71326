"""Every failure of a request as an RFC 9457 problem; a traceback goes to the log only."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.errors import Fault, Malformed, TooLarge, Unauthenticated, Unavailable, UserError
from app.problem import MEDIA_TYPE, make_problem, show_problem

_RETRY_AFTER_S = 5
_log = logging.getLogger(__name__)


class ProblemResponse(JSONResponse):
    """A problem with its media type."""

    media_type = MEDIA_TYPE


def add_problem_handlers(api: FastAPI) -> None:
    """Answer with problems, whatever goes wrong."""
    api.add_exception_handler(UserError, _answer_user_error)
    api.add_exception_handler(Unavailable, _answer_unavailable)
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    api.add_exception_handler(HTTPException, _answer_http)
    api.add_exception_handler(ClientDisconnect, _answer_gone)
    api.add_exception_handler(Exception, _answer_unexpected)


def respond(problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as a response."""
    return ProblemResponse(dict(problem), status_code=problem["status"], headers=headers)


def _answer_user_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserError)  # noqa: S101  # registered for this type only
    # RFC 9110 section 11.6.1: a 401 names the scheme.
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else None
    return respond(show_problem(error), headers)


def _answer_unavailable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Unavailable)  # noqa: S101  # registered for this type only
    _log.warning("unavailable: %s (%s)", error, str(error.__cause__).partition("\n")[0])
    if not isinstance(error.__cause__, PoolTimeout):
        # Where one connection broke, those that lie in both pools are dead, too: without them the
        # first request after an outage would be refused like those during it.
        request.app.state.parts.close()
    return respond(show_problem(error), {"Retry-After": str(_RETRY_AFTER_S)})


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this type only
    # The given values stay out: one of them may be a secret.
    faults = [
        Fault(
            path=".".join(str(part) for part in fault["loc"][1:]),
            code=str(fault["type"]),
            message=str(fault["msg"]),
        )
        for fault in error.errors()
    ]
    return respond(show_problem(Malformed("the request cannot be read", faults=faults)))


def _answer_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type only
    if error.status_code == TooLarge.status:
        too_large = TooLarge(
            error.detail, hint="hand large texts over as artifacts or files on the target"
        )
        return respond(show_problem(too_large), error.headers)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return respond(make_problem(code, error.status_code, str(error.detail)), error.headers)


def _answer_gone(_request: Request, _error: Exception) -> JSONResponse:
    return respond(show_problem(Malformed("the sender went away before the end of the body")))


def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    hint = "the log of the api process says what happened"
    return respond(make_problem("internal", 500, "an error inside the farm", hint=hint))
