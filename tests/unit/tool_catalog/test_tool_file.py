"""Each kind of bad file is refused by its key, with a hint where a name is nearly right."""

import copy

import pytest

from queues import Domain
from tool_catalog.bad_key import BadKey
from tool_catalog.tool_file import read_tool

GOOD = {
    "summary": "For a test",
    "default": "show",
    "parameters": {"path": {"type": "path", "example": "/etc"}},
    "errors": [{"match": "no (?P<what>.+)", "reason": "not_found", "say": "{what} in {path}"}],
    "operations": {
        "show": {
            "summary": "Shows it",
            "effect": "read",
            "takes": ["path"],
            "parameters": {
                "depth": {"type": "integer", "min": 0, "max": 9, "default": 1},
                "kind": {"type": "choice", "choices": ["a", "b"]},
                "names": {"type": "list", "of": "word"},
                "login": {"type": "secret"},
            },
            "argv": ["ls", {"option": "--depth=", "value": "depth"}, {"operands": "path"}],
            "rules": [{"at_most_one": ["path", "kind"]}],
            "output": {"parser": "columns", "fields": {"size": "integer"}},
            "examples": [{"parameters": {"path": "/etc"}}],
        },
        "set": {
            "summary": "Sets it",
            "effect": "change",
            "repeat": "never",
            "argv": ["touch", "x"],
            "before": "show",
            "undo": {"operation": "set"},
            "verify": {"operation": "show", "until": "output"},
            "examples": [{"parameters": {}}],
        },
    },
}
SHOW = "operations.show"
DELETE = object()

