import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.asset import CRITICALITIES, STATUSES, TYPES, check_values, normalise_hostname
from tool_catalog.loader import TOOLS, load_tool


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hostname": "local"}, "worker's own host"),
        ({"hostname": "10.0.0.1"}, "not a host name"),
        ({"hostname": "7"}, "not a host name"),
        ({"hostname": "a", "ip_address": "10.0.0.0/24"}, "ip_address"),
        ({"hostname": "a", "ip_address": "fe80::1%eth0"}, "without a zone"),
        ({"hostname": "a", "type": "toaster"}, "one of server"),
        ({"hostname": "a", "status": "gone"}, "one of active"),
        ({"hostname": "a", "environment": "x\ny"}, "printable"),
        ({"hostname": "a", "os": ""}, "1 to 255"),
        ({"hostname": "a", "tags": {"a b": 1}}, "cannot name a tag"),
        ({"hostname": "a", "tags": {"a": None}}, "printable"),
        ({"hostname": "a", "tags": {"a": ["b"]}}, "printable"),
        ({"hostname": "a", "tags": {"a": float("nan")}}, "tags: Out of range"),
        ({"hostname": "a", "metadata": {"a": "\x00"}}, "without NUL"),
        ({"hostname": "a", "metadata": {"a": "\ud800"}}, "metadata"),
        ({"hostname": "a", "metadata": {"a": "x" * 40_000}}, "at most 32768"),
        ({"hostname": "a", "connection": {"type": "telnet"}}, "one of ssh, winrm, http"),
        ({"hostname": "a", "connection": {"type": "local"}}, "one of ssh, winrm, http"),
        ({"hostname": "a", "connection": {"type": "winrm", "tranport": "ntlm"}}, "'transport'"),
        ({"hostname": "a", "connection": {"type": "winrm", "transport": "ssl"}}, "ntlm, basic"),
        ({"hostname": "a", "connection": {"port": 0}}, "1 to 65535"),
        ({"hostname": "a", "connection": {"port": True}}, "1 to 65535"),
        ({"hostname": "a", "connection": {"password": "hunter2"}}, "credential of the asset"),
        ({"hostname": "a", "connection": {"x": [{"Private-Key": "y"}]}}, "credential of the"),
        ({"hostname": "a", "colour": "red"}, "no such field"),
        ({"hostname": "a", "type": "toaster", "status": "gone"}, "type: .*; status: "),
    ],
)
def test_a_bad_value_is_refused_by_name(values, words):
    with pytest.raises(ValueError, match=words) as caught:
        check_values(values)
    assert "hunter2" not in str(caught.value)


def test_good_values_take_their_one_spelling():
    given_values = {"hostname": " Web-01.Example.com. ", "ip_address": "FD00:0::1"}
    assert check_values(given_values | {"tags": {"a": 1, "b": True}}) == {
        "hostname": "web-01.example.com",
        "ip_address": "fd00::1",
        "tags": {"a": 1, "b": True},
    }


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}[A-Za-z0-9](\.[a-z]{1,5})?", fullmatch=True))
def test_the_one_spelling_of_a_host_name_is_its_own(name):
    once = normalise_hostname(name)
    assert normalise_hostname(once) == once == name.lower()


@pytest.mark.parametrize("path", sorted((TOOLS / "asset").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_tools_offer_the_choices_that_there_are(path):
    (operation,) = load_tool(path).operations.values()
    known = {"type": TYPES, "status": STATUSES, "criticality": CRITICALITIES}
    offered = {name: p.choices for name, p in operation.parameters.items() if name in known}
    assert offered == {name: known[name] for name in offered}
