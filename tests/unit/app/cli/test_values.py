import click
import pytest

from app.cli.values import read_pairs

SCHEMA = {
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "flag": {"type": "boolean"},
        "to": {"type": ["string", "array"]},
        "argv": {"type": "array"},
        "tags": {"type": "object"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    }
}


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("x=7", 7),
        ("x=0644", "0644"),
        ("x=1.5", 1.5),
        ("x=true", True),
        ("x=on", "on"),
        ("x=12:30", "12:30"),
        ("x=00:1b:21:aa:bb:cc", "00:1b:21:aa:bb:cc"),
        ("x=", ""),
        ("x=null", "null"),
        ("x=a: b", "a: b"),
        ("x=- a", "- a"),
        ("x=*star", "*star"),
        ("x={{ steps.a.output }}", "{{ steps.a.output }}"),
        ("x=a=b", "a=b"),
        ('x={"a": [1, true]}', {"a": [1, True]}),
        ("x=[1, 2]", [1, 2]),
        ("x=@@here", "@here"),
    ],
)
def test_a_value_without_a_schema(pair, value):
    if "{{" in pair:
        assert read_pairs([pair], {"properties": {"x": {"type": "string"}}}) == {"x": value}
    else:
        assert read_pairs([pair]) == {"x": value}


@pytest.mark.parametrize(
    ("pairs", "given"),
    [
        (["text=7"], {"text": "7"}),
        (["text=true"], {"text": "true"}),
        (["text=[draft]"], {"text": "[draft]"}),
        (["text={{ steps.a.summary }}"], {"text": "{{ steps.a.summary }}"}),
        (["count=7"], {"count": 7}),
        (["count={{ steps.a.output }}"], {"count": "{{ steps.a.output }}"}),
        (["flag=true"], {"flag": True}),
        (["to=a@example.com"], {"to": "a@example.com"}),
        (["to=a@example.com", "to=b@example.com"], {"to": ["a@example.com", "b@example.com"]}),
        (["argv=uptime"], {"argv": ["uptime"]}),
        (['argv=["ls", "-l"]'], {"argv": ["ls", "-l"]}),
        (["argv=ls", "argv=-l"], {"argv": ["ls", "-l"]}),
        (['tags={"role": "web"}'], {"tags": {"role": "web"}}),
        (["either=7"], {"either": "7"}),
    ],
)
def test_a_value_of_a_known_type(pairs, given):
    assert read_pairs(pairs, SCHEMA) == given


def test_a_file_is_read_as_text(tmp_path):
    (tmp_path / "body.txt").write_text("line 1\nline 2\n")
    assert read_pairs([f"text=@{tmp_path}/body.txt"], SCHEMA) == {"text": "line 1\nline 2\n"}


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("plain", "'plain' is not key=value"),
        ("=x", "is not key=value"),
        ("--target=x", "options such as --target"),
        ("x=@/nowhere", "cannot read /nowhere: No such file or directory (write @@"),
        ("x=[1, 2", "column"),
        ('x={"a": 1, "a": 2}', "twice"),
    ],
)
def test_bad_usage_names_the_argument(pair, words):
    with pytest.raises(click.BadParameter) as caught:
        read_pairs([pair])
    assert words in caught.value.message
