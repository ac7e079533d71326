"""The connection goes to the checked address, while name checks stay those of the URL."""

import socket

import pytest
import requests

from app.errors import StepError
from tasks.runners.addresses import AddressGuard
from tasks.runners.http_transport import HttpTransport, Limits
from tasks.runners.trust import Trust
from tasks.runners.urls import check_url
from tests.lab.certificates import make_certificates
from tests.lab.receivers import Receiver, Reply
from tool_catalog.model import Reason

LIMITS = Limits(timeout_s=5, body_bytes=1000)


@pytest.fixture
def names(monkeypatch):
    """`names["hooks.example.com"] = [address, ...]`, one list per look-up."""
    real = socket.getaddrinfo
    table = {}

    def getaddrinfo(host, *args, **more):
        address = table[host].pop(0) if host in table else host
        return real(address, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


def exchange(transport, url):
    request = requests.Request("GET", url).prepare()
    try:
        return transport.exchange(request, LIMITS, lambda: None)
    finally:
        transport.close()


def test_host_header_and_certificate_are_those_of_the_name(tmp_path, names):
    certificates = make_certificates(tmp_path, "hooks.example.com")
    names["hooks.example.com"] = ["127.0.0.1"]
    guard = AddressGuard.from_text("127.0.0.1")
    with Receiver(tls=certificates.server_context()) as hook:
        transport = HttpTransport(guard, Trust(ca_file=certificates.authority))
        answer = exchange(transport, f"https://hooks.example.com:{hook.port}/a%2Fb?c=%2F")
    assert answer.status == 200
    [request] = hook.received
    assert request.headers["host"] == f"hooks.example.com:{hook.port}"
    assert request.path == "/a%2Fb?c=%2F"


def test_a_tls_connection_is_kept_and_opened_once(tmp_path):
    certificates = make_certificates(tmp_path)
    guard = AddressGuard.from_text("127.0.0.1")
    with Receiver(tls=certificates.server_context()) as hook:
        transport = HttpTransport(guard, Trust(ca_file=certificates.authority))
        for _ in range(3):
            request = requests.Request("GET", hook.url).prepare()
            assert transport.exchange(request, LIMITS, lambda: None).status == 200
        transport.close()
    assert hook.connections == 1


def test_a_certificate_of_another_name_is_refused(tmp_path, names):
    certificates = make_certificates(tmp_path, "other.example.com")
    names["hooks.example.com"] = ["127.0.0.1"]
    guard = AddressGuard.from_text("127.0.0.1")
    with Receiver(tls=certificates.server_context()) as hook:
        transport = HttpTransport(guard, Trust(ca_file=certificates.authority))
        with pytest.raises(StepError, match=r"certificate of hooks.example.com is not valid"):
            exchange(transport, f"https://hooks.example.com:{hook.port}/")
    assert hook.received == []


def test_the_name_is_looked_up_once_so_it_cannot_change_after_the_check(names):
    # The second answer of a name server that plays tricks is never asked for.
    names["hooks.example.com"] = ["127.0.0.2", "127.0.0.1"]
    guard = AddressGuard.from_text("127.0.0.2")
    with Receiver() as hook, pytest.raises(StepError, match="Connection refused"):
        exchange(HttpTransport(guard), f"http://hooks.example.com:{hook.port}/")
    assert names["hooks.example.com"] == ["127.0.0.1"]
    assert hook.received == []


def test_tls_to_a_server_that_speaks_none_is_told():
    guard = AddressGuard.from_text("127.0.0.1")
    with Receiver() as hook, pytest.raises(StepError, match=r"no TLS with 127.0.0.1") as caught:
        exchange(HttpTransport(guard), f"https://127.0.0.1:{hook.port}/")
    assert caught.value.reason is Reason.UNREACHABLE
    assert not caught.value.sent


def test_the_step_is_armed_when_connected_and_before_anything_is_sent():
    guard = AddressGuard.from_text("127.0.0.1")
    seen = []
    with Receiver(lambda _request: Reply(200)) as hook:
        transport = HttpTransport(guard)
        request = requests.Request("GET", hook.url).prepare()

        def refuse():
            seen.append((hook.connections, len(hook.received)))
            raise StepError(Reason.STOPPED, "the step is no longer ours")

        with pytest.raises(StepError, match="no longer ours"):
            transport.exchange(request, LIMITS, refuse)
        transport.close()
    assert seen[0][1] == 0
    assert hook.received == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://files.example.com/", "must begin with https"),
        ("https:///nowhere", "must begin with https"),
        ("https://user:pw-4711@hooks.example.com/", "holds a login"),
        ("https://hooks.example.com:99999/", "is not valid"),
        ("https://[::1/", "is not valid"),
        ("http://hooks.example.com/T0/s-4711", "not reached by https"),
    ],
)
def test_urls_that_are_none_are_refused_without_showing_them(url, words):
    with pytest.raises(StepError, match=words) as caught:
        check_url(url, AddressGuard(), https_only=True)
    assert "4711" not in caught.value.message


def test_plain_http_is_for_listed_hosts():
    check_url("http://relay.example/", AddressGuard.from_text("relay.example"), https_only=True)
    check_url("http://hooks.example.com/", AddressGuard(), https_only=False)
