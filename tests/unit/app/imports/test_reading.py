import pytest

from app.imports.findings import MAX_CHARS
from app.imports.reading import read_assets

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
