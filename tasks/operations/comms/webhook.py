"""Any webhook: one HTTP request, signed (Standard Webhooks 1.0.0) when asked, its answer kept."""

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from app.errors import StepError
from app.step import Secret, State, StepResult
from tasks.http_status import reason_of
from tasks.operations.base import OperationContext
from tasks.operations.comms.delivery import Delivered, Message, deliver, show_answer
from tasks.runners.http_transport import Answer
from tool_catalog.model import Reason

#: Headers that belong to the connection, or have a parameter of their own.
REFUSED_HEADERS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "host",
            "content-length",
            "expect",
            "accept-encoding",
        ),
        "it belongs to the connection",
    ),
    "authorization": "give its value as a secret: auth: {$secret: NAME}",
    "cookie": "cookies are not sent",
    "idempotency-key": "use the parameter idempotency_key",
    "webhook-id": "use the parameter idempotency_key",
    "webhook-timestamp": "use the parameter signing_secret",
    "webhook-signature": "use the parameter signing_secret",
}
#: Headers of the answer that are kept.
SHOWN_HEADERS = (
    "content-type",
    "content-length",
    "date",
    "etag",
    "location",
    "retry-after",
    "server",
    "x-request-id",
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]{0,4096}")


def send(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Send a request; `output` is {status, headers, body, truncated, tries, idempotency_key}.

    `body` is parsed where the answer is JSON, else text; at most 64 KiB of it are read.
    """
    key = parameters.get("idempotency_key") or step_key(context)
    content_type, body = encode_body(parameters)
    headers = check_headers(parameters.get("headers") or {})
    headers["Idempotency-Key"] = key
    if content_type and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = content_type
    auth = _find_secret(parameters, "auth", context)
    if auth is not None:
        headers["Authorization"] = _one_line(auth)
    message = Message(
        method=parameters.get("method", "POST"),
        url=_find_secret(parameters, "secret_url", context) or Secret(parameters["url"]),
        headers=headers,
        body=body,
        keyed=True,
        https_only=auth is not None or "secret_url" in parameters,
        stamp=_make_stamp(_find_secret(parameters, "signing_secret", context), key, body or b""),
    )
    return _read_result(deliver(message, context), message, key, parameters.get("ok"))


def step_key(context: OperationContext) -> str:
    """The same for every try of a step: receivers tell repetitions by it. Holds no dot."""
    return f"{context.step.execution_id}-{context.step.id}"


def encode_body(parameters: Mapping[str, Any]) -> tuple[str | None, bytes | None]:
    """(content type, bytes) of whichever of json, form and body was given."""
    if parameters.get("json") is not None:
        return "application/json", json.dumps(parameters["json"], ensure_ascii=False).encode()
    if parameters.get("form") is not None:
        return "application/x-www-form-urlencoded", urlencode(parameters["form"], True).encode()
    if parameters.get("body") is not None:
        return "text/plain; charset=utf-8", parameters["body"].encode()
    return None, None


def check_headers(given: Mapping[str, Any]) -> dict[str, str]:
    """Headers that a caller may set; raises StepError naming the one that it may not."""
    headers = {}
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(str(name)):
            raise StepError(Reason.INVALID_PARAMETER, "headers: a name holds forbidden characters")
        why_not = REFUSED_HEADERS.get(name.lower())
        if why_not:
            raise StepError(Reason.INVALID_PARAMETER, f"headers.{name} cannot be set: {why_not}")
        text = str(value)
        if not isinstance(value, str | int | float) or not _HEADER_VALUE.fullmatch(text):
            raise StepError(Reason.INVALID_PARAMETER, f"headers.{name} must be one line of ASCII")
        headers[name] = text.strip()
    return headers


def sign(secret: bytes, key: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of Standard Webhooks 1.0.0: HMAC-SHA256 of "id.timestamp.body"."""
    signed = f"{key}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _make_stamp(secret: Secret | None, key: str, body: bytes) -> Callable[[], Mapping[str, str]]:
    """Headers for each try: id and signature, the time being that of the try."""
    if secret is None:
        return dict
    signing_key = _read_signing_key(secret)

    def stamp() -> Mapping[str, str]:
        timestamp = int(time.time())
        return {
            "webhook-id": key,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(signing_key, key, timestamp, body),
        }

    return stamp


def _read_signing_key(secret: Secret) -> bytes:
    """The bytes of `whsec_<base64 of 24 to 64 bytes>`."""
    try:
        key = base64.b64decode(secret.reveal().strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:  # noqa: PLR2004  # the bounds of the specification
        raise StepError(
            Reason.INVALID_PARAMETER,
            "signing_secret must hold whsec_ and the base64 of 24 to 64 random bytes",
        )
    return key


def _find_secret(
    parameters: Mapping[str, Any], name: str, context: OperationContext
) -> Secret | None:
    given = parameters.get(name)
    return context.find_secret(given["$secret"]) if given else None


def _one_line(auth: Secret) -> str:
    value = auth.reveal().strip()
    if not _HEADER_VALUE.fullmatch(value):
        raise StepError(Reason.INVALID_PARAMETER, "the secret of auth must be one line of ASCII")
    return value


def _read_result(
    delivered: Delivered, message: Message, key: str, ok: list[int] | None
) -> StepResult:
    answer = delivered.answer
    output = {
        "status": answer.status,
        "headers": {name: answer.headers[name] for name in SHOWN_HEADERS if name in answer.headers},
        "body": read_body(answer),
        "truncated": answer.truncated,
        "tries": delivered.tries,
        "idempotency_key": key,
    }
    changed = message.method != "GET"
    if answer.status in (ok or range(200, 300)):
        summary = f"{message.host} answered {answer.status} {answer.phrase}".strip()
        return StepResult(State.SUCCEEDED, summary, output=output, changed=changed)
    return StepResult(
        State.FAILED,
        f"{message.host} answered {show_answer(answer)}",
        reason=reason_of(answer.status),
        output=output,
        changed=False,
        transient=message.fails_for_now(answer),
    )


def read_body(answer: Answer) -> Any:  # noqa: ANN401  # JSON of any shape
    """The parsed body where it is JSON that the ledger can hold, else its text."""
    text = answer.body.decode("utf-8", "replace")
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type.endswith(("/json", "+json")) and not answer.truncated:
        try:
            parsed = json.loads(text)
            # PostgreSQL's jsonb takes neither NUL, nor lone surrogates, nor NaN and infinity.
            again = json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            again = b"\\u0000"
        if b"\\u0000" not in again:
            return parsed
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
