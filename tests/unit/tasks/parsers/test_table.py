"""Each parser on what tools really print, and on what they should not."""

import jc
import pytest

from tasks.parsers.base import ParseError
from tasks.parsers.fields import FIELD_TYPES
from tasks.parsers.table import PARSERS, nothing, parse
from tool_catalog import output_checks
from tool_catalog.loader import load_catalog
from tool_catalog.model import Output

DF = """Filesystem     Type  Inodes IUsed IFree 1B-blocks  Used Avail Use% Mounted on
/dev/sda1      ext4    1000    10   990      5000  1000  4000  20% /
tmpfs          tmpfs      -     -     -      2000     0  2000    - /run/user/my disk
"""
DF_FIELDS = {
    "source": "text",
    "type": "text",
    "inodes": "integer",
    "inodes_used": "integer",
    "inodes_free": "integer",
    "size_bytes": "integer",
    "used_bytes": "integer",
    "free_bytes": "integer",
    "used": "percent",
    "mount": "text",
}

NMAP = """<?xml version="1.0"?>
<!DOCTYPE nmaprun>
<nmaprun scanner="nmap"><hosthint><status state="up"/></hosthint>
<host starttime="1"><status state="up" reason="syn-ack"/>
<address addr="10.0.0.5" addrtype="ipv4"/><address addr="AA:BB" addrtype="mac"/>
<hostnames><hostname name="web-03" type="PTR"/></hostnames>
<ports><extraports state="closed" count="998"/>
<port protocol="tcp" portid="22"><state state="open"/><service name="ssh" product="OpenSSH" \
version="9.2"/></port>
<port protocol="tcp" portid="81"><state state="closed"/></port></ports></host>
<runstats><finished exit="success"/><hosts up="1" down="2" total="3"/></runstats>
</nmaprun>"""


def read(text, parser, **members):
    return parse(text, Output.model_validate({"parser": parser, **members}))


def test_columns_are_named_by_order_and_the_last_takes_the_rest():
    rows = read(DF, "columns", fields=DF_FIELDS)
    assert rows[0]["size_bytes"] == 5000
    assert rows[0]["used"] == 20
    assert rows[1]["inodes"] is None
    assert rows[1]["used"] is None
    assert rows[1]["mount"] == "/run/user/my disk"


def test_columns_that_are_missing_are_an_error_with_the_line():
    with pytest.raises(ParseError, match=r"line 2 is not 2 columns \(a, b\): alone$"):
        read("A B\nalone\n", "columns", fields={"a": "text", "b": "text"})


def test_a_value_of_the_wrong_type_names_line_and_field():
    with pytest.raises(ParseError, match="line 2: b is not an integer: many"):
        read("A B\nx many\n", "columns", fields={"a": "text", "b": "integer"})


def test_csv_by_header_and_by_order():
    text = 'name,size\r\n"a, b",3\r\nc,-\r\n'
    fields = {"size": "integer", "name": "text"}
    assert read(text, "csv", fields=fields) == [
        {"size": 3, "name": "a, b"},
        {"size": None, "name": "c"},
    ]
    assert read("Name of it,Its size\nx,1\n", "csv", fields={"n": "text", "s": "integer"}) == [
        {"n": "x", "s": 1}
    ]
    assert read(text, "csv")[0] == {"name": "a, b", "size": "3"}
    assert read("", "csv") == []


@pytest.mark.parametrize("text", ['a,b\n"x"y,1\n', "a,b\n1,2,3\n"])
def test_bad_csv(text):
    with pytest.raises(ParseError, match="line 2"):
        read(text, "csv", fields={"a": "text", "b": "text"})


def test_json_keeps_declared_fields_only():
    text = '[{"unit": "a", "load": "x", "pid": "12"}, {"unit": "b"}]'
    assert read(text, "json", fields={"unit": "text", "pid": "integer"}) == [
        {"unit": "a", "pid": 12},
        {"unit": "b", "pid": None},
    ]
    assert read('{"unit": 1}', "json", fields={"unit": "text"}) == {"unit": "1"}
    assert read('{"any": [1]}', "json") == {"any": [1]}


def test_json_of_nothing_is_no_rows():
    assert read("\n", "json", fields={"a": "text"}) == []


@pytest.mark.parametrize("text", ["{", "[1, 2]", "[" * 100_000])
def test_bad_json(text):
    with pytest.raises(ParseError):
        read(text, "json", fields={"a": "text"})


def test_bad_json_shows_its_line():
    with pytest.raises(ParseError, match=r"line 2 is not JSON \(.*\): oops$"):
        read('{"a":\noops\n}', "json")


def test_ndjson_passes_over_blank_lines():
    assert read('{"a": 1}\n\n{"a": 2}\n', "ndjson", fields={"a": "integer"}) == [
        {"a": 1},
        {"a": 2},
    ]
    with pytest.raises(ParseError, match="line 1 is not a JSON object: 7"):
        read("7\n", "ndjson")


def test_key_value_passes_over_comments_and_blank_lines():
    assert read("# Server\r\nversion:7.0\r\n\r\n# Memory\r\na=b#c\r\n", "key_value") == {
        "version": "7.0",
        "a": "b#c",
    }


