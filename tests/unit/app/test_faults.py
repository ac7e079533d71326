import pytest

from app.errors import PlanRejected
from app.faults import Faults, join_path, show_given


def test_a_fault_carries_its_step_and_nearest_place():
    faults = Faults({"": (1, 1), "steps[1]": (4, 3), "steps[1].tool": (4, 9)})
    at_step = faults.at("steps[1]", "2 (df)")
    at_step.add("parameters.depth", "wrong_type", "no", given=[1], allowed=("a", "b"), hint="do")
    (fault,) = faults
    assert fault.as_json() == {
        "path": "steps[1].parameters.depth",
        "code": "wrong_type",
        "message": "no",
        "step": "2 (df)",
        "given": "[1]",
        "allowed": "a, b",
        "hint": "do",
        "line": 4,
        "column": 3,
    }
    assert at_step.has("parameters.depth")
    assert not faults.has("parameters.depth")


def test_faults_are_raised_in_the_order_of_the_text():
    faults = Faults({"a": (9, 1), "b": (2, 5), "c": (2, 1)})
    faults.raise_if_any()
    for path in "abc":
        faults.add(path, "code", "message")
    with pytest.raises(PlanRejected) as caught:
        faults.raise_if_any()
    assert [fault.path for fault in caught.value.faults] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("x", "text", "text"),
        ("x", True, "true"),
        ("x", {"a": None}, '{"a": null}'),
        ("x", "a\nb\0", "a\\nb\\x00"),
        ("x", "y" * 99, "y" * 77 + "..."),
        ("steps[0].parameters.password", "hunter2", "***"),
        ("steps[0].parameters.headers.api_key", "hunter2", "***"),
        ("steps[0].parameters.path", "/x", "/x"),
    ],
)
def test_given_values_are_cut_and_masked(path, value, shown):
    assert show_given(path, value) == shown


def test_paths_join():
    assert join_path("steps[0]", "tool") == "steps[0].tool"
    assert join_path("to", "[1]") == "to[1]"
    assert join_path("", "tool") == join_path("tool", "") == "tool"
