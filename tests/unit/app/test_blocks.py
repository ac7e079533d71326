from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import blocks
from app.blocks import (
    Held,
    TooManyRows,
    lay_out,
    leaves_of,
    own_rows,
    plant_plan,
    split_batches,
)
from app.plan import Block, Parallel, PlanStep
from app.plan_reader import read_plan
from app.step import Target

FLEET = tuple(Target(f"t{number}", number) for number in range(1, 14))


def hold(place, batch):
    """Blocks name how many of the fleet they hold; without targets they divide their batch."""
    count = place.block.targets
    return Held(batch if count is None else FLEET[:count])


def passes_of(document):
    return lay_out(plant_plan(read_plan(document)), hold)


def shown(passes):
    """Stages as (stage, position, names of the batch)."""
    return [(each.stage, each.leaf.position, [t.name for t in each.batch or ()]) for each in passes]


_STEP = st.just({"tool": "df"})
_STEPS = st.lists(_STEP, min_size=1, max_size=3)
_BATCH = st.none() | st.integers(1, 15) | st.integers(1, 100).map("{}%".format)
_PARALLEL = st.builds(lambda steps: {"parallel": steps}, _STEPS)
_COUNT = st.integers(1, 13)


def _block(entries, counts):
    return st.builds(
        lambda steps, batch, targets: {"steps": steps, "batch": batch, "targets": targets},
        st.lists(entries, min_size=1, max_size=3),
        _BATCH,
        counts,
    )


_INNER = _block(_STEP, st.none())
_OUTER = _block(_STEP | _PARALLEL | _INNER, _COUNT)
_PLANS = st.builds(
    lambda steps, last: {"steps": steps, "finally": last},
    st.lists(_STEP | _PARALLEL | _OUTER, min_size=1, max_size=4),
    st.lists(_STEP | _PARALLEL | _OUTER, max_size=2),
)


@given(_PLANS)
def test_each_target_passes_each_step_of_its_block_once(document):
    passes = passes_of(document)
    for leaf in leaves_of(plant_plan(read_plan(document))):
        seen = Counter(
            target.name
            for each in passes
            if each.leaf.position == leaf.position
            for target in each.batch or ()
        )
        wanted = FLEET[: leaf.blocks[0].block.targets] if leaf.blocks else ()
        assert seen == Counter(target.name for target in wanted)


@given(_PLANS)
def test_batches_of_a_step_never_overlap_and_keep_their_size(document):
    passes = passes_of(document)
    by_step = {}
    for each in passes:
        by_step.setdefault(each.leaf.position, []).append(each)
    for shares in by_step.values():
        names = [target.name for each in shares for target in each.batch or ()]
        assert len(names) == len(set(names))
        batch = shares[0].leaf.blocks[-1].block.batch if shares[0].leaf.blocks else None
        if isinstance(batch, int):
            assert all(len(each.batch) <= batch for each in shares)


@given(_PLANS)
def test_stages_follow_one_another_without_a_gap(document):
    stages = [each.stage for each in passes_of(document)]
    assert stages[0] == 0
    assert all(after - before in {0, 1} for before, after in pairwise(stages))


@given(_PLANS)
def test_only_one_parallel_stage_shares_a_stage(document):
    by_stage = {}
    for each in passes_of(document):
        by_stage.setdefault(each.stage, []).append(each)
    for shares in by_stage.values():
        if len(shares) > 1:
            assert len({each.leaf.parallel for each in shares}) == 1
            assert shares[0].leaf.parallel is not None
            assert all(each.batch == shares[0].batch for each in shares)


@given(_PLANS)
def test_a_batch_ends_before_the_next_one_begins(document):
    passes = passes_of(document)
    for number in {each.leaf.blocks[0].number for each in passes if each.leaf.blocks}:
        own = [e for e in passes if e.leaf.blocks and e.leaf.blocks[0].number == number]
        outer = own[0].leaf.blocks[0].block
        parts = split_batches(FLEET[: outer.targets], outer.batch)
        part_of = {t.name: index for index, part in enumerate(parts) for t in part}
        order = [part_of[t.name] for each in own for t in each.batch]
        assert order == sorted(order)


@given(_PLANS)
def test_the_work_is_that_of_the_rows(document):
    passes = passes_of(document)
    rows = sum(len(each.batch or ()) or 1 for each in passes)
    assert len(passes) <= rows


@given(st.integers(1, 200), _BATCH)
def test_shares_are_rounded_up_and_never_nothing(count, batch):
    targets = tuple(Target(f"t{number}", number) for number in range(count))
    parts = split_batches(targets, batch)
    assert [target for part in parts for target in part] == list(targets)
    size = len(parts[0])
    if isinstance(batch, str):
        share = int(batch.removesuffix("%")) / 100 * count
        assert share <= size + 1e-9
        assert size < share + 1
    else:
        assert size == min(batch or count, count)
    assert {len(part) for part in parts[:-1]} <= {size}