def test_key_value_with_both_separators_and_quotes():
    text = 'Id=ssh.service\nExec=a:b=c\nStatic hostname: web-03\nNAME="Debian GNU"\nEmpty=\n'
    assert read(text, "key_value") == {
        "Id": "ssh.service",
        "Exec": "a:b=c",
        "Static hostname": "web-03",
        "NAME": "Debian GNU",
        "Empty": "",
    }
    fields = {"autofocus": "on_off", "pan": "number"}
    assert read("autofocus=on\npan=10.50\n", "key_value", fields=fields) == {
        "autofocus": True,
        "pan": 10.5,
    }
    with pytest.raises(ParseError, match="line 2 is not key=value: Error"):
        read("a=1\nError\n", "key_value")


def test_regex_takes_the_lines_that_match():
    pattern = r"^\d+\.(?P<name>\S+)(?: \((?P<note>[^)]*)\))?"
    text = "1.eth0 [Up]\nsomething else\n2.any (Pseudo-device)\n"
    assert read(text, "regex", pattern=pattern, fields={"name": "text", "note": "text"}) == [
        {"name": "eth0", "note": None},
        {"name": "any", "note": "Pseudo-device"},
    ]
    assert read("", "regex", pattern=pattern) == []
    with pytest.raises(ParseError, match="line 1 is not what this tool prints: nothing"):
        read("nothing\n", "regex", pattern=pattern)


def test_xml_becomes_objects_and_lists():
    text = '<r xmlns="urn:x" v="1"><a>1</a><a>2</a><b k="x">t</b><c/></r>'
    assert read(text, "xml") == {
        "v": "1",
        "a": ["1", "2"],
        "b": {"k": "x", "text": "t"},
        "c": None,
    }
    assert read(text, "xml", fields={"v": "integer", "a": "list"}) == {"v": 1, "a": ["1", "2"]}


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize("parser", ["xml", "nmap"])
@pytest.mark.parametrize("text", ["", "no xml", "<a><b></a>", BOMB])
def test_bad_xml(parser, text):
    with pytest.raises(ParseError):
        read(text, parser)


def test_nmap_hosts_and_ports():
    scan = read(NMAP, "nmap")
    assert scan["hosts"] == [
        {
            "address": "10.0.0.5",
            "mac": "AA:BB",
            "hostname": "web-03",
            "state": "up",
            "ports": [
                {
                    "port": 22,
                    "protocol": "tcp",
                    "state": "open",
                    "service": "ssh",
                    "product": "OpenSSH",
                    "version": "9.2",
                },
                {
                    "port": 81,
                    "protocol": "tcp",
                    "state": "closed",
                    "service": None,
                    "product": None,
                    "version": None,
                },
            ],
        }
    ]
    assert (scan["up"], scan["down"], scan["total"], scan["complete"]) == (1, 2, 3, True)


def test_nmap_that_was_killed_keeps_its_hosts():
    scan = read(NMAP[: NMAP.index("<runstats>")], "nmap")
    assert (scan["up"], scan["total"], scan["complete"]) == (1, 1, False)
    assert len(scan["hosts"]) == 1


def test_nmap_that_gave_up_says_why():
    text = NMAP.replace('exit="success"', 'exit="error" errormsg="no route"')
    with pytest.raises(ParseError, match="nmap stopped: no route"):
        read(text, "nmap")


def test_jc_parsers_by_name():
    text = (
        "Filesystem 1K-blocks  Used Available Use% Mounted on\n"
        "/dev/sda1        100    20        80  20% /\n"
    )
    assert read(text, "jc.df", fields={"filesystem": "text", "used": "integer"}) == [
        {"filesystem": "/dev/sda1", "used": 20}
    ]
    with pytest.raises(ParseError, match=r"jc\.no_such"):
        read("x", "jc.no_such")
    with pytest.raises(ParseError, match=r"jc.ping cannot read this"):
        read("nonsense", "jc.ping")


def test_unknown_parser_names_the_allowed():
    with pytest.raises(ParseError, match=r"no parser 'yaml'; allowed: .*columns.*jc.<name>"):
        read("", "yaml")


@pytest.mark.parametrize("name", [*PARSERS, "jc.df"])
def test_nothing_has_the_parser_s_own_shape(name):
    assert nothing(Output(parser=name)) in ("", [], {})


def test_the_catalogue_allows_what_there_is():
    assert set(output_checks.PARSERS) == set(PARSERS)
    assert set(output_checks.FIELD_TYPES) == FIELD_TYPES


def test_every_jc_parser_that_a_tool_names_exists():
    operations = [o for tool in load_catalog().tools.values() for o in tool.operations.values()]
    named = {o.output.parser.removeprefix("jc.") for o in operations} - set(PARSERS)
    assert named <= set(jc.parser_mod_list())


def test_a_field_may_be_taken_from_another_place():
    fields = {
        "id": {"type": "integer", "from": "ID"},
        "name": {"type": "text", "from": "meta.name"},
    }
    line = '{"ID": "7", "meta": {"name": "web"}}\n'
    assert read(line, "ndjson", fields=fields) == [{"id": 7, "name": "web"}]
    assert read(f"[{line}]", "json", fields=fields) == [{"id": 7, "name": "web"}]
    named = {"id": {"type": "integer", "from": "ID"}, "name": "text"}
    assert read("ID=7\nname=web\n", "key_value", fields=named) == {"id": 7, "name": "web"}
    assert read("name,more,ID\nweb,x,7\n", "csv", fields=named) == [{"id": 7, "name": "web"}]
    assert read("No.,what\n7,web\n", "csv", fields=named) == [{"id": 7, "name": "web"}]
