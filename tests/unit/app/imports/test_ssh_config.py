import pytest

from app.imports.reading import read_assets

CONFIG = """
# mine
Include config.d/*
Port 2200

Host web-01 web-02
    HostName %h.example.com
    User deploy
    User nobody
    IdentityFile ~/.ssh/id_ed25519
Host db-01
    HostName 192.0.2.10
    Port=2222
    ProxyJump bastion
Host "bastion"
Match exec "true"
    User from-match
Host *-02 !db-*
    User second
Host *
    User everybody
    ProxyJump none
"""


def read(text, name="config"):
    return read_assets(text.encode(), name)


def by_name(findings):
    assert findings.faults == []
    return {draft.hostname: draft.fields for draft in findings.drafts}


def test_the_first_value_counts_for_every_host_without_a_pattern():
    findings = read(CONFIG)
    assert by_name(findings) == {
        "web-01": {"connection": {"address": "web-01.example.com", "port": 2200, "user": "deploy"}},
        "web-02": {"connection": {"address": "web-02.example.com", "port": 2200, "user": "deploy"}},
        "db-01": {"ip_address": "192.0.2.10", "connection": {"port": 2200, "user": "everybody"}},
        "bastion": {"connection": {"port": 2200, "user": "everybody"}},
    }
    assert [draft.line for draft in findings.drafts] == [6, 6, 11, 15]
    assert findings.owned_tags is None


def test_what_is_not_served_is_noted():
    notes = {(note.line, note.text) for note in read(CONFIG).notes}
    assert (14, "db-01: a jump host is not served: workers must reach it directly") in notes
    assert (3, "Include is not followed: import config.d/* by itself") in notes
    assert (16, "Match is left out, with what stands below it") in notes
    hint = "opsfarm credentials add NAME --asset web-01 --user deploy --private-key FILE"
    assert any(line == 10 and hint in text for line, text in notes)
    assert len(notes) == 5


def test_a_name_like_its_host_name_needs_no_address():
    assert by_name(read("Host web-01\n  HostName WEB-01\n")) == {"web-01": {}}


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("Host web_01\n", (1, "bad_value"), "'web_01' is not a host name"),
        ("Host 192.0.2.1\n", (1, "bad_value"), "Host web-01 and below it HostName 192.0.2.1"),
        ("Host web\nPort many\n", (2, "bad_value"), "'many' is no port"),
        ("Host web\nHostName a_b\n", (2, "bad_value"), "is not a host name"),
        ("Host web\nHostName\n", (2, "malformed"), "no keyword with a value"),
        ('Host "web\n', (1, "malformed"), "close the quotation mark"),
        ("Host web\nUser a b\n", (2, "malformed"), "one value is wanted"),
        ("Host *\n  User a\n", (1, "no_assets"), "no asset in it"),
        ("Host web Web\n", (1, "duplicate"), "web stands in line 1 already"),
    ],
)
def test_each_fault_has_its_line(text, expected, words):
    findings = read(text)
    assert [(fault.line, fault.code) for fault in findings.faults] == [expected]
    assert words in f"{findings.faults[0].message}; {findings.faults[0].hint}"
