import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tool_catalog.model import Parameter
from tool_catalog.scalars import BadValue
from tool_catalog.values import check_value


def check(value, **parameter):
    return check_value(Parameter.model_validate(parameter), value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("hostname", "Web-01.Example.COM.", "web-01.example.com"),
        ("hostname", "localhost", "localhost"),
        ("ip", "2001:DB8::0:1", "2001:db8::1"),
        ("ip", "fe80::1%eth0", "fe80::1%eth0"),
        ("cidr", "192.0.2.0/24", "192.0.2.0/24"),
        ("cidr", "192.0.2.7", "192.0.2.7/32"),
        ("host", "192.0.2.7", "192.0.2.7"),
        ("host", "web-01", "web-01"),
        ("port", "443", 443),
        ("port_range", "22, 80,8000-8100", "22,80,8000-8100"),
        ("port_range", 22, "22"),
        ("url", "https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ("email", "first.last+tag@example.com", "first.last+tag@example.com"),
        ("interface", "eth0.100", "eth0.100"),
        ("bpf", "tcp port 443 and (host 192.0.2.1)", "tcp port 443 and (host 192.0.2.1)"),
    ],
)
def test_addresses_are_normalised(kind, value, expected):
    assert check(value, type=kind) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("hostname", "-web"),
        ("hostname", "web_01"),
        ("hostname", "a..b"),
        ("hostname", "x" * 64),
        ("hostname", ".".join(["x" * 60] * 5)),
        ("hostname", "127.1"),
        ("hostname", "1.2.3.999"),
        ("ip", "1.2.3"),
        ("ip", "01.2.3.4"),
        ("ip", "fe80::1%a b"),
        ("cidr", "192.0.2.1/24"),
        ("cidr", "192.0.2.0/33"),
        ("host", "a b"),
        ("host", "-x"),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port_range", "80-22"),
        ("port_range", "0"),
        ("port_range", "22,,80"),
        ("port_range", "http"),
        ("port_range", True),
        ("url", "ftp://example.com"),
        ("url", "https://user:secret@example.com/"),
        ("url", "https://exa mple.com"),
        ("url", "http://[::1"),
        ("url", "http:///path"),
        ("url", "javascript:alert(1)"),
        ("email", "nobody"),
        ("email", "a@b@c.com"),
        ("email", ".a@example.com"),
        ("email", "a..b@example.com"),
        ("email", "Name <a@example.com>"),
        ("email", "a@example.com\nBcc: b@example.com"),
        ("email", "a@-x.com"),
        ("interface", ".."),
        ("interface", "a/b"),
        ("interface", "x" * 16),
        ("bpf", "-w /etc/passwd"),
        ("bpf", "tcp\nudp"),
        ("bpf", "höst"),
        ("bpf", "x" * 1025),
    ],
)
def test_what_is_no_address_is_refused(kind, value):
    with pytest.raises(BadValue):
        check(value, type=kind)


def test_the_size_of_a_network_is_bounded():
    assert check("192.0.2.0/24", type="cidr", max=256) == "192.0.2.0/24"
    with pytest.raises(BadValue, match="at most 256 addresses"):
        check("2001:db8::/32", type="cidr", max=256)


@given(st.ip_addresses())
def test_every_address_is_a_host(address):
    assert ipaddress.ip_address(check(str(address), type="host")) == address


@pytest.mark.parametrize(
    "kind", ["hostname", "ip", "cidr", "host", "port_range", "url", "email", "interface", "bpf"]
)
def test_ten_megabytes_are_refused_by_length(kind):
    with pytest.raises(BadValue) as refused:
        check("a" * 10_000_000, type=kind)
    assert refused.value.code in {"out_of_range", "bad_format"}
