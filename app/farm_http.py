"""The HTTP connection to a farm: sends, and turns every failure into an error of ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from app.errors import FarmUnreachable, OpsfarmError, UserError
from app.farm_address import FarmAddress
from app.problem import read_problem

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
#: The farm sends a comment every 15 s: two missed ones mean a dead connection.
STREAM_TIMEOUT_S = 40.0
_FIRST_NOT_OK = 300


class _KeyAuth(AuthBase):
    """Shows the API key; as an auth object it also keeps ~/.netrc from replacing it."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class FarmConnection:
    """Requests to one farm. Raises FarmUnreachable, Unavailable or the UserError it answered."""

    def __init__(self, address: FarmAddress, patience_s: float | None = None) -> None:
        self._url = address.url
        #: The longest that any answer is waited for; None: each request's own time.
        self._patience_s = patience_s
        self._session = requests.Session()
        self._session.auth = _KeyAuth(address.key)
        # A proxy is for the world outside, not for a farm on this machine.
        self._session.trust_env = not _is_loopback(address.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the kept connections."""
        self._session.close()

    def get(self, path: str, *, timeout_s: float = READ_TIMEOUT_S, **query: object) -> Any:  # noqa: ANN401  # the JSON that the farm answers
        """GET; members of `query` that are None are left out."""
        return self._ask("GET", path, timeout_s=timeout_s, params=query)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401  # the JSON that the farm answers
        """POST a JSON body."""
        return self._ask("POST", path, json=body or {}, headers=headers)

    def post_text(self, path: str, text: bytes, headers: Mapping[str, str]) -> Any:  # noqa: ANN401  # the JSON that the farm answers
        """POST a plan as it was written, so that the farm can name lines of it."""
        headers = {"Content-Type": "application/yaml", **headers}
        return self._ask("POST", path, data=text, headers=headers)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._ask("DELETE", path)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """The lines of a streamed answer as they come."""
        with (
            _mapped_failures(self._url),
            self._session.get(
                self._url + path,
                headers=dict(headers),
                stream=True,
                timeout=(CONNECT_TIMEOUT_S, STREAM_TIMEOUT_S),
                allow_redirects=False,
            ) as response,
        ):
            _raise_problem(response)
            yield response.iter_lines()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float = READ_TIMEOUT_S,
        **request: Any,  # noqa: ANN401  # what requests.request takes
    ) -> Any:  # noqa: ANN401  # the JSON that the farm answers
        limits = (CONNECT_TIMEOUT_S, timeout_s)
        if self._patience_s is not None:
            limits = (self._patience_s, self._patience_s)
        with (
            _mapped_failures(self._url),
            self._session.request(
                method,
                self._url + path,
                timeout=limits,
                allow_redirects=False,
                **request,
            ) as response,
        ):
            _raise_problem(response)
            return response.json() if response.content else None


@contextmanager
def _mapped_failures(url: str) -> Iterator[None]:
    try:
        yield
    except requests.JSONDecodeError as error:
        raise FarmUnreachable(f"what answers at {url} is not an opsfarm API") from error
    except requests.RequestException as error:
        raise FarmUnreachable(
            f"no farm answers at {url} ({_cause(error)}); start one with 'opsfarm up'"
        ) from error


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate is not trusted"
    if isinstance(error, requests.ConnectionError):
        return "connection refused or lost"
    return type(error).__name__


def _raise_problem(response: requests.Response) -> None:
    if response.status_code < _FIRST_NOT_OK:
        return
    raise _as_error(response)


def _as_error(response: requests.Response) -> OpsfarmError:
    if "application/problem+json" in response.headers.get("Content-Type", ""):
        return read_problem(response.json())
    return UserError(
        f"{response.url} answered {response.status_code} {response.reason}",
        hint="is OPSFARM_API_URL the address of an opsfarm API?",
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
