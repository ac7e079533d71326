import pytest
from jsonschema import Draft202012Validator

from tool_catalog.loader import load_catalog
from tool_catalog.model import Effect, Example, Operation, Repeat
from tool_catalog.params import check_parameters
from tool_catalog.schema import operation_schema

OPERATIONS = [
    pytest.param(operation, id=f"{tool.name}-{operation.name}")
    for tool in load_catalog().tools.values()
    for operation in tool.operations.values()
]


def accepts(operation, given):
    return Draft202012Validator(operation_schema(operation)).is_valid(given)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_schema_is_one_and_takes_the_examples(operation):
    Draft202012Validator.check_schema(operation_schema(operation))
    for example in operation.examples:
        assert accepts(operation, dict(example.parameters))
        assert not accepts(operation, {**example.parameters, "nosuch": 1})


PARAMETERS = {
    "name": {"type": "string", "required": True, "pattern": "[a-z]+", "aliases": ["called"]},
    "count": {"type": "integer", "min": 1, "max": 5},
    "share": {"type": "number", "min": 0.5},
    "kind": {"type": "choice", "choices": ["a", "b"]},
    "to": {"type": "list", "of": "port", "max": 2},
    "body": {"type": "text"},
    "url": {"type": "url"},
    "wait": {"type": "duration"},
    "login": {"type": "secret"},
    "only": {"type": "boolean"},
}
RULES = [{"at_most_one": ["count", "share"]}, {"requires": {"kind": ["count"]}}]
OPERATION = Operation(
    name="show",
    summary="For a test",
    effect=Effect.READ,
    repeat=Repeat.READ,
    argv=("true",),
    examples=(Example(),),
    parameters=PARAMETERS,
    rules=RULES,
)


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ({"name": "abc"}, True),
        ({"called": "abc"}, True),
        ({}, False),
        ({"name": "ABC"}, False),
        ({"name": "abc", "count": 6}, False),
        ({"name": "abc", "count": 5}, True),
        ({"name": "abc", "share": 0.4}, False),
        ({"name": "abc", "count": 1, "share": 0.6}, False),
        ({"name": "abc", "kind": "a"}, False),
        ({"name": "abc", "kind": "a", "count": 2}, True),
        ({"name": "abc", "kind": "c", "count": 2}, False),
        ({"name": "abc", "to": [22, 80]}, True),
        ({"name": "abc", "to": 22}, True),
        ({"name": "abc", "to": [22, 80, 443]}, False),
        ({"name": "abc", "to": ["http"]}, False),
        ({"name": "abc", "url": "ftp://x"}, False),
        ({"name": "abc", "wait": "5m"}, True),
        ({"name": "abc", "wait": "soon"}, False),
        ({"name": "abc", "login": {"$secret": "x"}}, True),
        ({"name": "abc", "login": "x"}, False),
        ({"name": "abc", "only": 1}, False),
    ],
)
def test_the_schema_and_the_check_agree(given, valid):
    assert accepts(OPERATION, given) is valid
    assert (check_parameters(OPERATION, given)[1] == []) is valid


def test_a_schema_tells_what_people_need():
    schema = operation_schema(load_catalog().tools["df"].operations["usage"])
    assert schema["properties"]["path"]["examples"] == ["/var"]
    assert schema["properties"]["local_only"]["default"] is True
    assert schema["additionalProperties"] is False
