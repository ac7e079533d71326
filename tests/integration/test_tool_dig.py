"""dig against a real DNS server on loopback, with records of the test's own."""

import ipaddress
import secrets

import pytest

from app.admin.servers import find_free_port
from app.step import State
from tests.lab.dns import run_dns
from tool_catalog.model import Reason

SIX = "2001:db8::10"
POINTER = ipaddress.ip_address(SIX).reverse_pointer
PLANTED = secrets.token_hex(8)
ZONES = {
    "lab.example": (
        "  IN MX 10 mail\n"
        f'  IN TXT "planted={PLANTED}" "second; \\"quoted\\""\n'
        "web IN A 192.0.2.10\n"
        "web IN A 192.0.2.11\n"
        "web IN AAAA 2001:db8::10\n"
        "www 60 IN CNAME web\n"
        "_sip._tcp IN SRV 1 2 5060 web\n"
    ),
    "2.0.192.in-addr.arpa": "10 IN PTR web.lab.example.\n",
    "8.b.d.0.1.0.0.2.ip6.arpa": f"{POINTER}. IN PTR six.lab.example.\n",
    "broken.example": None,
}


@pytest.fixture(scope="module")
def dns(tmp_path_factory, require_program):
    """The port of a server with the zones above."""
    require_program("dig")
    folder = tmp_path_factory.mktemp("dns")
    with run_dns(folder, require_program("named"), ZONES) as port:
        yield port


@pytest.fixture
def run(bench, dns):
    def call(operation, given):
        given = {"server": "127.0.0.1", "port": dns, "tries": 1, "wait_s": 2, **given}
        return bench.run("dig", operation, given).result

    return call


@pytest.mark.proves("dig", "lookup")
def test_the_addresses_of_a_name(run, dns):
    result = run("lookup", {"name": "web.lab.example"})
    assert result.state is State.SUCCEEDED
    output = result.output
    assert sorted(output["values"]) == ["192.0.2.10", "192.0.2.11"]
    assert {(each["name"], each["ttl"], each["type"]) for each in output["answers"]} == {
        ("web.lab.example.", 300, "A")
    }
    assert (output["status"], output["authoritative"]) == ("NOERROR", True)
    assert output["server"] == f"127.0.0.1#{dns}"
    assert output["query_ms"] >= 0


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("web.lab.example", "AAAA", [SIX]),
        ("lab.example.", "MX", ["10 mail.lab.example."]),
        ("lab.example", "TXT", [f'"planted={PLANTED}" "second; \\"quoted\\""']),
        ("_sip._tcp.lab.example", "SRV", ["1 2 5060 web.lab.example."]),
        ("WWW.lab.example", "CNAME", ["web.lab.example."]),
        ("web.lab.example", "MX", []),
    ],
)
def test_records_of_many_types(run, name, kind, values):
    result = run("lookup", {"name": name, "type": kind, "tcp": kind == "TXT"})
    assert (result.state, result.output["values"]) == (State.SUCCEEDED, values)
    assert result.output["type"] == kind


def test_an_alias_is_followed_and_told(run):
    output = run("lookup", {"name": "www.lab.example", "type": "AAAA", "no_recursion": True}).output
    assert output["values"] == [SIX]
    assert [(each["type"], each["ttl"]) for each in output["answers"]] == [
        ("CNAME", 60),
        ("AAAA", 300),
    ]


@pytest.mark.proves("dig", "reverse")
@pytest.mark.parametrize(
    ("address", "name"),
    [("192.0.2.10", "web.lab.example."), (SIX, "six.lab.example.")],
)
def test_the_name_of_an_address(run, address, name):
    result = run("reverse", {"address": address, "dnssec": True})
    assert (result.state, result.output["values"]) == (State.SUCCEEDED, [name])


@pytest.mark.parametrize(
    ("operation", "given", "reason", "says"),
    [
        ("lookup", {"name": "nosuch.lab.example"}, Reason.NOT_FOUND, "no such name"),
        ("reverse", {"address": "192.0.2.99"}, Reason.NOT_FOUND, "no such name"),
        ("lookup", {"name": "www.example.com"}, Reason.REFUSED_BY_DEVICE, "REFUSED"),
        ("lookup", {"name": "a.broken.example"}, Reason.REFUSED_BY_DEVICE, "SERVFAIL"),
        ("lookup", {"name": "a.b", "server": "nosuch.invalid"}, Reason.NOT_FOUND, "nosuch.invalid"),
    ],
)
def test_what_a_server_does_not_answer(run, operation, given, reason, says):
    result = run(operation, given)
    assert (result.state, result.reason) == (State.FAILED, reason)
    assert says in result.summary


def test_where_no_server_is(run):
    result = run("lookup", {"name": "web.lab.example", "port": find_free_port()})
    assert (result.reason, result.transient) == (Reason.UNREACHABLE, True)
    assert "connection refused" in result.summary
