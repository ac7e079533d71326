import json

import pytest

from app.imports.reading import read_assets


def read(text):
    return read_assets(text.encode(), "hosts.yaml")


def by_name(findings):
    assert findings.faults == []
    return {draft.hostname: draft.fields for draft in findings.drafts}


def test_groups_hosts_and_variables():
    text = """
all:
  vars: {tier: 1}
  hosts:
    mail.example.com: {ansible_host: 192.0.2.9}
  children:
    prod:
      children:
        web:
          hosts:
            web[01:02]:
              ansible_port: 2222
          vars:
            ansible_user: deploy
        db:
db:
  hosts:
    db-01:
"""
    web = {
        "connection": {"port": 2222, "user": "deploy"},
        "metadata": {"tier": 1},
        "tags": {"group.prod": True, "group.web": True},
    }
    findings = read(text)
    assert by_name(findings) == {
        "mail.example.com": {"ip_address": "192.0.2.9", "metadata": {"tier": 1}},
        "web01": web,
        "web02": web,
        "db-01": {"metadata": {"tier": 1}, "tags": {"group.db": True, "group.prod": True}},
    }
    assert {draft.hostname: draft.line for draft in findings.drafts}["web02"] == 11


def test_yaml_as_ansible_reads_it():
    text = """
web:
  hosts:
    one: &one {flag: yes, mode: 0644, day: 2026-01-02, list: [1, {a: null, b: ~}], none: null}
    two: {<<: *one, flag: no}
    three: {<<: [{flag: maybe}, *one]}
    four: {text: !unsafe "{% raw"}
"""
    found = by_name(read(text))
    shared = {"mode": 420, "day": "2026-01-02"}
    assert found["one"]["metadata"] == shared | {"flag": True, "list": [1, {"a": None, "b": None}]}
    assert found["two"]["metadata"]["flag"] is False
    assert found["two"]["metadata"]["mode"] == 420
    assert found["three"]["metadata"]["flag"] == "maybe"
    assert "metadata" not in found["four"]


def test_what_ansible_inventory_prints():
    printed = {
        "_meta": {
            "hostvars": {
                "web-01": {"ansible_host": "192.0.2.1", "tier": 1},
                "web-02": {"login": {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n33"}},
            }
        },
        "all": {"children": ["ungrouped", "web", "spare"]},
        "ungrouped": {"hosts": ["web-02"]},
        "web": {"hosts": ["web-01"]},
    }
    findings = read_assets(json.dumps(printed, indent=4).encode(), "-", "ansible")
    assert by_name(findings) == {
        "web-01": {
            "ip_address": "192.0.2.1",
            "metadata": {"tier": 1},
            "tags": {"group.web": True},
        },
        "web-02": {},
    }
    assert [note.text.split(" ")[0] for note in findings.notes] == ["login"]


def test_encrypted_values_are_left_out_and_named():
    text = """
web:
  hosts:
    web-01:
      motto: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        616e7369626c65
      nested: {deep: [!vault "x"]}
      tier: 1
"""
    findings = read(text)
    assert by_name(findings)["web-01"]["metadata"] == {"tier": 1}
    assert [(note.line, note.text.split(" ")[0]) for note in findings.notes] == [
        (5, "motto"),
        (8, "nested"),
    ]
    assert all("opsfarm secrets set" in note.text for note in findings.notes)


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("web: {hosts: {a: }, hots: {}}", (1, "unknown_key"), "did you mean 'hosts'?"),
        ("web:\n  hosts:\n    a:\n    a:\n", (4, "duplicate"), "stands in line 3 already"),
        ("web:\n  hosts: a\n", (2, "malformed"), "a mapping is wanted here"),
        ("web:\n  hosts: {a: 7}\n", (2, "malformed"), "a mapping is wanted here"),
        ("- web\n- db: 1\n", (2, "malformed"), "a name is wanted here"),
        ("web:\n  hosts: {{ x }}\n", (2, "malformed"), "braces in quotes"),
        ("web:\n  children:\n    dbs:\ndb: {hosts: {a: }}\n", (3, "unknown_group"), "mean 'db'?"),
        ("web:\n  children: {web: }\n", (2, "cycle"), "web > web"),
        ("web:\n\thosts:\n", (2, "malformed"), "cannot start any token"),
        ("web: {hosts: {a: }}\n---\nx: 1\n", (2, "malformed"), ""),
        ("--- \n", (1, "no_assets"), "no asset in it"),
        (
            "web:\n  hosts:\n    a: {ansible_host: !vault x}\n",
            (3, "vault"),
            "ansible_host is encrypted",
        ),
        (
            "web:\n  vars: {ansible_host: '{{ ip }}'}\n  hosts: {a: }\n",
            (2, "template"),
            "ansible-inventory --list",
        ),
        ("web:\n  hosts: {a: {ansible_port: [1]}}\n", (2, "bad_value"), "a text or a number"),
        ("web:\n  hosts: {a: {ansible_host: 1.2}}\n", (2, "bad_value"), "a text or a number"),
        ("web: &w\n  children: {db: *w}\n", (2, "malformed"), ""),
        ("web: {hosts: {a: {x: &x [*x]}}}\n", (1, "malformed"), "nested deeper"),
    ],
)
def test_each_fault_has_its_line(text, expected, words):
    findings = read(text)
    assert [(fault.line, fault.code) for fault in findings.faults] == [expected]
    assert words in f"{findings.faults[0].message}; {findings.faults[0].hint}"


def test_aliases_that_multiply_are_stopped():
    lines = ["web:", "  vars:", "    a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    for number in range(1, 9):
        before = ", ".join([f"*a{number - 1}"] * 10)
        lines.append(f"    a{number}: &a{number} [{before}]")
    findings = read("\n".join([*lines, "  hosts: {web-01: }"]))
    assert {fault.code for fault in findings.faults} == {"too_many"}
