"""The fast set of faults: an arena for each group, so that groups run side by side."""

from pathlib import Path

import pytest

from tests.faults.controls import CONTROLS, breaches_without
from tests.faults.faults import FAULTS
from tests.faults.lost_answers import STORY, lose_every_answer
from tests.faults.play import REDIS_7, open_arena

GROUPS = 4
FAST = [fault for fault in FAULTS if fault.fast]
#: What RabbitMQ does differently; `make faults` plays all of them on it.
ON_RABBITMQ = ("restart rabbitmq", "malformed messages", "every message three times")
ON_REDIS_7 = ("nothing", "flushall")


@pytest.fixture(autouse=True)
def _everything(require_root, require_program):
    """Cutting a worker off takes a network namespace, a far host an sshd."""
    for program in ("ip", "nsenter", "sshd"):
        require_program(program)


def play(arena, faults, broker):
    for fault in faults:
        if fault.fits(broker):
            verdict = arena.play(fault.name, fault.run, fault.plans, apart=fault.apart)
            assert verdict.breaches == (), fault.name
            assert verdict.plans >= fault.plans


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_promise_holds_on_redis(group):
    with open_arena("redis", group) as arena:
        play(arena, FAST[group::GROUPS], "redis")


def test_every_promise_holds_on_rabbitmq(require_program):
    require_program("rabbitmqctl")
    with open_arena("rabbitmq", 0) as arena:
        play(arena, [fault for fault in FAST if fault.name in ON_RABBITMQ], "rabbitmq")


def test_the_farm_runs_on_redis_7(require_program):
    require_program(REDIS_7)
    with open_arena("redis7", 0) as arena:
        assert arena.servers.client.info("server")["redis_version"].startswith("7.")
        play(arena, [fault for fault in FAST if fault.name in ON_REDIS_7], "redis7")


def test_the_answer_of_every_word_to_the_ledger_may_be_lost():
    with open_arena("redis", 0) as arena:
        verdict = arena.play("answers", lose_every_answer, 4)
        # The fault notes each word of the story whose answer was not lost.
        assert verdict.breaches == ()
        [log] = Path(arena.folder).glob("lost-*")
        assert set().union(*STORY.values()) <= set(log.read_text().split())


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.guard)
def test_without_a_guard_a_promise_breaks(control):
    assert breaches_without(control, seed=0) != ()
