import pytest

from app.imports.reading import read_assets

WEB = "[web]\nweb-01 ansible_host=192.0.2.1\n"


def read(text):
    return read_assets(text.encode(), "hosts.ini", "ansible")


def by_name(findings):
    assert findings.faults == []
    return {draft.hostname: draft.fields for draft in findings.drafts}


def faults(findings):
    return [(fault.line, fault.code) for fault in findings.faults]


def test_a_host_of_no_group():
    findings = read("# mine\n\nWeb-01.Example.COM. ansible_host=192.0.2.1 # the first\n")
    assert by_name(findings) == {"web-01.example.com": {"ip_address": "192.0.2.1"}}
    assert findings.drafts[0].line == 3


def test_how_to_connect():
    text = (
        "web ansible_host=web.lan ansible_port=2222 ansible_user=deploy ansible_connection=ssh\n"
        "win ansible_host=2001:db8::1 ansible_connection=winrm\n"
        "switch ansible_connection=ansible.netcommon.network_cli\n"
        "other:2200\n"
    )
    assert by_name(read(text)) == {
        "web": {
            "connection": {"address": "web.lan", "port": 2222, "user": "deploy", "type": "ssh"}
        },
        "win": {"ip_address": "2001:db8::1", "connection": {"type": "winrm"}},
        "switch": {"connection": {"type": "ssh"}},
        "other": {"connection": {"port": 2200}},
    }


def test_options_of_winrm():
    text = (
        "[win]\nwin-01 ansible_winrm_transport=basic\nsrv-01 ansible_connection=ssh\n[win:vars]\n"
        "ansible_connection=winrm\nansible_winrm_server_cert_validation=ignore\n"
        "ansible_winrm_scheme=https\nansible_user=Administrator\n"
    )
    found = by_name(read(text))
    options = {"type": "winrm", "transport": "basic", "verify_tls": False, "scheme": "https"}
    assert found["win-01"]["connection"] == options | {"user": "Administrator"}
    assert found["srv-01"]["connection"] == {"type": "ssh", "user": "Administrator"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[08:11].lan", ["web08.lan", "web09.lan", "web10.lan", "web11.lan"]),
        ("web[1:9:4]", ["web1", "web5", "web9"]),
        ("db-[a:c]", ["db-a", "db-b", "db-c"]),
        ("r[1:2]-[a:b]", ["r1-a", "r1-b", "r2-a", "r2-b"]),
    ],
)
def test_ranges(pattern, names):
    assert list(by_name(read(f"[all]\n{pattern}\n"))) == names


def test_groups_become_tags_of_their_hosts_and_of_their_childrens_hosts():
    text = WEB + "[db]\ndb-01\n[prod:children]\nweb\ndb  # both\n[europe:children]\nprod\n"
    assert by_name(read(text)) == {
        "web-01": {
            "ip_address": "192.0.2.1",
            "tags": {"group.europe": True, "group.prod": True, "group.web": True},
        },
        "db-01": {"tags": {"group.db": True, "group.europe": True, "group.prod": True}},
    }
    assert read(text).owned_tags == "group."


def test_the_nearest_variable_counts():
    text = (
        "[web]\nweb-01 own=host\nweb-02\n[prod:children]\nweb\n"
        "[all:vars]\nown=all\nfar=all\nfarther=all\n[prod:vars]\nown=prod\nfar=prod\n"
        "[web:vars]\nown = web\n"
    )
    found = by_name(read(text))
    assert found["web-01"]["metadata"] == {"own": "host", "far": "prod", "farther": "all"}
    assert found["web-02"]["metadata"]["own"] == "web"


def test_values_are_literals_of_python_or_text():
    line = """web a=7 b=1.5 c=True d=true e="x y" f='[1, "two"]' g=0644 h={} i=None"""
    assert by_name(read(line))["web"]["metadata"] == {
        "a": 7,
        "b": 1.5,
        "c": True,
        "d": "true",
        "e": "x y",
        "f": [1, "two"],
        "g": "0644",
        "h": {},
        "i": "None",
    }


def test_a_host_in_two_groups_is_one():
    found = by_name(read("[web]\nweb-01 tier=1\n[backup]\nweb-01\nweb-01 tier=1\n"))
    assert found == {
        "web-01": {
            "metadata": {"tier": 1},
            "tags": {"group.backup": True, "group.web": True},
        }
    }


SECRETS = """
web-01 ansible_password=planted-1 ansible_become_pass=planted-2
[web]
web-01
[web:vars]
db_password = planted-3
api_token = planted-4
settings = {"login": {"passphrase": "planted-5"}}
vaulted = $ANSIBLE_VAULT;1.1;AES256
ansible_ssh_private_key_file = /home/ada/.ssh/id
ansible_python_interpreter = /usr/bin/python3
greeting = "hello {{ name }}"
tier = 1
"""