BAD = [
    ("sumary", "x", "sumary", "did you mean 'summary'"),
    ("summary", DELETE, "summary", "is missing"),
    ("operations", {}, "operations", "is empty"),
    ("operations", ["show"], "operations", "must be a mapping"),
    ("operations.Show", {}, "operations.Show", "lower-case"),
    (f"{SHOW}.tkaes", [], f"{SHOW}.tkaes", "did you mean 'takes'"),
    (f"{SHOW}.effect", "raed", f"{SHOW}.effect", "'read'"),
    (f"{SHOW}.effect", DELETE, f"{SHOW}.effect", "required"),
    (f"{SHOW}.summary", DELETE, f"{SHOW}.summary", "required"),
    (f"{SHOW}.timeout_s", "20", f"{SHOW}.timeout_s", "number"),
    (f"{SHOW}.timeout_s", 0, f"{SHOW}.timeout_s", "greater than 0"),
    (f"{SHOW}.sensitive", "yes", f"{SHOW}.sensitive", "boolean"),
    (f"{SHOW}.examples", DELETE, f"{SHOW}.examples", "at least one call"),
    (f"{SHOW}.examples", [], f"{SHOW}.examples", "at least one call"),
    (
        f"{SHOW}.examples",
        [{"parameters": {"dpeth": 1}}],
        f"{SHOW}.examples[0].parameters.dpeth",
        "did you mean 'depth'",
    ),
    (
        f"{SHOW}.examples",
        [{"parameters": {"depth": 10}}],
        f"{SHOW}.examples[0].parameters.depth",
        "at most 9",
    ),
    (f"{SHOW}.takes", ["pth"], f"{SHOW}.takes[0]", "did you mean 'path'"),
    (f"{SHOW}.takes", [{}], f"{SHOW}.takes[0]", "no shared parameter"),
    (f"{SHOW}.takes", "path", f"{SHOW}.takes", "must be a list"),
    (f"{SHOW}.takes", ["path", "path"], f"{SHOW}.takes[1]", "twice"),
    (f"{SHOW}.parameters.path", {"type": "path"}, f"{SHOW}.takes[0]", "twice"),
    ("parameters.other", {"type": "path"}, "parameters.other", "no operation takes it"),
    ("parameters.path.type", "pth", "parameters.path.type", "'path'"),
    ("parameters.path.patern", "x", "parameters.path.patern", "did you mean 'pattern'"),
    ("default", "shwo", "default", "did you mean 'show'"),
    ("default", "set", "default", "not a read operation"),
    ("default", ["show"], "default", "no operation"),
    ("operations.set.before", "shw", "operations.set.before", "did you mean 'show'"),
    ("operations.set.before", "set", "operations.set.before", "not a read operation"),
    ("operations.set.undo.operation", "st", "operations.set.undo.operation", "mean 'set'"),
    ("operations.set.undo.opration", "x", "operations.set.undo.opration", "mean 'operation'"),
    ("operations.set.verify.operation", "x", "operations.set.verify.operation", "no operation"),
    ("operations.set.repeat", "read", "operations.set.repeat", "does not fit"),
    ("operations.set.repeat", "transactional", "operations.set.repeat", "python"),
    (f"{SHOW}.repeat", "never", f"{SHOW}.repeat", "does not fit"),
    (f"{SHOW}.argv", DELETE, SHOW, "exactly one of"),
    (f"{SHOW}.argv", [], f"{SHOW}.argv", "is empty"),
    (f"{SHOW}.python", "asset:list", SHOW, "argv and python"),
    (f"{SHOW}.argv", ["ls", "{pth}"], f"{SHOW}.argv[1]", "did you mean 'path'"),
    (f"{SHOW}.argv", ["ls", {"value": "pth"}], f"{SHOW}.argv[1]", "did you mean 'path'"),
    (f"{SHOW}.argv", ["ls", {"vlaue": "path"}], f"{SHOW}.argv[1]", "no argv item has the keys"),
    (f"{SHOW}.argv", ["ls", {"value": "login"}], f"{SHOW}.argv[1]", "is a secret"),
    (f"{SHOW}.precheck", ["ls", "{nosuch}"], f"{SHOW}.precheck[1]", "no parameter"),
    (f"{SHOW}.stdin", "{nosuch}", f"{SHOW}.stdin", "no parameter"),
    (f"{SHOW}.env", {"TOKEN": "{nosuch}"}, f"{SHOW}.env.TOKEN", "no parameter"),
    (f"{SHOW}.rules", [{"exactly_one": ["pth"]}], f"{SHOW}.rules[0]", "did you mean 'path'"),
    (f"{SHOW}.rules", [{"requires": {"path": ["x"]}}], f"{SHOW}.rules[0].requires", "no para"),
    (f"{SHOW}.rules", [{"exactly_two": []}], f"{SHOW}.rules[0].exactly_two", "mean 'exactly_one'"),
    (f"{SHOW}.destroy_if", [{"nosuch": True}], f"{SHOW}.destroy_if[0]", "no parameter"),
    (f"{SHOW}.run_for", "nosuch", f"{SHOW}.run_for", "no parameter"),
    (f"{SHOW}.needs", {"interface": "nosuch"}, f"{SHOW}.needs.interface", "no parameter"),
    (f"{SHOW}.needs", {"capabilities": ["root"]}, f"{SHOW}.needs.capabilities[0]", "net_raw"),
    (f"{SHOW}.output.max_bytes", "nosuch", f"{SHOW}.output.max_bytes", "no parameter"),
    (f"{SHOW}.output.parser", "colums", f"{SHOW}.output.parser", "did you mean 'columns'"),
    (f"{SHOW}.output.parser", "regex", f"{SHOW}.output.pattern", "has a pattern"),
    (f"{SHOW}.output.stderr", "(", f"{SHOW}.output.stderr", "no regular expression"),
    (f"{SHOW}.output.fields.size", "int", f"{SHOW}.output.fields.size", "mean 'integer'"),
    (
        f"{SHOW}.output.fields.size",
        {"type": "integer", "from": "Size"},
        f"{SHOW}.output.fields",
        "names its fields itself",
    ),
    (f"{SHOW}.output.fields.size", {"type": "text"}, f"{SHOW}.output.fields.size", "string"),
    (f"{SHOW}.output.feilds", {}, f"{SHOW}.output.feilds", "did you mean 'fields'"),
    ("errors", {}, "errors", "must be a list"),
    ("errors", [{"match": "(", "reason": "not_found", "say": "x"}], "errors[0].match", "regular"),
    (
        "errors",
        [{"match": "a", "reason": "not_found", "say": "{pth}"}],
        "errors[0].say",
        "did you mean 'path'",
    ),
    ("errors", [{"match": "a", "reason": "lost", "say": "x"}], "errors[0].reason", "not_found"),
    (
        f"{SHOW}.errors",
        [{"match": "a", "reason": "not_found", "say": "{x}"}],
        f"{SHOW}.errors[0].say",
        "no parameter or group",
    ),
    (f"{SHOW}.parameters.depth.min", 10, f"{SHOW}.parameters.depth.min", "larger than max"),
    (f"{SHOW}.parameters.depth.default", 10, f"{SHOW}.parameters.depth.default", "at most 9"),
    (f"{SHOW}.parameters.depth.example", "x", f"{SHOW}.parameters.depth.example", "whole number"),
    (f"{SHOW}.parameters.depth.required", "x", f"{SHOW}.parameters.depth.required", "boolean"),
    (f"{SHOW}.parameters.depth.required", True, f"{SHOW}.parameters.depth.default", "no default"),
    (f"{SHOW}.parameters.depth.pattern", "x", f"{SHOW}.parameters.depth.pattern", "no pattern"),
    (f"{SHOW}.parameters.depth.aliases", ["kind"], f"{SHOW}.parameters.depth.aliases", "another"),
    (f"{SHOW}.parameters.names.pattern", "(", f"{SHOW}.parameters.names.pattern", "regular"),
    (f"{SHOW}.parameters.names.of", "wrd", f"{SHOW}.parameters.names.of", "did you mean 'word'"),
    (f"{SHOW}.parameters.kind.choices", [], f"{SHOW}.parameters.kind.choices", "has choices"),
    (f"{SHOW}.parameters.depth.of", "word", f"{SHOW}.parameters.depth.of", "has no 'of'"),
    (f"{SHOW}.parameters.Bad", {"type": "word"}, f"{SHOW}.parameters.Bad", "lower-case"),
]


