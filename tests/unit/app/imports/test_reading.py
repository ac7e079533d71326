import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.imports.findings import MAX_CHARS
from app.imports.reading import FORMATS, read_assets

INI = b"[web]\nweb-01\n"
YAML = b"web: {hosts: {web-01: }}\n"
CSV = b"hostname\nweb-01\n"
SSH = b"Host web-01\n"


@pytest.mark.parametrize(
    ("content", "name", "format_"),
    [
        (INI, "hosts", None),
        (INI, "inventory.ini", None),
        (YAML, "hosts.yml", None),
        (b"---\n" + YAML, "hosts", None),
        (b"# groups\nweb:\n  hosts: {web-01: }\n", "hosts", None),
        (b'{"web": {"hosts": ["web-01"]}}', "-", None),
        (YAML, "hosts.yaml", "ansible"),
        (CSV, "assets.csv", None),
        (CSV, "-", "csv"),
        (SSH, "config", None),
        (b"User ada\n" + SSH, "config", "ssh-config"),
    ],
)
def test_the_format_is_told_by_name_and_text(content, name, format_):
    findings = read_assets(content, name, format_)
    assert (findings.faults, [draft.hostname for draft in findings.drafts]) == ([], ["web-01"])


@pytest.mark.parametrize(
    ("content", "expected", "words"),
    [
        (b"$ANSIBLE_VAULT;1.1;AES256\n3333\n", (1, "vault"), "ansible-vault view FILE"),
        (b"[web]\nw\xe9b\n", (2, "malformed"), "not UTF-8"),
        (b"[web]\nweb-01\nw\0b\n", (3, "malformed"), "NUL"),
        (b" " * (MAX_CHARS + 1), (1, "too_large"), "import it in parts"),
        (b"", (1, "no_assets"), "no asset in it"),
    ],
)
def test_what_cannot_be_read_at_all(content, expected, words):
    [fault] = read_assets(content, "hosts").faults
    assert (fault.line, fault.code) == expected
    assert words in f"{fault.message}; {fault.hint}"


TOKENS = st.sampled_from(
    [
        *("[web]", "[web:vars]", "[all:children]", "web[1:3]", "web-01", "a=b", "ansible_host=x"),
        *(
            "ansible_port=9",
            "=",
            "[",
            "]",
            "{",
            "}",
            ":",
            "- ",
            "&a",
            "*a",
            "<<: *a",
            "!vault",
            "|",
        ),
        *("hosts:", "children:", "vars:", "all:", "hostname", ",", ";", '"', "'", "\t", "  ", "#"),
        *(
            "Host",
            "HostName",
            "Port",
            "*",
            "!x",
            "Match",
            "{{ x }}",
            "0",
            "1e9",
            "~",
            "\u00e9",
            "\0",
        ),
    ]
)
LINES = st.lists(st.lists(TOKENS, max_size=6).map(" ".join), max_size=8).map("\n".join)


@given(st.one_of(LINES, st.text(max_size=200)), st.sampled_from([None, *FORMATS]))
@settings(max_examples=500, deadline=None)
def test_whatever_a_file_holds_it_is_told_and_nothing_breaks(text, format_):
    for name in ("hosts", "hosts.yaml", "hosts.csv"):
        findings = read_assets(text.encode(errors="surrogatepass"), name, format_)
        assert findings.drafts or findings.faults or findings.notes
        for fault in findings.faults:
            assert 1 <= fault.line <= len(text.splitlines()) + 1
