"""What reverses a finished step, from what the ledger keeps of it."""

import pytest

from app.errors import CannotUndo
from app.plan import CheckedRow, CheckedStep
from app.undo import Done, Undo, plan_undo, warn_of_lasting
from tool_catalog.loader import Catalog, load_tool
from tool_catalog.model import Effect, Repeat

TOOL = """
summary: A camera
parameters:
  camera: {type: integer, min: 1, default: 1}
operations:
  position:
    summary: Where it looks
    effect: read
    takes: [camera]
    argv: [look, '{camera}']
    output: {parser: key_value, fields: {pan: number, zoom: integer, name: text}}
    examples: [{parameters: {}}]
  move_to:
    summary: Absolute position
    effect: change
    repeat: never
    takes: [camera]
    parameters:
      pan: {type: number, min: -180, max: 180}
      zoom: {type: integer, min: 1}
      name: {type: string}
    rules: [{at_least_one: [pan, zoom]}]
    before: position
    argv: [move, '{pan}']
    undo:
      operation: move_to
      with: {pan: '{before.pan}', zoom: '{before.zoom}', name: '{before.name}'}
    examples: [{parameters: {pan: 10}}]
  stop:
    summary: Stop moving
    effect: change
    repeat: never
    takes: [camera]
    before: position
    argv: [stop]
    undo: {operation: move_to, with: {pan: 0}, if: before.zoom > 1}
    examples: [{parameters: {}}]
  jump:
    summary: Jump
    effect: change
    repeat: never
    argv: [jump]
    examples: [{parameters: {}}]
"""


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(TOOL)
    return load_tool(path)


def moved(before, **given):
    return Done("move_to", {"camera": 2, "pan": 30, **given}, before=before)


def test_what_was_there_before_is_put_back(tool):
    undo = plan_undo(tool, moved({"pan": -10.5, "zoom": 4, "name": None}))
    assert undo == Undo("move_to", {"camera": 2, "pan": -10.5, "zoom": 4})


def test_where_the_condition_does_not_hold_there_is_nothing_to_undo(tool):
    assert plan_undo(tool, Done("stop", {"camera": 1}, before={"zoom": 1})) is None
    undo = plan_undo(tool, Done("stop", {"camera": 3}, before={"zoom": 2}))
    assert undo == Undo("move_to", {"camera": 3, "pan": 0})


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Done("jump", {}), "camera jump declares no undo"),
        (Done("gone", {}), "camera gone declares no undo"),
        (moved(None), "what was read before has no pan"),
        (moved({"pan": 1}), "what was read before has no zoom"),
        (moved({"pan": 999, "zoom": 1, "name": None}), "move_to would be refused: 'pan'"),
        (moved({"pan": None, "zoom": None, "name": None}), "would be refused"),
        (moved({"pan": 1, "zoom": 1, "name": "key=***"}), "holds a secret"),
        (Done("stop", {}, before={}), "zoom"),
    ],
)
def test_what_cannot_be_undone_says_why(tool, done, words):
    with pytest.raises(CannotUndo) as refused:
        plan_undo(tool, done)
    assert words in str(refused.value)


# What a plan says before it starts.

STAYS = "cannot be undone: its tool declares no undo, so what it did stays"


def step(tool, number, **members):
    return CheckedStep(
        **{
            "position": number,
            "key": f"s{number}",
            "stage": number,
            "section": "main",
            "tool": "camera",
            "operation": tool,
            "domain": "network",
            "queue": "network",
            "effect": Effect.CHANGE,
            "repeat": Repeat.NEVER,
            "dynamic": False,
            "on_failure": "stop",
            "timeout_s": 1,
            "queue_timeout_s": 1,
            "max_retries": 0,
            "backoff_s": 0,
            "rows": (CheckedRow({}),),
            **members,
        }
    )


@pytest.mark.parametrize(
    ("steps", "lasting"),
    [
        ((step("jump", 1), step("stop", 2)), []),  # nobody asks for it
        ((step("jump", 1), step("stop", 2, on_failure="undo")), [1]),
        ((step("move_to", 1), step("stop", 2, on_failure="undo")), []),
        # What fails was not done; what comes later has not begun.
        ((step("stop", 1), step("jump", 2, on_failure="undo"), step("jump", 3)), []),
        ((step("jump", 1, on_failure="undo"), step("jump", 2, on_failure="undo")), [1]),
        # Of several rows some may have been done, and so may what runs beside it.
        ((step("jump", 1, on_failure="undo", rows=(CheckedRow({}),) * 2),), [1]),
        ((step("stop", 1, on_failure="undo"), step("jump", 2, stage=1)), [2]),
        # Of a block, each batch; the word may be the block's.
        ((step("jump", 1), step("jump", 1, stage=2, block=1, block_on_failure="undo")), [1]),
        ((step("position", 1, effect=Effect.READ), step("stop", 2, on_failure="undo")), []),
        ((step("jump", 1, skipped="when"), step("stop", 2, on_failure="undo")), []),
    ],
)
def test_a_plan_says_which_steps_stay(tool, steps, lasting):
    told = [f"step {number} (camera jump) {STAYS}" for number in lasting]
    assert warn_of_lasting(steps, Catalog({"camera": tool})) == told
