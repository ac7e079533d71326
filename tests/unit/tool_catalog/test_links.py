"""What `before`, `verify` and `undo` hand on, and every way in which they cannot work."""

import copy

import pytest

from queues import Domain
from tool_catalog.bad_key import BadKey
from tool_catalog.links import LinkError, link_parameters
from tool_catalog.tool_file import read_tool

TOOL = {
    "summary": "For a test",
    "parameters": {
        "camera": {"type": "integer", "default": 1},
        "path": {"type": "path", "example": "/etc", "required": True},
    },
    "operations": {
        "show": {
            "summary": "Shows it",
            "effect": "read",
            "takes": ["camera", "path"],
            "argv": ["look", {"operands": "path"}],
            "output": {"parser": "json", "fields": {"pan": "number", "zoom": "integer"}},
            "examples": [{"parameters": {"path": "/etc"}}],
        },
        "rows": {
            "summary": "Lists it",
            "effect": "read",
            "argv": ["look"],
            "output": {"parser": "csv", "fields": {"pan": "number"}},
            "examples": [{"parameters": {}}],
        },
        "move": {
            "summary": "Moves it",
            "effect": "change",
            "repeat": "never",
            "takes": ["camera", "path"],
            "parameters": {"pan": {"type": "number"}, "note": {"type": "string"}},
            "argv": ["move", {"operands": "path"}],
            "before": "show",
            "verify": {"operation": "show", "until": "output.pan == parameters.pan"},
            "undo": {"operation": "move", "with": {"pan": "{before.pan}"}},
            "examples": [{"parameters": {"path": "/etc", "pan": 1}}],
        },
    },
}
MOVE = "operations.move"


def tool_with(key=None, value=None):
    file = copy.deepcopy(TOOL)
    if key is not None:
        *parents, last = key.split(".")
        holder = file
        for part in parents:
            holder = holder.setdefault(part, {})
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return read_tool(file, name="it", domain=Domain.AUTOMATION, folder="", digest="")


def linked(with_, given, before=None, operation="move"):
    return link_parameters(tool_with().operations[operation], given, with_, before)


def test_what_bears_the_same_name_is_handed_on():
    given = {"path": "/etc", "camera": 2, "pan": 3, "note": None}
    assert linked({}, given, operation="show") == {"path": "/etc", "camera": 2}


def test_a_whole_text_keeps_its_type_and_another_is_filled_in():
    with_ = {"pan": "{before.pan}", "note": "was {before.pan} on {camera}", "path": "/var"}
    given = {"path": "/etc", "camera": 2}
    assert linked(with_, given, {"pan": 1.5}) == {
        "path": "/var",
        "camera": 2,
        "pan": 1.5,
        "note": "was 1.5 on 2",
    }


def test_what_is_absent_is_not_given():
    with_ = {"pan": "{before.pan}", "note": "of {note}"}
    assert linked(with_, {"path": "/etc", "pan": 7}, {"pan": None}) == {"path": "/etc"}


def test_deeper_fields_and_members_are_filled_in():
    with_ = {"note": ["{before.a.b}", {"key": "{camera}"}]}
    assert linked(with_, {"camera": 3}, {"a": {"b": 4}})["note"] == [4, {"key": 3}]


@pytest.mark.parametrize("before", [None, {}, [{"pan": 1}], "text"])
def test_a_field_that_was_not_read_is_an_error(before):
    with pytest.raises(LinkError, match="has no pan"):
        linked({"pan": "{before.pan}"}, {}, before)


def test_a_tool_whose_links_fit_loads():
    assert tool_with().operations["move"].undo.with_ == {"pan": "{before.pan}"}


@pytest.mark.parametrize(
    ("key", "value", "place", "words"),
    [
        (f"{MOVE}.before", "shwo", f"{MOVE}.before", "did you mean 'show'"),
        (f"{MOVE}.undo.operation", "mvoe", f"{MOVE}.undo.operation", "did you mean 'move'"),
        (f"{MOVE}.before", "move", f"{MOVE}.before", "not a read operation"),
        (f"{MOVE}.verify.operation", "move", f"{MOVE}.verify.operation", "not a read operation"),
        (f"{MOVE}.undo.operation", "show", f"{MOVE}.undo.operation", "reverses nothing"),
        (f"{MOVE}.undo.with", {"pam": 1}, f"{MOVE}.undo.with.pam", "did you mean 'pan'"),
        (f"{MOVE}.undo.with", {"pan": "{paht}"}, f"{MOVE}.undo.with.pan", "did you mean 'path'"),
        (f"{MOVE}.undo.with", {"pan": "{before.pam}"}, f"{MOVE}.undo.with.pan", "mean 'pan'"),
        (f"{MOVE}.undo.with", {"pan": "left"}, f"{MOVE}.undo.with.pan", "must be a number"),
        (f"{MOVE}.before", "rows", f"{MOVE}.undo.with.pan", "no single object"),
        (f"{MOVE}.before", None, f"{MOVE}.undo.with.pan", "nothing is read before"),
        (f"{MOVE}.takes", ["camera"], f"{MOVE}", "path"),
        (f"{MOVE}.verify.within_s", 0, f"{MOVE}.verify.within_s", "greater than 0"),
        ("operations.show.before", "rows", "operations.show.before", "a read changes nothing"),
        (
            "operations.show.changed_if",
            "true",
            "operations.show.changed_if",
            "a read changes nothing",
        ),
        ("operations.show.sensitive", True, f"{MOVE}.before", "mark it, too"),
        ("operations.show.output", {"artifact": "pcap"}, f"{MOVE}.before", "gives an artifact"),
        (
            "operations.show.parameters",
            {"pan": {"type": "integer"}},
            f"{MOVE}.before",
            "show takes 'pan' as integer, but here it is number",
        ),
    ],
)
def test_a_link_that_cannot_work_is_refused_by_its_key(key, value, place, words):
    with pytest.raises(BadKey) as refused:
        tool_with(key, value)
    assert refused.value.key.startswith(place)
    assert words in str(refused.value)


def test_a_required_parameter_must_come_from_somewhere():
    file = copy.deepcopy(TOOL)
    needs = {"name": {"type": "string", "required": True, "example": "x"}}
    file["operations"]["rows"]["parameters"] = needs
    file["operations"]["rows"]["examples"] = [{"parameters": {"name": "x"}}]
    file["operations"]["move"]["verify"]["operation"] = "rows"
    with pytest.raises(BadKey, match="rows needs 'name', which is not always given here"):
        read_tool(file, name="it", domain=Domain.AUTOMATION, folder="", digest="")
    file["operations"]["move"]["verify"]["with"] = {"name": "{note}"}
    assert read_tool(file, name="it", domain=Domain.AUTOMATION, folder="", digest="")


def test_what_an_example_gives_must_be_taken():
    file = copy.deepcopy(TOOL)
    file["operations"]["show"]["rules"] = [{"at_most_one": ["path", "camera"]}]
    with pytest.raises(BadKey) as refused:
        read_tool(file, name="it", domain=Domain.AUTOMATION, folder="", digest="")
    assert "refuses what an example gives" in str(refused.value)


def test_a_transactional_operation_reads_nothing_beside_it():
    file = copy.deepcopy(TOOL)
    move = file["operations"]["move"]
    move |= {"repeat": "transactional", "python": "asset:create"}
    del move["argv"]
    with pytest.raises(BadKey, match=r"operations\.move\.before: a transactional operation"):
        read_tool(file, name="it", domain=Domain.AUTOMATION, folder="", digest="")
