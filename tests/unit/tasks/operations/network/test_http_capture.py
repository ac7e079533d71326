"""Sums over the packets of a capture, without tshark."""

import pytest

from tasks.operations.network import http_capture
from tasks.operations.network.http_capture import _FIELDS, Traffic


def packet(number, **members):
    names = {name.replace(".", "_"): name for name in _FIELDS}
    values = {names[name]: str(value) for name, value in members.items()}
    standard = {"frame.number": str(number), "frame.time_epoch": f"1700000000.{number:06}"}
    given = {**dict.fromkeys(_FIELDS, ""), **standard, **values}
    return [given[name] for name in _FIELDS]


def asks(number, uri="/", host="a.example", method="GET"):
    return packet(
        number,
        ip_src="10.0.0.1",
        ip_dst="10.0.0.2",
        tcp_dstport=80,
        http_request_method=method,
        http_host=host,
        http_request_uri=uri,
    )


def answers(number, request, status=200, seconds=0.01):
    return packet(
        number, http_response_code=status, http_request_in=request, http_time=f"{seconds:.9f}"
    )


def sum_up(*packets, limit=100):
    traffic = Traffic(limit)
    for each in packets:
        traffic.take(each)
    return traffic.sum_up()


def test_nothing():
    found = sum_up()
    assert (found["requests"], found["median_ms"], found["hosts"]) == (0, None, [])


def test_answers_find_their_requests_in_any_order():
    found = sum_up(asks(1, "/x"), asks(2, "/y"), answers(3, 2, 500), answers(4, 1, 200, 0.5))
    assert [(e["path"], e["status"], e["ms"]) for e in found["exchanges"]] == [
        ("/x", 200, 500.0),
        ("/y", 500, 10.0),
    ]
    assert (found["unanswered"], found["errors"]) == (0, 1)
    assert found["hosts"] == [{"host": "a.example", "requests": 2, "errors": 1, "median_ms": 500.0}]


def test_an_answer_whose_request_was_before_the_capture():
    found = sum_up(answers(1, ""), answers(2, 77, 404))
    assert (found["answers"], found["requests"], found["errors"]) == (2, 0, 1)
    assert found["exchanges"] == []


def test_only_the_slowest_are_kept(monkeypatch):
    monkeypatch.setattr(http_capture, "_SLOWEST", 3)
    packets = []
    for number in range(1, 21):
        packets += [
            asks(number * 2, f"/{number}"),
            answers(number * 2 + 1, number * 2, 200, number),
        ]
    found = sum_up(*packets, limit=0)
    assert [e["path"] for e in found["slowest"]] == ["/20", "/19", "/18"]
    assert found["exchanges"] == []
    assert (found["median_ms"], found["p95_ms"], found["max_ms"]) == (11000, 20000, 20000)


def test_any_number_of_hosts_fits(monkeypatch):
    monkeypatch.setattr(http_capture, "_MOST_HOSTS", 2)
    found = sum_up(*(asks(number, host=f"h{number}.example") for number in range(1, 6)))
    assert {host["host"]: host["requests"] for host in found["hosts"]} == {
        "h1.example": 1,
        "h2.example": 1,
        "others": 3,
    }


@pytest.mark.parametrize(
    ("uri", "shown"),
    [("/a?token=s3cret", "/a?…"), ("/a", "/a"), ("", ""), ("/" + "x" * 500, "/" + "x" * 199)],
)
def test_a_query_is_left_out(uri, shown):
    assert sum_up(asks(1, uri))["exchanges"][0]["path"] == shown


def test_a_request_without_a_host_goes_by_its_address():
    assert sum_up(asks(1, host=""))["hosts"][0]["host"] == "10.0.0.2"
