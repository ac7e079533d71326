"""What an HTTP status says (pure): to which reason it comes down, whether it may pass."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from tool_catalog.model import Reason

#: The server says that it did not act and that trying again may help.
FAILS_FOR_NOW = frozenset({429, 500, 502, 503, 504})
#: A server in between lost sight of the one that acts.
MAY_HAVE_ACTED = frozenset({502, 504})

_REASONS: Mapping[int, Reason] = {
    400: Reason.INVALID_PARAMETER,
    401: Reason.AUTH_FAILED,
    403: Reason.AUTH_FAILED,
    404: Reason.NOT_FOUND,
    409: Reason.CONFLICT,
    410: Reason.NOT_FOUND,
    413: Reason.INVALID_PARAMETER,
}
_REDIRECTS = range(300, 400)
_TAG = re.compile(r"<(style|script|title)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_SHOWN_CHARACTERS = 200


def reason_of(status: int) -> Reason:
    """The reason code that an HTTP status stands for."""
    return _REASONS.get(status, Reason.REFUSED_BY_DEVICE)


def show_status(status: int, headers: Mapping[str, str], body: str) -> str:
    """An answer in a few words: status, and the beginning of its text or where it points."""
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
    said = f"answered {status} {phrase}".strip()
    if status in _REDIRECTS:
        return f"{said}: redirects are not followed ({headers.get('location', 'to nowhere')})"
    plain = _TAG.sub(" ", body[:4000]) if "html" in headers.get("content-type", "") else body
    text = " ".join(plain[:4000].split())[:_SHOWN_CHARACTERS]
    return f"{said}: {text}" if text else said
