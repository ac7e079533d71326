import pytest
from pydantic import BaseModel, ConfigDict

from app.errors import Fault, Malformed, PlanRejected
from app.request_reader import place_in_plan, read_body


class Thing(BaseModel):
    """A request of this test."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    count: int = 1


def test_json_and_yaml_give_the_same():
    assert read_body(b'{"name": "a", "count": 2}', Thing, "a thing", "") == Thing(name="a", count=2)
    assert read_body(b"name: a\ncount: 2\n", Thing, "a thing", "") == Thing(name="a", count=2)


def test_every_wrong_member_is_named_at_once():
    with pytest.raises(PlanRejected) as caught:
        read_body(b'{"count": "2", "cuont": 3}', Thing, "a thing", "")
    found = {fault.path: (fault.code, fault.given) for fault in caught.value.faults}
    assert found == {
        "name": ("missing_parameter", None),
        "count": ("wrong_type", "2"),
        "cuont": ("unknown_key", None),
    }
    assert "a thing has no key 'cuont'; did you mean 'count'?" in {
        fault.message for fault in caught.value.faults
    }


@pytest.mark.parametrize("body", [b"{", b"\xff", b""])
def test_what_cannot_be_read_has_its_place(body):
    with pytest.raises(Malformed) as caught:
        read_body(body, Thing, "a thing", "")
    assert caught.value.faults[0].line


def test_what_is_no_mapping_is_told_how_to_be_one():
    with pytest.raises(Malformed, match="a thing is a mapping") as caught:
        read_body(b"[]", Thing, "a thing", "{name: a}")
    assert caught.value.hint == "{name: a}"


FAULTS = [Fault(path, "x", "x") for path in ("steps[0].tool", "", "inputs.count", "limit")]


def test_faults_of_a_plan_move_into_it():
    moved = [fault.path for fault in place_in_plan(FAULTS)]
    assert moved == ["plan.steps[0].tool", "plan", "plan.inputs.count", "plan.limit"]


def test_what_a_request_gives_beside_a_checked_plan_stays():
    moved = [fault.path for fault in place_in_plan(FAULTS, checked=True)]
    assert moved == ["plan.steps[0].tool", "plan", "inputs.count", "limit"]
