import socket

import pytest

from app.errors import ConfigError, StepError
from tasks.runners.addresses import AddressGuard
from tool_catalog.model import Reason


def resolve(guard, monkeypatch, *addresses, host="hooks.example.com"):
    """What the guard says when the host's name stands for these addresses."""

    def getaddrinfo(name, port, **_more):
        assert name == host.strip("[]")
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return guard.resolve(host, 443)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_addresses_are_allowed(monkeypatch, address):
    [(_family, (found, port))] = resolve(AddressGuard(), monkeypatch, address)
    assert (found, port) == (address, 443)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fc00::1",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "ff02::1",
        "100::1",
    ],
)
def test_every_other_address_is_refused(monkeypatch, address):
    with pytest.raises(StepError, match="OPSFARM_ALLOW_PRIVATE") as caught:
        resolve(AddressGuard(), monkeypatch, address)
    assert caught.value.reason is Reason.REFUSED_BY_POLICY
    assert not caught.value.transient


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    with pytest.raises(StepError, match=r"hooks\.example\.com is at 10\.0\.0\.5"):
        resolve(AddressGuard(), monkeypatch, "93.184.216.34", "10.0.0.5")


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("other.example, HOOKS.example.com.", "10.1.2.3"),
        ("::1", "::1"),
    ],
)
def test_the_allow_list_permits_by_network_address_and_name(monkeypatch, allow, address):
    assert resolve(AddressGuard.from_text(allow), monkeypatch, address)


def test_the_allow_list_permits_nothing_else(monkeypatch):
    guard = AddressGuard.from_text("10.0.0.0/8, inner.example")
    with pytest.raises(StepError):
        resolve(guard, monkeypatch, "192.168.1.1")
    with pytest.raises(StepError):
        resolve(guard, monkeypatch, "127.0.0.1", host="not-inner.example")


def test_a_network_that_is_none_is_a_wrong_setting():
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/99"):
        AddressGuard.from_text("10.0.0.0/99")


def test_listed_hosts_are_names_and_literal_addresses():
    guard = AddressGuard.from_text("Relay.example, 127.0.0.0/8, ::1")
    assert guard.lists("relay.EXAMPLE.")
    assert guard.lists("127.0.0.1")
    assert guard.lists("[::1]")
    assert not guard.lists("localhost")
    assert not AddressGuard().lists("relay.example")


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
def test_other_spellings_of_loopback_are_refused_too(spelling):
    with pytest.raises(StepError) as caught:
        AddressGuard().connect(spelling, 1, timeout_s=1)
    assert caught.value.reason in {Reason.REFUSED_BY_POLICY, Reason.NOT_FOUND}


def test_a_name_that_does_not_exist_is_told(monkeypatch):
    def getaddrinfo(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(StepError, match=r"no address for nowhere\.example") as caught:
        AddressGuard().resolve("nowhere.example", 443)
    assert caught.value.reason is Reason.NOT_FOUND
    assert not caught.value.transient


def test_a_name_server_that_is_silent_may_be_asked_again(monkeypatch):
    def getaddrinfo(*_args, **_more):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(StepError) as caught:
        AddressGuard().resolve("nowhere.example", 443)
    assert caught.value.transient


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.7.7", "::ffff:10.0.0.1"])
def test_people_s_own_networks_are_for_those_who_ask(monkeypatch, address):
    with pytest.raises(StepError):
        resolve(AddressGuard(), monkeypatch, address)
    assert resolve(AddressGuard().with_internal(), monkeypatch, address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "0.0.0.0"],
)
def test_loopback_and_metadata_are_no_one_s_own_network(monkeypatch, address):
    with pytest.raises(StepError) as caught:
        resolve(AddressGuard().with_internal(), monkeypatch, address)
    assert caught.value.reason is Reason.REFUSED_BY_POLICY


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"])
def test_no_name_on_the_list_leads_to_metadata(monkeypatch, address):
    guard = AddressGuard(names=frozenset({"hooks.example.com"}))
    with pytest.raises(StepError, match="clouds hand out") as caught:
        resolve(guard, monkeypatch, address)
    assert caught.value.reason is Reason.REFUSED_BY_POLICY
    itself = AddressGuard.from_text("169.254.169.254, fd00:ec2::254")
    assert resolve(itself, monkeypatch, address)