def test_secrets_templates_and_what_steers_ansible_are_left_out_and_named():
    findings = read(SECRETS)
    assert by_name(findings)["web-01"]["metadata"] == {"tier": 1}
    left_out = {(note.line, note.text.split(" ")[0]) for note in findings.notes}
    assert left_out == {
        (2, "ansible_password"),
        (2, "ansible_become_pass"),
        (6, "db_password"),
        (7, "api_token"),
        (8, "settings"),
        (9, "vaulted"),
        (10, "ansible_ssh_private_key_file"),
        (11, "ansible_python_interpreter"),
        (12, "greeting"),
    }
    texts = [note.text for note in findings.notes]
    assert sum("opsfarm credentials add" in text for text in texts) == 7
    assert sum("ansible-vault" in text for text in texts) == 1
    assert "planted" not in str(findings)


def test_the_workers_own_host_is_left_out():
    findings = read("localhost\nhere ansible_connection=local\nweb-01\n")
    assert list(by_name(findings)) == ["web-01"]
    assert [note.line for note in findings.notes] == [1, 2]


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("web_01\n", (1, "bad_value"), "'web_01' is not a host name"),
        ("192.0.2.7\n", (1, "bad_value"), "web-01 ansible_host=192.0.2.7"),
        ("[2001:db8::7]:22\n", (1, "bad_value"), "2001:db8::7 is an address"),
        ("web ansible_host=192.0.2.300\n", (1, "bad_value"), "'192.0.2.300' is not a host name"),
        ("web ansible_host='a b'\n", (1, "bad_value"), "'a b' is not a host name"),
        ("web ansible_port=70000\n", (1, "bad_value"), "'70000' is no port"),
        ("web ansible_connection=winrn\n", (1, "bad_value"), "did you mean 'winrm'?"),
        (
            "win ansible_connection=winrm ansible_winrm_transport=kerberos\n",
            (1, "bad_value"),
            "ansible_winrm_transport 'kerberos' is not served; there are ntlm, basic",
        ),
        ("web ansible_connection=docker\n", (1, "bad_value"), "'docker' has no runner"),
        ("web ansible_host={{x}}\n", (1, "template"), "ansible-inventory --list"),
        ("web ansible_host=$ANSIBLE_VAULT;1.1\n", (1, "vault"), "ansible_host is encrypted"),
        ("web one two\n", (1, "malformed"), "'one' is no name=value"),
        ('web one="two\n', (1, "malformed"), "close the quotation mark"),
        ("web[1:3\n", (1, "bad_value"), "'web[1:3' is no host or range"),
        ("web[3:1]\n", (1, "bad_value"), "[3:1] is empty"),
        ("web[01:3]\n", (1, "bad_value"), "the same width"),
        ("web[1:c]\n", (1, "bad_value"), "from a number to a letter"),
        ("web[1:99999]\n", (1, "too_many"), "more than 10000 hosts"),
        ("web*\n", (1, "bad_value"), "'web*' is no host or range"),
        ("[web]\nweb-01\n[web:childern]\n", (3, "unknown_section"), "did you mean 'children'?"),
        ("[we b]\nx\n", (1, "unknown_section"), "'[we b]' is no section"),
        ("[w%b]\nx\n", (1, "bad_value"), "cannot name a group"),
        (WEB + "[prod:children]\nwbe\n", (4, "unknown_group"), "did you mean 'web'?"),
        (WEB + "[prod:vars]\na=1\n", (3, "unknown_group"), "no group 'prod' in this file"),
        (WEB + "[web:vars]\nnothing\n", (4, "malformed"), "'nothing' is no name=value"),
        (
            "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n",
            (6, "cycle"),
            "groups in a circle: ",
        ),
        ("[a:children]\na\n", (2, "cycle"), "groups in a circle: a > a"),
        (
            "web-01 ansible_port=22\n[web]\nweb-01 ansible_port=2222\n",
            (3, "duplicate"),
            "ansible_port has another value in line 1",
        ),
        ("web-01\nWEB-01\n", (2, "duplicate"), "web-01 stands in line 1 already"),
        ("# nothing\n", (1, "no_assets"), "no asset in it"),
        ("a" * 300 + "\n", (1, "bad_value"), "is not a host name"),
        (f"web x={'y' * 40000}\n", (1, "bad_value"), "bytes of JSON"),
    ],
)
def test_each_fault_has_its_line_and_says_what_to_do(text, expected, words):
    findings = read(text)
    assert faults(findings) == [expected]
    fault = findings.faults[0]
    assert words in f"{fault.message}; {fault.hint}"


def test_every_fault_is_told_at_once():
    text = "web_01\nweb x\n[web:vrs]\n[prod:children]\nwbe\n"
    assert faults(read(text)) == [
        (2, "malformed"),
        (3, "unknown_section"),
        (5, "unknown_group"),
    ]
    assert faults(read("web_01\nweb ansible_port=0 ansible_host='{{ x }}'\n")) == [
        (1, "bad_value"),
        (2, "template"),
        (2, "bad_value"),
    ]


def test_a_literal_that_python_chokes_on_is_text():
    deep = "[" * 3000
    assert by_name(read(f"web x='{deep}'\n"))["web"]["metadata"] == {"x": deep}
