"""The fast set of faults: an arena for each group, so that groups run side by side."""

import pytest

from tests.faults.arena import Arena
from tests.faults.controls import CONTROLS, breaches_without
from tests.faults.faults import FAULTS
from tests.lab.rabbitmq import RabbitMq

GROUPS = 4
FAST = [fault for fault in FAULTS if fault.fast]
#: What RabbitMQ does differently; `make faults` plays all of them on it.
ON_RABBITMQ = ("restart rabbitmq", "malformed messages", "every message three times")


@pytest.fixture(autouse=True)
def _namespaces(require_root, require_program):
    """Cutting a worker off takes a network namespace."""
    require_program("ip")
    require_program("nsenter")


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_promise_holds_on_redis(tmp_path, group):
    tmp_path.chmod(0o755)
    with Arena(tmp_path, group) as arena:
        for fault in FAST[group::GROUPS]:
            if fault.fits(arena, seed=0):
                verdict = arena.play(fault.name, fault.run, fault.plans, apart=fault.apart)
                assert verdict.breaches == (), fault.name
                assert verdict.plans >= fault.plans


def test_every_promise_holds_on_rabbitmq(tmp_path, require_program):
    require_program("rabbitmqctl")
    tmp_path.chmod(0o755)
    (tmp_path / "rabbitmq").mkdir()
    broker = RabbitMq(tmp_path / "rabbitmq", require_program("epmd"))
    try:
        with Arena(tmp_path, 0, broker) as arena:
            for fault in FAST:
                if fault.name in ON_RABBITMQ:
                    verdict = arena.play(fault.name, fault.run, fault.plans)
                    assert verdict.breaches == (), fault.name
    finally:
        broker.close()


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.guard)
def test_without_a_guard_a_promise_breaks(control):
    assert breaches_without(control, seed=0) != ()
