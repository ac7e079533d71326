"""The demo's plan and its verdict: each thing that is missing fails it."""

import json
from dataclasses import replace
from email.message import EmailMessage

import pytest
import yaml

from app.admin.demo import PLAN, Stage, fill_plan, find_why_no_capture
from app.admin.demo_report import Seen, find_failures
from app.admin.receivers import Hook, Mailbox

EXECUTION = "0190a5d2-0000-7000-8000-00000000cafe"
STAGE = Stage("demo-1", "hello", Mailbox(25), Hook("http://127.0.0.1:9/hook"), 11, 22, "demo-smtp")


def mail(subject=f"opsfarm demo: execution {EXECUTION}"):
    message = EmailMessage()
    message["To"] = "operator@example.com"
    message["Subject"] = subject
    return message


def step(key, output):
    return {"id": key, "state": "succeeded", "summary": "", "output": output}


def seen(**more):
    steps = [
        step("create", {"id": 3}),
        step("probe", {"port": 11, "state": "open", "banner": "hello"}),
        step("packets", "1.2 IP 127.0.0.1.5 > 127.0.0.1.22: UDP, length 5"),
    ]
    found = Seen(
        execution={"execution_id": EXECUTION, "state": "succeeded", "steps": steps},
        hostname="demo-1",
        greeting="hello",
        greeting_port=11,
        packet_port=22,
        mails=(mail(),),
        bodies=(json.dumps({"execution": EXECUTION}),),
        why_no_capture="",
        asset={"id": 3},
    )
    return replace(found, **more)


def test_when_all_is_there_nothing_failed():
    assert find_failures(seen()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"asset": None}, "database"),
        ({"asset": {"id": 4}}, "database"),
        ({"mails": ()}, "mail"),
        ({"mails": (mail("opsfarm demo: execution other"),)}, "mail"),
        ({"bodies": ()}, "webhook"),
        ({"bodies": ("no json", '{"execution": "other"}', "[]")}, "webhook"),
        ({"greeting_port": 12}, "probe"),
        ({"greeting": "another"}, "probe"),
        ({"packet_port": 23}, "capture"),
    ],
)
def test_each_missing_thing_fails_the_demo(more, words):
    [failure] = find_failures(seen(**more))
    assert words in failure


def test_a_failed_plan_fails_the_demo():
    failed = seen().execution | {"state": "failed"}
    assert find_failures(seen(execution=failed)) == ["the plan did not succeed"]


def test_where_nothing_can_be_captured_no_packet_is_asked_for():
    assert find_failures(seen(packet_port=23, why_no_capture="no raw sockets")) == []


def capture_worker(**more):
    return {
        "pool": "capture",
        "capabilities": ["net_raw"],
        "programs": {"tcpdump": "4.99"},
        "interfaces": ["lo"],
        **more,
    }


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ([capture_worker()], ""),
        ([], "raw sockets"),
        ([capture_worker(pool="network")], "raw sockets"),
        ([capture_worker(capabilities=[])], "raw sockets"),
        ([capture_worker(stopped=True)], "raw sockets"),
        ([capture_worker(programs={})], "tcpdump is not installed"),
        ([capture_worker(interfaces=["eth0"])], "interface named lo"),
    ],
)
def test_why_nothing_can_be_captured(workers, words):
    why = find_why_no_capture(workers)
    assert words in why if words else why == ""


def test_the_plan_is_filled_in_and_keeps_types():
    document = yaml.safe_load(PLAN.read_text())
    plan = fill_plan(document, STAGE, capture=True)
    steps = {step["id"]: step for step in plan["steps"]}
    assert steps["create"]["parameters"]["hostname"] == "demo-1"
    assert steps["probe"]["parameters"]["port"] == 11
    assert steps["capture"]["parameters"]["filter"] == "udp dst port 22"
    assert steps["mail"]["parameters"]["server"] == {"$secret": "demo-smtp"}
    assert steps["webhook"]["parameters"]["url"] == "http://127.0.0.1:9/hook"
    assert "<" not in json.dumps(plan)


def test_without_capture_its_steps_are_left_out():
    document = yaml.safe_load(PLAN.read_text())
    ids = [step["id"] for step in fill_plan(document, STAGE, capture=False)["steps"]]
    assert {"capture", "packets"} & set(ids) == set()
    assert len(ids) == len(document["steps"]) - 2


def test_every_domain_acts():
    tools = {step["tool"] for step in yaml.safe_load(PLAN.read_text())["steps"]}
    assert {"asset-create", "df", "tcp-analyzer", "sendmail", "webhook-sender"} <= tools
