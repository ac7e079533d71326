"""Plans at random: steps side by side, blocks, dynamic ones, limits, reversals, approvals."""

from dataclasses import replace

from hypothesis import strategies as st

from app.plan import Ask, Cap, Need
from tests.lab.ledger_bench import make_plan, make_step
from tests.lab.shapes import Batches, LateBlock
from tool_catalog.model import Effect, Repeat

HOSTS = tuple("abcd")
CHANGES = [Repeat.NEVER, Repeat.PROBE, Repeat.IDEMPOTENT, Repeat.PROBE]
#: Limits that rows of all plans share.
ONE = Cap("one", "of a kind", running=1)
TWO = Cap("two", "of a kind", running=2)
ASK = Ask("digest", {}, expires_s=0.0, need=Need("other", {"approver": 1}))


@st.composite
def steps(draw, key, *, inside=False):
    """One step; outside of a block with up to three rows."""
    changes = draw(st.booleans())
    dynamic = draw(st.integers(0, 4)) == 0
    count = 1 if dynamic or inside else draw(st.integers(1, 3))
    repeat = draw(st.sampled_from(CHANGES)) if changes else Repeat.READ
    caps = () if dynamic else draw(st.sampled_from([(), (), (), (ONE,), (TWO,), (ONE, TWO)]))
    step = make_step(
        key,
        rows=count,
        dynamic=dynamic,
        template={} if dynamic else None,
        effect=Effect.CHANGE if changes else Effect.READ,
        repeat=repeat,
        mutex=draw(st.sampled_from(["asset:1", "asset:2"]))
        if changes and count == 1 and not inside
        else None,
        on_failure=draw(st.sampled_from(["stop", "continue", "undo"])),
        max_retries=draw(st.integers(0, 2)),
        max_parallel=draw(st.sampled_from([None, None, 1, 2])),
        max_failures=None if inside else draw(st.sampled_from([None, None, 0, 1])),
    )
    return replace(step, rows=tuple(replace(row, caps=caps) for row in step.rows))


@st.composite
def entries(draw, key, number):
    """A step, steps side by side, or a block: of batches, or rendered when it is due."""
    kind = draw(st.sampled_from(["step", "step", "parallel", "block", "late"]))
    if kind == "step":
        return draw(steps(key))
    if kind == "parallel":
        return tuple(draw(steps(f"{key}{n}")) for n in range(2))
    inner = [draw(steps(f"{key}i{n}", inside=True)) for n in range(draw(st.integers(1, 2)))]
    if draw(st.booleans()):
        inner.append((draw(steps(f"{key}x", inside=True)), draw(steps(f"{key}y", inside=True))))
    size = draw(st.sampled_from([1, 2, 3]))
    block = Batches(
        tuple(inner),
        tuple(HOSTS[n : n + size] for n in range(0, len(HOSTS), size)),
        number=number,
        max_failures=draw(st.integers(0, 2)),
        on_failure=draw(st.sampled_from(["stop", "continue", "undo"])),
    )
    return LateBlock(block) if kind == "late" else block


@st.composite
def plans(draw):
    """Up to three entries, and up to two of `finally`."""
    main = [draw(entries(f"s{n}", n + 1)) for n in range(draw(st.integers(1, 3)))]
    last = tuple(draw(entries(f"z{n}", n + 10)) for n in range(draw(st.integers(0, 2))))
    late = [each.block for each in (*main, *last) if isinstance(each, LateBlock)]
    ask = ASK if draw(st.integers(0, 4)) == 0 else None
    return make_plan(*main, last=last), {block.number: block for block in late}, ask
