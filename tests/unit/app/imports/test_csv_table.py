import pytest

from app.imports.reading import read_assets


def read(text, name="assets.csv"):
    return read_assets(text.encode(), name)


def by_name(findings):
    assert findings.faults == []
    return {draft.hostname: draft.fields for draft in findings.drafts}


def test_every_kind_of_column():
    text = (
        "hostname,ip,type,status,environment,criticality,OS,port,user,tags.role,tags.spare,"
        "metadata.rack\n"
        "web-01,192.0.2.1,server,active,production,high,debian 12,2222,deploy,web,true,B5\n"
        "web-02,,,,,,,,,,,7\n"
    )
    assert by_name(read(text)) == {
        "web-01": {
            "ip_address": "192.0.2.1",
            "type": "server",
            "status": "active",
            "environment": "production",
            "criticality": "high",
            "os": "debian 12",
            "connection": {"port": 2222, "user": "deploy"},
            "tags": {"role": "web", "spare": True},
            "metadata": {"rack": "B5"},
        },
        "web-02": {"metadata": {"rack": 7}},
    }


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(delimiter):
    text = delimiter.join(["\ufeffname", "metadata.note"]) + "\n"
    text += delimiter.join(["web-01", '"a, b"']) + "\n"
    assert by_name(read(text)) == {"web-01": {"metadata": {"note": "a, b"}}}


def test_lines_are_those_of_the_file():
    text = 'hostname,metadata.note\n\nweb-01,"two\nlines"\nweb-02,x\n'
    assert [(d.hostname, d.line) for d in read(text).drafts] == [("web-01", 3), ("web-02", 5)]


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("hostname,ip_adress\n", (1, "unknown_column"), "did you mean 'ip_address'?"),
        ("ip\n192.0.2.1\n", (1, "missing_column"), "there is no column hostname"),
        ("hostname,ip,ip_address\n", (1, "duplicate"), "several columns ip_address"),
        ("hostname,password\nweb-01,x\n", (1, "secret"), "opsfarm credentials add"),
        ("hostname,tags.a b\n", (1, "unknown_column"), "no column 'tags.a b'"),
        ("hostname,ip\nweb-01\n", (2, "malformed"), "1 cells, but 2 columns"),
        ("hostname,ip\n,192.0.2.1\n", (2, "missing_value"), "a row without hostname"),
        ("hostname,ip\nweb-01,192.0.2\n", (2, "bad_value"), "web-01: ip_address: "),
        ("hostname,type\nweb-01,sever\n", (2, "bad_value"), "'sever': one of server"),
        ("hostname,port\nweb-01,ssh\n", (2, "bad_value"), "'ssh' is no port"),
        ("hostname,address\nweb-01,a b\n", (2, "bad_value"), "is not a host name"),
        ("hostname,connection\nweb-01,telnet\n", (2, "bad_value"), "one of ssh, winrm, http"),
        ("hostname\nweb-01\nweb-01\n", (3, "duplicate"), "web-01 stands in line 2 already"),
        ('hostname\n"web-01\n', (2, "malformed"), "close the quotation mark"),
        (
            'hostname,metadata.x\nweb-01,"-----BEGIN RSA PRIVATE KEY-----"\n',
            (2, "secret"),
            "would lie open",
        ),
        ("hostname\n", (1, "no_assets"), "no asset in it"),
    ],
)
def test_each_fault_has_its_line(text, expected, words):
    findings = read(text)
    assert [(fault.line, fault.code) for fault in findings.faults] == [expected]
    assert words in f"{findings.faults[0].message}; {findings.faults[0].hint}"