def read(value):
    return read_tool(value, name="sample", domain=Domain.ASSET, folder="asset", digest="0")


def changed(path, value):
    body = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    inner = body
    for parent in parents:
        inner = inner.setdefault(parent, {})
    if value is DELETE:
        del inner[last]
    else:
        inner[last] = value
    return body


def test_the_good_one_is_good():
    tool = read(GOOD)
    assert list(tool.operations) == ["show", "set"]
    assert next(iter(tool.operations["show"].parameters)) == "path"
    assert len(tool.operations["show"].errors) == 1
    assert tool.operations["set"].errors == ()


@pytest.mark.parametrize(
    ("path", "value", "key", "words"), BAD, ids=[f"{row[0]}-{row[3]}" for row in BAD]
)
def test_a_bad_file_is_refused_by_its_key(path, value, key, words):
    with pytest.raises(BadKey) as refused:
        read(changed(path, value))
    assert refused.value.key == key
    assert words in refused.value.problem


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_a_file_that_is_no_mapping_is_refused(value):
    with pytest.raises(BadKey):
        read(value)


@pytest.mark.parametrize(
    "reference", ["asset", "asset:", "asset:list:x", "Asset:list", "asset.:x", "os;x:y", "a:b()"]
)
def test_what_is_no_reference_to_a_function(reference):
    body = changed(f"{SHOW}.python", reference)
    del body["operations"]["show"]["argv"]
    with pytest.raises(BadKey, match=r"module\.path:function"):
        read(body)
