import json

import pytest

from app.errors import PlanRejected
from app.plan import Block, Parallel
from app.plan_reader import read_plan, read_request

DF = {"tool": "df"}


def read(value):
    return read_request(json.dumps(value).encode()).plan


def only_fault(value):
    with pytest.raises(PlanRejected) as caught:
        read(value)
    (fault,) = caught.value.faults
    return fault


def block(**members):
    return {"steps": [{"targets": "web-01", "steps": [DF]} | members]}


def test_every_key_of_a_block_is_read():
    plan = read(
        {
            "steps": [
                DF,
                {
                    "target": "tags.role=web",
                    "batch": "25%",
                    "max_failures": 2,
                    "on_failure": "continue",
                    "when": "execution.state == 'running'",
                    "run_as": "root",
                    "on_empty": "skip",
                    "steps": [
                        {"tool": "df", "id": "a"},
                        {"parallel": [{"tool": "df", "id": "b"}, {"tool": "df", "id": "c"}]},
                        {"batch": 1, "steps": [{"tool": "df", "id": "d"}]},
                    ],
                },
            ]
        }
    )
    rolling = plan.steps[1]
    assert isinstance(rolling, Block)
    assert (rolling.targets, rolling.batch, rolling.max_failures) == ("tags.role=web", "25%", 2)
    assert (rolling.on_failure, rolling.run_as, rolling.on_empty) == ("continue", "root", "skip")
    assert rolling.when == "execution.state == 'running'"
    first, side_by_side, inner = rolling.steps
    assert first.id == "a"
    assert isinstance(side_by_side, Parallel)
    assert [step.id for step in side_by_side.steps] == ["b", "c"]
    assert (inner.batch, inner.steps[0].id) == (1, "d")
    assert plan.document["steps"][1]["targets"] == "tags.role=web"
    assert read_plan(json.loads(json.dumps(plan.document))).steps == plan.steps


@pytest.mark.parametrize("batch", [1, 7, 1000, "1%", "25%", "100%"])
def test_batches_are_numbers_or_shares(batch):
    assert read(block(batch=batch)).steps[0].batch == batch


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (0, "out_of_range"),
        (-1, "out_of_range"),
        ("0%", "out_of_range"),
        ("101%", "out_of_range"),
        ("abc", "bad_format"),
        ("2", "bad_format"),
        ("2.5%", "bad_format"),
        ("-5%", "bad_format"),
        ("", "bad_format"),
        (1.5, "wrong_type"),
        (True, "wrong_type"),
        ([1], "wrong_type"),
    ],
)
def test_other_batches_are_refused(batch, code):
    fault = only_fault(block(batch=batch))
    assert (fault.path, fault.code) == ("steps[0].batch", code)
    assert fault.given == (batch if isinstance(batch, str) else json.dumps(batch))
    assert '"1%" to "100%"' in fault.allowed


def nest(*kinds):
    """Entries in one another, the outermost first."""
    entry = DF
    for kind in reversed(kinds):
        entry = {"parallel": [entry]} if kind == "parallel" else {"targets": "a", "steps": [entry]}
    return {"steps": [entry]}


@pytest.mark.parametrize(
    ("kinds", "path", "said"),
    [
        (["block"] * 3, "steps[0].steps[0].steps[0]", "a block in a block in a block: three"),
        (["block", "block", "parallel"], "steps[0].steps[0].steps[0]", "`parallel` in a block in"),
        (["parallel", "parallel"], "steps[0].parallel[0]", "`parallel` inside of `parallel`"),
        (["parallel", "block"], "steps[0].parallel[0]", "`block` inside of `parallel`"),
        (["block", "parallel", "block"], "steps[0].steps[0].parallel[0]", "`block` inside of"),
    ],
)
def test_three_levels_are_refused_by_name(kinds, path, said):
    fault = only_fault(nest(*kinds))
    assert (fault.path, fault.code) == (path, "nested_too_deep")
    assert said in fault.message


@pytest.mark.parametrize("kinds", [["block"], ["parallel"], ["block"] * 2, ["block", "parallel"]])
def test_two_levels_are_read(kinds):
    assert len(read(nest(*kinds)).steps) == 1


@pytest.mark.parametrize(
    ("entry", "path", "code", "hint"),
    [
        ({"steps": []}, "steps[0].steps", "missing", "steps: [{tool: df}]"),
        ({"batch": 1, "targets": "a"}, "steps[0].steps", "missing", "tool"),
        ({"steps": DF}, "steps[0].steps", "wrong_type", None),
        ({"parallel": []}, "steps[0].parallel", "missing", "parallel: [{tool: df}]"),
        ({"parallel": DF}, "steps[0].parallel", "wrong_type", None),
        ({"parallel": [DF], "when": "true"}, "steps[0].when", "unknown_key", None),
        ({"tool": "df", "steps": [DF]}, "steps[0].tool", "misplaced_key", "a step"),
        ({"steps": [DF], "for_each": [1]}, "steps[0].for_each", "misplaced_key", "a step"),
        ({"steps": [DF], "stepz": 1}, "steps[0].stepz", "unknown_key", "'steps'"),
        ({"steps": [DF], "on_failure": "redo"}, "steps[0].on_failure", "not_allowed", None),
        ({"steps": [{**DF, "max_failures": 1}]}, "steps[0].steps[0].max_failures",
         "misplaced_key", "outermost"),
        ({"steps": [{"steps": [DF], "max_failures": 1}]}, "steps[0].steps[0].max_failures",
         "misplaced_key", "outermost"),
        ({"steps": [{"steps": [DF], "on_failure": "stop"}]}, "steps[0].steps[0].on_failure",
         "misplaced_key", "outermost"),
        ({"steps": [{"parallel": [{**DF, "max_failures": 1}]}]},
         "steps[0].steps[0].parallel[0].max_failures", "misplaced_key", "outermost"),
        ({"steps": ["df"]}, "steps[0].steps[0]", "wrong_type", None),
    ],
)  # fmt: skip
def test_a_bad_block_is_one_clear_fault(entry, path, code, hint):
    fault = only_fault({"steps": [entry]})
    assert (fault.path, fault.code, fault.line) == (path, code, 1)
    assert hint is None or hint in fault.hint


def test_steps_in_blocks_count():
    inside = [{"targets": "a", "steps": [DF] * 500}, {"parallel": [DF] * 500}]
    assert len(read({"steps": inside}).steps) == 2
    fault = only_fault({"steps": [*inside, DF]})
    assert (fault.code, fault.given) == ("too_many", "1001")


def test_positions_count_steps_depth_first():
    text = (
        "steps:\n- {tool: df}\n- targets: a\n  steps:\n  - parallel:\n    - {tool: df}\n"
        "    - {tool: df, whne: x}\n  - {tool: df, whne: x}\nfinally:\n- {tool: df, whne: x}\n"
    )
    with pytest.raises(PlanRejected) as caught:
        read_request(text.encode())
    assert [(fault.step, fault.line) for fault in caught.value.faults] == [
        ("3 (df)", 7),
        ("4 (df)", 8),
        ("5 (df)", 10),
    ]
