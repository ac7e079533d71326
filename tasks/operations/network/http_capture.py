"""HTTP as a capture shows it: counts, errors, hosts, and how long answers took."""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Any

from app.step import State, StepResult
from tasks.operations.base import OperationContext
from tasks.operations.network.tshark import read_packets

_FIELDS = (
    *("frame.number", "frame.time_epoch", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst"),
    *("tcp.srcport", "tcp.dstport", "http.request.method", "http.host", "http.request.uri"),
    *("http.response.code", "http.request_in", "http.time"),
)
_SLOWEST = 10
_HOSTS = 50
#: Further ones are counted, but not by name: a capture may hold any number.
_MOST_HOSTS = 10_000
_URI_CHARACTERS = 200
_ERRORS_FROM = 400


def analyse(parameters: Mapping[str, Any], context: OperationContext) -> StepResult:
    """Pair the requests and answers of a capture, and sum them up.

    `output` is {requests, answers, unanswered, errors, median_ms, p95_ms, max_ms, methods,
    statuses, hosts, slowest, exchanges, complete}; queries of URLs are left out of it.
    """
    capture = context.find_artifact(parameters["capture"]["$artifact"])
    traffic = Traffic(int(parameters["limit"]))
    complete = read_packets(
        capture, "http.request || http.response", _FIELDS, traffic.take, context
    )
    output = {**traffic.sum_up(), "complete": complete}
    words = f"{output['requests']} requests, {output['errors']} errors"
    if output["median_ms"] is not None:
        words += f", answered in {output['median_ms']:g} ms (median)"
    words = words if traffic.requests or traffic.answers else "no HTTP in it"
    words += "" if complete else "; the capture was cut short"
    return StepResult(State.SUCCEEDED, words, output=output, changed=False)


@dataclass(slots=True)
class _Host:
    requests: int = 0
    errors: int = 0
    times: "array[float]" = field(default_factory=lambda: array("d"))


class Traffic:
    """Takes packets in their order, keeps what is needed to sum them up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: Frame number of a request to its exchange, until it is answered.
        self._open: dict[str, dict[str, Any]] = {}
        self._methods: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._hosts: dict[str, _Host] = {}
        self._times: array[float] = array("d")
        self._slowest: list[tuple[float, int, dict[str, Any]]] = []
        self._exchanges: list[dict[str, Any]] = []
        self.requests = 0
        self.answers = 0
        self._errors = 0

    def take(self, values: list[str]) -> None:
        """One packet, as texts by `_FIELDS`."""
        packet = dict(zip(_FIELDS, values, strict=False))
        if packet["http.request.method"]:
            self._request(packet)
        elif packet["http.response.code"]:
            self._answer(packet)

    def sum_up(self) -> dict[str, Any]:
        """What was seen."""
        hosts = sorted(self._hosts.items(), key=lambda item: -item[1].requests)
        slowest = sorted(self._slowest, key=lambda entry: -entry[0])
        return {
            "requests": self.requests,
            "answers": self.answers,
            "unanswered": len(self._open),
            "errors": self._errors,
            "median_ms": _quantile(self._times, 0.5),
            "p95_ms": _quantile(self._times, 0.95),
            "max_ms": _quantile(self._times, 1.0),
            "methods": dict(self._methods.most_common()),
            "statuses": dict(sorted(self._statuses.items())),
            "hosts": [_show_host(name, host) for name, host in hosts[:_HOSTS]],
            "slowest": [exchange for _, _, exchange in slowest],
            "exchanges": self._exchanges,
        }

    def _request(self, packet: Mapping[str, str]) -> None:
        self.requests += 1
        self._methods[packet["http.request.method"]] += 1
        name = packet["http.host"] or packet["ip.dst"] or packet["ipv6.dst"]
        if name not in self._hosts and len(self._hosts) >= _MOST_HOSTS:
            name = "others"
        self._hosts.setdefault(name, _Host()).requests += 1
        exchange = {
            "time": float(packet["frame.time_epoch"]),
            "client": packet["ip.src"] or packet["ipv6.src"],
            "server": packet["ip.dst"] or packet["ipv6.dst"],
            "port": int(packet["tcp.dstport"] or 0) or None,
            "host": name,
            "method": packet["http.request.method"],
            "path": _show_path(packet["http.request.uri"]),
            "status": None,
            "ms": None,
        }
        self._open[packet["frame.number"]] = exchange
        if len(self._exchanges) < self._limit:
            self._exchanges.append(exchange)

    def _answer(self, packet: Mapping[str, str]) -> None:
        status = int(packet["http.response.code"])
        self.answers += 1
        self._statuses[str(status)] += 1
        self._errors += status >= _ERRORS_FROM
        exchange = self._open.pop(packet["http.request_in"], None)
        if exchange is None:  # the request was before the capture began
            return
        exchange["status"] = status
        host = self._hosts[exchange["host"]]
        host.errors += status >= _ERRORS_FROM
        if packet["http.time"]:
            self._time(exchange, host, round(float(packet["http.time"]) * 1000, 3))

    def _time(self, exchange: dict[str, Any], host: _Host, took_ms: float) -> None:
        exchange["ms"] = took_ms
        self._times.append(took_ms)
        host.times.append(took_ms)
        entry = (took_ms, len(self._times), exchange)  # the count settles equal times
        if len(self._slowest) < _SLOWEST:
            heappush(self._slowest, entry)
        else:
            heappushpop(self._slowest, entry)


def _show_host(name: str, host: _Host) -> dict[str, Any]:
    return {
        "host": name,
        "requests": host.requests,
        "errors": host.errors,
        "median_ms": _quantile(host.times, 0.5),
    }


def _show_path(uri: str) -> str:
    """A path without its query, which may hold a secret."""
    path, mark, _ = uri.partition("?")
    return path[:_URI_CHARACTERS] + ("?…" if mark else "")


def _quantile(times: "array[float]", share: float) -> float | None:
    """The nearest rank; None of nothing."""
    if not times:
        return None
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]