def test_a_plan_in_its_places():
    document = {
        "steps": [
            {"tool": "df"},
            {
                "targets": 3,
                "batch": 2,
                "steps": [{"tool": "df"}, {"parallel": [{"tool": "df"}, {"tool": "df"}]}],
            },
            {"targets": 1, "steps": [{"tool": "df"}]},
        ],
        "finally": [{"tool": "df"}],
    }
    nodes = plant_plan(read_plan(document))
    leaves = list(leaves_of(nodes))
    assert [(leaf.position, leaf.path, leaf.section) for leaf in leaves] == [
        (1, "steps[0]", "main"),
        (2, "steps[1].steps[0]", "main"),
        (3, "steps[1].steps[1].parallel[0]", "main"),
        (4, "steps[1].steps[1].parallel[1]", "main"),
        (5, "steps[2].steps[0]", "main"),
        (6, "finally[0]", "finally"),
    ]
    assert [leaf.blocks[0].number if leaf.blocks else None for leaf in leaves] == [
        *(None, 1, 1, 1, 2, None)
    ]
    assert shown(lay_out(nodes, hold)) == [
        (0, 1, []),
        (1, 2, ["t1", "t2"]),
        (2, 3, ["t1", "t2"]),
        (2, 4, ["t1", "t2"]),
        (3, 2, ["t3"]),
        (4, 3, ["t3"]),
        (4, 4, ["t3"]),
        (5, 5, ["t1"]),
        (6, 6, []),
    ]


def test_an_inner_block_divides_the_batch_of_the_outer_one():
    inner = {"batch": 1, "steps": [{"tool": "df"}]}
    document = {"steps": [{"targets": 4, "batch": 2, "steps": [inner, {"tool": "df"}]}]}
    assert shown(passes_of(document)) == [
        (0, 1, ["t1"]),
        (1, 1, ["t2"]),
        (2, 2, ["t1", "t2"]),
        (3, 1, ["t3"]),
        (4, 1, ["t4"]),
        (5, 2, ["t3", "t4"]),
    ]


def test_a_block_that_waits_has_one_stage_for_each_step():
    document = {
        "steps": [
            {"targets": 2, "steps": [{"tool": "df"}, {"parallel": [{"tool": "df"}] * 2}]},
            {"tool": "df"},
        ]
    }
    nodes = plant_plan(read_plan(document))
    passes = lay_out(nodes, lambda _place, _batch: Held(later=True))
    assert [(each.stage, each.placeholders) for each in passes] == [(0, 3), (1, 0), (2, 0), (3, 0)]
    assert [each.waits_for is not None for each in passes] == [True, True, True, False]


def test_a_block_that_is_skipped_says_why_on_each_step():
    document = {"steps": [{"targets": 2, "steps": [{"tool": "df"}] * 2}]}
    nodes = plant_plan(read_plan(document))
    passes = lay_out(nodes, lambda _place, _batch: Held(skipped="nobody"))
    assert [(each.stage, each.skipped) for each in passes] == [(0, "nobody"), (1, "nobody")]


def test_too_many_rows_are_not_even_laid_out(monkeypatch):
    monkeypatch.setattr(blocks, "MAX_ROWS", 20)
    block = {"targets": 10, "batch": 1, "steps": [{"tool": "df"}] * 2}
    assert len(passes_of({"steps": [block]})) == 20
    with pytest.raises(TooManyRows):
        passes_of({"steps": [block, {"tool": "df"}]})


def test_entries_are_what_was_written():
    document = {"steps": [{"targets": 1, "steps": [{"parallel": [{"tool": "df"}]}]}]}
    (block,) = read_plan(document).steps
    assert block == Block(steps=(Parallel((PlanStep(tool="df"),)),), targets=1)


def row(key, stage, target, index=0):
    named = {"name": target} if target else None
    return {"key": key, "stage": stage, "target_index": index, "target": named}


ROWS = [
    row("before", 0, "t1"),
    row("before", 0, "t2", 1),
    row("a", 1, "t1"),
    row("told", 2, None),
    row("a", 3, "t2"),
    row("told", 4, None),
]


def test_a_step_in_a_block_sees_its_own_batch():
    seen = own_rows({"inside": ["a", "told"], "batch": ["t2"]}, ROWS)
    assert [(each["key"], each["stage"]) for each in seen] == [
        ("a", 3),
        ("before", 0),
        ("before", 0),
        ("told", 4),
    ]


def test_a_step_outside_of_blocks_sees_everything_step_by_step():
    seen = own_rows({}, ROWS)
    assert [(each["key"], each["stage"]) for each in seen] == [
        ("a", 1),
        ("a", 3),
        ("before", 0),
        ("before", 0),
        ("told", 2),
        ("told", 4),
    ]
