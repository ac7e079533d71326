"""An HTTP server as seen from a worker: what it answers, how fast, how safely."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from app.errors import StepError
from app.step import State, StepResult
from tasks.operations.base import OperationContext
from tasks.operations.network.http_visit import Visit, Visitor, Wishes, show_url
from tasks.runners.addresses import AddressGuard
from tasks.runners.urls import check_url
from tool_catalog.model import Reason

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Certificates are told of in good time.
_SOON_DAYS = 21
_OLD_TLS = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})
#: Values that are a login of their own.
_SECRET_HEADERS = frozenset({"set-cookie", "set-cookie2", "authorization", "www-authenticate"})


def request(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """One request, and the redirects that may be followed.

    `output` is {url, status, version, address, the times, size_bytes, sha256, truncated, headers,
    tls, redirects, findings}. Fails with check_failed where it is not as expected.
    """
    hops = _follow(parameters, context)
    visit = hops[-1]
    output = {
        "url": visit.url,
        "status": visit.status,
        "version": visit.version,
        "address": visit.address,
        "tls_ms": None,
        **visit.times,
        "size_bytes": visit.size_bytes,
        "sha256": visit.sha256,
        "truncated": visit.truncated,
        "headers": _show_headers(visit),
        "tls": visit.tls,
        "redirects": [_show_hop(hop) for hop in hops[:-1]],
        "findings": list(_findings(hops)),
    }
    summary = f"{visit.url} answered {visit.status} in {visit.times['total_ms']:.0f} ms"
    unmet = list(_unmet(parameters, visit))
    if unmet:
        words = f"{summary}; {'; '.join(unmet)}"
        return StepResult(State.FAILED, words, Reason.CHECK_FAILED, output=output)
    return StepResult(State.SUCCEEDED, summary, output=output, changed=False)


def _follow(parameters: Mapping[str, Any], context: OperationContext) -> list[Visit]:
    """Every answer on the way, the last one at the end."""
    strict = AddressGuard.from_text(context.settings.allow_private)
    wishes = Wishes(
        method=str(parameters["method"]),
        wait_s=float(parameters["wait_s"]),
        max_bytes=int(parameters["max_bytes"]),
        ca_file=str(context.settings.http_ca_file or DEFAULT_CA_BUNDLE_PATH),
        text=str(parameters.get("expect_text") or "").encode(),
    )
    url, hops = str(parameters["url"]), list[Visit]()
    asked = _split(url, strict)
    while True:
        parts = _split(url, strict)
        # An operator names the first host, a server the others: those get no way to our own.
        guard = strict.with_internal() if parts.hostname == asked.hostname else strict
        visit = Visitor(guard, wishes, context.control).visit(parts)
        hops.append(visit)
        location = visit.header("location")
        if visit.status not in _REDIRECTS or not location or not _may_follow(parameters, hops):
            return hops
        url = urljoin(url, location)


def _may_follow(parameters: Mapping[str, Any], hops: list[Visit]) -> bool:
    """Raises StepError where following has led nowhere."""
    most = int(parameters["max_redirects"])
    if most and len(hops) > most:
        words = f"{hops[0].url} redirects more than {most} times, last to {hops[-1].url}"
        raise StepError(Reason.CHECK_FAILED, words)
    return most > 0


def _split(url: str, guard: AddressGuard) -> SplitResult:
    check_url(url, guard, https_only=False)
    return urlsplit(url)


def _show_headers(visit: Visit) -> dict[str, str]:
    """Headers by name; several of one name are joined, and logins left out."""
    shown: dict[str, str] = {}
    for name, value in visit.headers:
        text = "***" if name in _SECRET_HEADERS else _plain(value)
        text = show_url(urlsplit(text)) if name == "location" and "://" in text else text
        shown[name] = f"{shown[name]}, {text}" if name in shown else text
    return shown


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _show_hop(hop: Visit) -> dict[str, Any]:
    return {
        "url": hop.url,
        "status": hop.status,
        "address": hop.address,
        "total_ms": hop.times["total_ms"],
    }


@dataclass(frozen=True, slots=True)
class _Cookie:
    """The attributes of a Set-Cookie line; its value is not looked at."""

    name: str
    attributes: frozenset[str]

    @classmethod
    def read(cls, line: str) -> "_Cookie":
        pair, *rest = line.split(";")
        attributes = {part.partition("=")[0].strip().lower() for part in rest}
        return cls(_plain(pair.partition("=")[0].strip())[:80], frozenset(attributes))


def _findings(hops: list[Visit]) -> Iterator[str]:
    """What is odd, one line each, the graver first."""
    last = hops[-1]
    schemes = [urlsplit(hop.url).scheme for hop in hops]
    if ("https", "http") in pairwise(schemes):
        yield "a redirect leads from https to http"
    if last.tls is None:
        yield "the answer came over plain http"
    else:
        yield from _tls_findings(last, last.tls)
    cookies = (_Cookie.read(value) for name, value in last.headers if name == "set-cookie")
    for cookie in cookies:
        for word in ("secure", "httponly"):
            if word not in cookie.attributes:
                yield f"the cookie {cookie.name} is not {word}"
    server = last.header("server") or ""
    if any(char.isdigit() for char in server):
        yield f"the server tells its version: {_plain(server)[:80]}"


def _tls_findings(visit: Visit, tls: Mapping[str, Any]) -> Iterator[str]:
    if not tls["valid"]:
        yield f"the certificate is not valid: {tls['why']}"
    days = tls.get("days_left")
    if days is not None and 0 <= days <= _SOON_DAYS:
        yield f"the certificate ends in {days} days"
    if tls["version"] in _OLD_TLS:
        yield f"{tls['version']} is agreed on, which is broken"
    if visit.header("strict-transport-security") is None:
        yield "no Strict-Transport-Security: browsers may come back without TLS"


def _unmet(parameters: Mapping[str, Any], visit: Visit) -> Iterator[str]:
    """Each expectation that does not hold."""
    wanted = parameters.get("expect_status")
    if wanted and visit.status not in wanted:
        yield f"the status is not {' or '.join(map(str, wanted))}"
    if not visit.holds_text:
        yield "the body does not hold the expected text"
    within_ms = parameters.get("within_ms")
    if within_ms and visit.times["total_ms"] > within_ms:
        yield f"it took longer than {within_ms} ms"
    days = parameters.get("valid_days")
    if days is None:
        return
    tls = visit.tls or {"valid": False, "why": "there is none over plain http"}
    if not tls["valid"]:
        yield f"the certificate is not valid: {tls['why']}"
    elif tls.get("days_left", 0) < days:
        yield f"the certificate ends in {tls.get('days_left')} days, less than {days}"
