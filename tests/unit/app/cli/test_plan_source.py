"""Which word is a file and which a stored plan, and how `--set` is read."""

import click
import pytest

from app.cli.plan_source import PlanSource, is_file_name, open_plan
from app.cli.values import read_settings

ASKED = {
    "count": {"type": "integer"},
    "flag": {"type": "boolean"},
    "hosts": {"type": "list"},
    "ports": {"type": "list", "of": "port"},
    "tags": {"type": "object"},
    "text": {"type": "string"},
}


@pytest.fixture(autouse=True)
def context(tmp_path, monkeypatch):
    """A command runs, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with click.Context(click.Command("test")) as context:
        yield context


@pytest.mark.parametrize(
    "word", ["nightly.yaml", "./nightly", "plans/nightly", "nightly.v2", "Nightly", "a_b", "a@b"]
)
def test_a_file(word):
    assert is_file_name(word)


@pytest.mark.parametrize("word", ["nightly", "nightly@3", "a-b"])
def test_a_stored_plan(word):
    assert not is_file_name(word)


def test_a_word_that_is_both_is_the_stored_plan_and_says_so(tmp_path, capsys):
    (tmp_path / "nightly").write_text("steps: [{tool: df}]")
    assert open_plan("nightly") == PlanSource("nightly", stored=True)
    assert "./nightly" in capsys.readouterr().err
    assert open_plan("./nightly") == PlanSource("steps: [{tool: df}]", stored=False)


@pytest.mark.parametrize("text", ["", "nightly", "other@2"])
def test_what_a_file_holds_is_never_a_name(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    assert open_plan("plan.yaml") == PlanSource(f"{text}\n", stored=False)


@pytest.mark.parametrize("word", ["none.yaml", "Nope"])
def test_a_file_that_is_not_there(word):
    with pytest.raises(click.BadParameter, match="No such file"):
        open_plan(word)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(click.BadParameter, match="UTF-8"):
        open_plan("plan.yaml")


@pytest.mark.parametrize(
    ("pairs", "given"),
    [
        (["count=3"], {"count": "3"}),
        (["flag=true"], {"flag": "true"}),
        (["hosts=a,b"], {"hosts": ["a", "b"]}),
        (["hosts=a, b"], {"hosts": ["a", "b"]}),
        (["hosts=a", "hosts=b,c"], {"hosts": ["a", "b", "c"]}),
        (["ports=80,443"], {"ports": ["80", "443"]}),
        (['hosts=["a,b", "c"]'], {"hosts": ["a,b", "c"]}),
        (["tags={role: web}"], {"tags": {"role": "web"}}),
        (["text=a,b"], {"text": "a,b"}),
        (["text={{ x }}"], {"text": "{{ x }}"}),
        (["text="], {"text": ""}),
        (["text=a:=b"], {"text": "a:=b"}),
        (["text=@@a"], {"text": "@a"}),
        (["count:=3"], {"count": 3}),
        (['text:={"$secret": "db"}'], {"text": {"$secret": "db"}}),
        (["unknown=3"], {"unknown": "3"}),
    ],
)
def test_settings_are_read_by_the_type_of_their_input(pairs, given):
    assert read_settings(pairs, ASKED) == given


def test_a_setting_may_be_a_files_text(tmp_path):
    (tmp_path / "note").write_text("two\nlines")
    assert read_settings(["text=@note"], ASKED) == {"text": "two\nlines"}


@pytest.mark.parametrize(
    "pairs", [["count"], ["=3"], ["count:={"], ["tags={a"], ["text=@none"], ["count=1", "count=2"]]
)
def test_a_setting_that_cannot_be(pairs):
    with pytest.raises(click.BadParameter):
        read_settings(pairs, ASKED)


def test_inputs_of_a_text_are_known_without_asking():
    text = "inputs:\n  hosts: {type: list}\nsteps: [{tool: df}]\n"
    assert PlanSource(text, stored=False).read_inputs(None, ["hosts=a,b"]) == {"hosts": ["a", "b"]}


@pytest.mark.parametrize("text", ["steps: [", "- a", "inputs: 3", ": {"])
def test_a_text_that_cannot_be_read_is_left_to_the_farm(text):
    assert PlanSource(text, stored=False).read_inputs(None, ["a=b,c"]) == {"a": "b,c"}
