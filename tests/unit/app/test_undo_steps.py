"""The steps that reverse what an execution did: their order, their stages, their words."""

from datetime import UTC, datetime, timedelta

import pytest

from app.safety import Policy
from app.surroundings import Rules, Scene
from app.undo_steps import plan_reversal
from queues import Routing
from tool_catalog.loader import Catalog, load_tool
from tool_catalog.model import Effect, Repeat

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
TOOL = """
summary: A door
execution_location: automation-service
parameters:
  door: {type: string, required: true, example: front}
operations:
  look:
    summary: Whether it is open
    effect: read
    takes: [door]
    argv: [look, '{door}']
    output: {parser: key_value, fields: {state: text}}
    examples: [{parameters: {door: front}}]
  open:
    summary: Open it
    effect: change
    repeat: idempotent
    takes: [door]
    parameters: {key: {type: secret}}
    timeout_s: 7
    before: look
    argv: [open, '{door}']
    undo: {operation: close, if: before.state == 'closed'}
    examples: [{parameters: {door: front}}]
  close:
    summary: Close it
    effect: change
    destroy_if: [{door: back}]
    repeat: never
    root: needed
    takes: [door]
    parameters: {key: {type: secret}}
    timeout_s: 9
    argv: [close, '{door}']
    examples: [{parameters: {door: front}}]
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    path = tmp_path_factory.mktemp("tools") / "door.yaml"
    path.write_text(TOOL)
    return Catalog({"door": load_tool(path)})


@pytest.fixture
def plan(catalog):
    """`plan(row, ...)`: (stage, position, id, words, target) of each reversal."""

    def run(*rows, policy=None):
        rules = Rules(policy or Policy(), Routing(), 3600)
        return plan_reversal(rows, 11, catalog, Scene(None, rules))

    return run


def row(number, **members):
    """A row of the ledger that succeeded."""
    return {
        "id": number,
        "position": number,
        "key": f"s{number}",
        "stage": number,
        "tool": "door",
        "operation": "open",
        "domain": "automation",
        "queue": "automation",
        "effect": "change",
        "repeat": "idempotent",
        "parameters": {"door": "front"},
        "target": {"name": "h1", "asset_id": 1, "connection": "ssh"},
        "item": None,
        "run_as": None,
        "needs": {},
        "timeout_s": 1.0,
        "max_retries": 2,
        "backoff_s": 3.0,
        "finished_at": BEGIN + timedelta(seconds=number),
        "result": {"before": {"state": "closed"}, "changed": True},
        "free_block": 4,
        **members,
    }


def on(name):
    return {"name": name, "asset_id": 1, "connection": "ssh"}


def seats(steps):
    """(stage, position, key, reversed row) of each."""
    return [(s.stage, s.position, s.key, s.rows[0].undoes) for s in steps]


def test_the_last_is_reversed_first(plan):
    steps = plan(row(1), row(3), row(2))
    assert seats(steps) == [(0, 11, "undo:s3", 3), (1, 12, "undo:s2", 2), (2, 13, "undo:s1", 1)]


def test_a_reversal_is_what_its_tool_file_says(plan):
    [step] = plan(row(1, run_as="ann", parameters={"door": "back", "key": {"$secret": "k"}}))
    assert (step.tool, step.operation, step.queue) == ("door", "close", "automation")
    assert (step.effect, step.repeat) == (Effect.DESTROY, Repeat.NEVER)
    assert (step.timeout_s, step.max_retries, step.backoff_s) == (9, 2, 3)
    assert (step.run_as, step.secrets, step.dynamic) == ("ann", ("k",), False)
    [checked] = step.rows
    assert checked.parameters == {"door": "back", "key": {"$secret": "k"}}
    assert (checked.mutex, checked.target.name, checked.undoes) == ("asset:1", "h1", 1)
    # A target whose reversal fails is left out of those behind it; the others go on.
    assert (step.block, step.block_on_failure, step.on_failure) == (4, "continue", "stop")


def test_rows_of_one_stage_are_reversed_side_by_side(plan):
    fan_out = [row(n, position=1, key="a", stage=0, target=on(f"h{n}")) for n in (1, 2, 3)]
    steps = plan(*fan_out)
    assert [(s.stage, s.position, s.first_index) for s in steps] == [
        (0, 11, 0),
        (0, 11, 1),
        (0, 11, 2),
    ]


def test_rows_of_one_target_are_reversed_one_after_the_other(plan):
    items = [row(n, position=1, key="a", stage=0, item=n) for n in (1, 2, 3)]
    others = [row(n, position=1, key="a", stage=0, target=on("h2")) for n in (4, 5)]
    before = row(9, position=0, key="z", stage=-1)
    assert seats(plan(*items, *others, before)) == [
        (0, 11, "undo:a", 5),
        (0, 11, "undo:a", 3),
        (1, 11, "undo:a", 4),
        (1, 11, "undo:a", 2),
        (2, 11, "undo:a", 1),
        (3, 12, "undo:z", 9),
    ]


def test_batches_are_reversed_backwards(plan):
    """Steps a and b passed batch h1 in stages 0 and 1, then batch h2 in stages 2 and 3."""
    rows = [
        row(1, position=1, key="a", stage=0, target=on("h1")),
        row(2, position=2, key="b", stage=1, target=on("h1")),
        row(3, position=1, key="a", stage=2, target=on("h2")),
        row(4, position=2, key="b", stage=3, target=on("h2")),
    ]
    assert seats(plan(*rows)) == [
        (0, 11, "undo:b", 4),
        (1, 12, "undo:a", 3),
        (2, 11, "undo:b", 2),
        (3, 12, "undo:a", 1),
    ]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"operation": "close"}, "door close declares no undo: what it did stays"),
        (
            {"result": {"before": {"state": "open"}}},
            "nothing to undo: not before.state == 'closed'",
        ),
        (
            {"result": {"before": {"state": "closed"}, "changed": False}},
            "nothing to undo: door open changed nothing",
        ),
    ],
)
def test_nothing_to_reverse_is_skipped_with_a_word(plan, members, words):
    [step] = plan(row(1, **members))
    assert (step.skipped, step.template) == (words, {"skip": words})
    assert step.dynamic


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"tool": "gate"}, "no tool 'gate'"),
        ({"operation": "tear_down"}, "tear_down"),
        ({"result": {}}, "door open: "),
        ({"target": None}, "door open had no target, and close needs one"),
        ({"target": {"name": "local"}}, "policy forbids"),
        ({"parameters": {"door": "pass***"}, "result": {"before": {"state": "closed"}}}, None),
    ],
)
def test_what_cannot_be_reversed_fails_in_its_turn(plan, members, words):
    policy = Policy(local="deny")
    [step] = plan(row(1, **members), policy=policy)
    assert step.skipped is None
    assert step.dynamic
    assert words is None or words in step.template["fails"]


def test_what_was_read_is_never_taken_for_a_template(plan):
    """A target's own words cannot become an expression of the plan's."""
    told = "{{ execution.id }}"
    [step] = plan(row(1, parameters={"door": told}))
    assert step.rows[0].parameters == {"door": told}
    assert step.template is None
