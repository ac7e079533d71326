"""Random plans of every shape: checked or refused, and rendered to their last step."""

import json
from copy import deepcopy
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.due import DueFailure, Skip
from app.errors import PlanRejected

#: Every rendering makes rows out of this, some good and some not.
OUTCOME = {
    "state": "failed",
    "ok": True,
    "failed": True,
    "changed": None,
    "summary": "{{ steps.s1.summary }}",
    "results": [{"target": "web-01", "item": "/a"}],
    "failed_targets": ["node-1", "node-2", "node-3"],
    "output": ["/a", "/b"],
    "exit_code": 0,
    "artifacts": [],
}
#: A row whose block's first row stands for it, too.
PLACEHOLDER = {"position", "key", "section", "tool", "operation"}
GOOD_TARGETS = st.sampled_from(
    ["web-01", "local", "tags.role=web", "tags.role=node", "{{ steps.s1.failed_targets }}"]
)
BAD_TARGETS = st.sampled_from(
    ["nobody", "tags.role=none", "x=y", "", "{{ 1 / 0 }}", "{{ item }}", 0, [], {}, ["{{"]]
)
CONDITIONS = st.sampled_from(
    ["steps.s1.ok", "not steps.s1.failed", "inputs.yes", "not inputs.yes", "inputs.n > 5", "true"]
)
PATHS = st.sampled_from(["/var", "{{ inputs.path }}", "{{ steps.s1.output[0] }}"])
ITEMS = st.sampled_from([["/a", "/b"], "{{ steps.s1.output }}", "{{ inputs.l }}"])
BAD_ITEMS = st.sampled_from([[], ["/a", 7], "{{ inputs.path }}", "{{ steps.s1.output[0] }}"])
BAD_PATHS = st.sampled_from(["var", 7, "{{ item }}", "{{ x }}", "{{ steps.s1.output }}"])


def seldom(bad, good):
    """One of the bad ones now and then."""
    return st.integers(0, 9).flatmap(lambda number: good if number else bad)


EMPTY = st.sampled_from(["skip", "fail"])
STEP = st.fixed_dictionaries(
    {"tool": st.just("df")},
    optional={
        "targets": seldom(BAD_TARGETS, GOOD_TARGETS),
        "when": CONDITIONS,
        "for_each": seldom(BAD_ITEMS, ITEMS),
        "parameters": st.fixed_dictionaries({"path": seldom(BAD_PATHS, PATHS)}),
        "on_empty": EMPTY,
    },
)
PARALLEL = st.fixed_dictionaries({"parallel": st.lists(STEP, min_size=1, max_size=2)})


def block(entries):
    """Blocks of these entries."""
    return st.fixed_dictionaries(
        {"steps": st.lists(entries, min_size=1, max_size=3)},
        optional={
            "targets": seldom(BAD_TARGETS, GOOD_TARGETS),
            "batch": st.sampled_from([1, 2, "50%"]),
            "when": CONDITIONS,
            "on_empty": EMPTY,
        },
    )


ENTRIES = st.lists(STEP | PARALLEL | block(STEP | PARALLEL | block(STEP)), max_size=4)
INPUTS = {
    "yes": {"type": "boolean", "default": True},
    "n": {"type": "integer", "default": 1},
    "path": {"type": "path", "default": "/srv"},
    "l": {"type": "list", "of": "path", "default": ["/x", "/y"]},
}


def named(entries, numbers):
    """Every step with an id of its own."""
    for entry in entries:
        if "tool" in entry:
            entry["id"] = f"s{next(numbers)}"
        named(entry.get("steps", entry.get("parallel", ())), numbers)
    return entries


def write(entries, last, limit):
    """A request for a plan whose first step may be named by the others."""
    numbers = count(1)
    steps = named([{"tool": "df", "target": "local"}, *deepcopy(entries)], numbers)
    plan = {"inputs": INPUTS, "steps": steps, "finally": named(deepcopy(last), numbers)}
    return json.dumps({"plan": plan, "limit": limit})


LIMITS = st.sampled_from([None, None, "tags.role=web", "node-2;node-3"])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.builds(write, ENTRIES, ENTRIES, LIMITS))
def test_a_plan_is_checked_or_refused_and_rendered_to_its_end(check, serve, text):
    try:
        checked = check(text)
    except PlanRejected as refused:
        told = [(fault.path, fault.message, fault.line) for fault in refused.faults]
        if all(all(each) for each in told):
            return
        raise
    assert_stages(checked.steps)
    for step in checked.steps:
        render(step, serve)


def assert_stages(steps):
    stages = [step.stage for step in steps]
    assert stages == sorted(stages)
    assert set(stages) == set(range(max(stages) + 1))
    assert all(step.rows for step in steps)


def render(step, serve, depth=0):
    """A step to its rows, and what it makes room for to its own."""
    assert depth <= 3  # a block, a block in it, a step, its rows
    if not step.dynamic or step.template.keys() == PLACEHOLDER:
        return
    outcome = serve(json.loads(json.dumps(step.template)), {"s1": OUTCOME})
    if isinstance(outcome, Skip | DueFailure):
        assert outcome.message
        return
    assert_stages(outcome)
    assert "block" in step.template or [each.stage for each in outcome] == [0]
    for each in outcome:
        assert each.block == step.block
        render(each, serve, depth + 1)
