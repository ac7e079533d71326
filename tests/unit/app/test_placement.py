import pytest

from app.errors import PlanRejected
from app.worker_offer import WorkerOffer

CAPTURE = "steps: [{tool: tcpdump, parameters: {interface: eth0}}]"


def offer(name="cap-1", queue="network.capture", seconds_ago=1.0, **more):
    standard = {"capabilities": ("net_raw",), "interfaces": ("eth0", "lo")}
    members = {"programs": {"tcpdump": "4.99"}, **standard, **more}
    queues = (queue, f"network.capture.{name}")
    return WorkerOffer(name, name, "capture", queues, 4, seconds_ago=seconds_ago, **members)


def fault_of(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


def test_what_needs_raw_sockets_goes_to_the_capture_queue(check):
    (step,) = check(CAPTURE).steps
    assert (step.domain, step.queue) == ("network", "network.capture")
    assert step.needs == {
        "programs": ["tcpdump"],
        "capabilities": ["net_raw"],
        "interface": "eth0",
        "vantage": None,
    }


def test_a_vantage_pins_a_step_to_a_host(check, farm):
    farm.workers = [offer("cap-1"), offer("cap-2")]
    text = CAPTURE.replace("tool: tcpdump", "tool: tcpdump, vantage: cap-2")
    assert check(text).steps[0].queue == "network.capture.cap-2"
    fault = fault_of(check, text.replace("cap-2", "cap-9"))
    assert (fault.code, fault.path) == ("no_worker", "steps[0].vantage")
    assert (fault.given, fault.allowed) == ("cap-9", "cap-1, cap-2")


def test_a_capability_that_nobody_offers_is_refused_by_name(check, farm):
    farm.workers = [offer(capabilities=())]
    fault = fault_of(check, CAPTURE)
    assert fault.code == "no_capability"
    assert fault.message == "no worker has offered net_raw in the last 24 h"
    assert fault.step == "1 (tcpdump)"
    assert fault.allowed == "tcpdump"
    assert "network.capture" in fault.hint


def test_a_worker_of_another_pool_does_not_count(check, farm):
    farm.workers = [WorkerOffer("a", "a", "automation", ("automation",), 4, {"tcpdump": ""})]
    with pytest.raises(PlanRejected) as caught:
        check(CAPTURE)
    assert {fault.code for fault in caught.value.faults} == {"no_capability"}


@pytest.mark.parametrize("absent", [{"seconds_ago": 31.0}, {"stopped": True}])
def test_a_capability_that_is_absent_now_is_a_warning(check, farm, absent):
    farm.workers = [offer(**absent)]
    assert check(CAPTURE).warnings == (
        "tcpdump waits: net_raw is absent now (seen on cap-1)",
        "tcpdump waits: tcpdump is absent now (seen on cap-1)",
        "tcpdump waits: eth0 is absent now (seen on cap-1)",
    )
    farm.workers.append(offer("cap-2"))
    assert check(CAPTURE).warnings == ()


def test_a_queue_that_nobody_serves_is_a_warning(check, farm):
    farm.workers = []
    assert check("steps: [{tool: df, target: web-01}]").warnings == (
        "df waits: no worker serves the queue automation now",
    )


def test_without_a_farm_no_worker_is_looked_for(check, farm):
    farm.workers = None
    assert check(CAPTURE).warnings == ()


def test_a_step_that_is_due_waits_for_its_worker(due, farm):
    text = (
        "steps:\n- {tool: df, id: a, target: web-01}\n"
        "- {tool: tcpdump, parameters: {interface: '{{ steps.a.summary }}'}}\n"
    )
    farm.workers = None
    step = due(text, {"a": {"summary": "eth1"}})
    assert step.needs["interface"] == "eth1"


def test_an_interface_that_nobody_has_is_refused_with_those_that_there_are(check, farm):
    farm.workers = [offer(), offer("cap-2", interfaces=("wlan0",))]
    fault = fault_of(check, CAPTURE.replace("eth0", "eth9"))
    assert (fault.path, fault.code) == ("steps[0].parameters.interface", "no_capability")
    assert fault.message == "no worker has offered the network interface eth9 in the last 24 h"
    assert (fault.given, fault.allowed) == ("eth9", "eth0, lo, wlan0")


def test_an_interface_of_another_host_does_not_count(check, farm):
    farm.workers = [offer("cap-1"), offer("cap-2", interfaces=("wlan0",))]
    text = CAPTURE.replace("tool: tcpdump", "tool: tcpdump, vantage: cap-2")
    assert fault_of(check, text).given == "eth0"
    assert check(text.replace("eth0", "wlan0")).warnings == ()


def test_a_step_that_may_come_to_the_wrong_host_is_warned_of(check, farm):
    farm.workers = [offer("cap-1"), offer("cap-2", interfaces=("wlan0",))]
    (warning,) = check(CAPTURE).warnings
    assert warning == "tcpdump may come to a host without eth0; say `vantage: cap-1`"


def test_an_interface_that_is_absent_now_is_a_warning(check, farm):
    farm.workers = [offer("cap-1", stopped=True), offer("cap-2", interfaces=("wlan0",))]
    assert "tcpdump waits: eth0 is absent now (seen on cap-1)" in check(CAPTURE).warnings


def test_any_stands_for_every_interface(check, farm):
    farm.workers = [offer()]
    assert check(CAPTURE.replace("eth0", "any")).warnings == ()
