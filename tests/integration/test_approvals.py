"""Approvals through the API, the client and the command line; the test plays the worker."""

import json
import os
import pty
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from select import select
from threading import Thread

import pytest
import requests

from app.errors import Conflict, Forbidden, Malformed, NotFound, PlanRejected
from app.firing import Firing
from app.principal import Role
from app.safety import DEFAULT_POLICY, read_policy
from app.store.outbox import Outbox
from tests.lab.command_line import COMMAND
from tests.lab.inventory import AssetBench
from tests.lab.waiting import wait_until
from workers.due import serve_due

STRICT = DEFAULT_POLICY.with_name("policy.strict.yaml")
TOUCH = {"tool": "command", "targets": "web-01", "confirm": "web-01",
         "parameters": {"argv": ["touch", "/tmp/canary"]}}  # fmt: skip
DF = {"tool": "df", "id": "disk"}
PLAN = {"steps": [DF, TOUCH | {"id": "touch"}]}
LATE = TOUCH | {"id": "late", "parameters": {"argv": ["touch", "/{{ steps.disk.state }}"]}}


@pytest.fixture
def web(api_farm):
    """web-01, in production, with a login."""
    bench = AssetBench(api_farm.parts.engine)
    made = bench.run(
        "asset-create", hostname="web-01", ip_address="192.0.2.1", environment="production"
    )
    enter_login(api_farm, "deploy-key")
    return made.output


def enter_login(api_farm, name, user="deploy"):
    with api_farm.client(Role.ADMIN) as admin:
        login = {"name": name, "assets": ["web-01"], "username": user, "password": "canary"}
        admin.http.post("/credentials", login)


@pytest.fixture
def use_policy(api_farm):
    """`use_policy(path)`: the farm goes on under another policy."""

    def use(path):
        rules = replace(api_farm.parts.rules, policy=read_policy(path))
        api_farm.change_parts(rules=rules)

    return use


@pytest.fixture
def four_eyes(use_policy):
    use_policy(STRICT)


@pytest.fixture
def farm(api_farm, web):
    """The client of an operator."""
    with api_farm.client(Role.OPERATOR) as farm:
        yield farm


@pytest.fixture
def ann(api_farm):
    """The client of an approver."""
    with api_farm.client(Role.APPROVER) as farm:
        yield farm


def states(execution):
    return [row["state"] for step in execution.status()["steps"] for row in step["results"]]


def work(api_farm, execution):
    """The test runs what is queued, and renders what is due, to the end."""
    while api_farm.queued(execution.id):
        api_farm.work(execution.id)
        serve_due(api_farm.parts, Outbox(api_farm.parts.autocommit))
    return execution.status()


def told(execution):
    """The events of approvals, each with who, from where and why."""
    return [
        (event["kind"], event["actor"], event["data"].get("from"), event["data"].get("reason"))
        for event in execution.events()
        if event["kind"].startswith("approval.")
    ]


def unchanged(execution, error, match, refused):
    before = execution.status(), execution.approvals()
    with pytest.raises(error, match=match):
        refused()
    assert (execution.status(), execution.approvals()) == before


# The embedded policy: a reason.


def test_a_reason_with_the_plan_is_the_approval(api_farm, farm):
    execution = farm.submit(PLAN, reason="disk full")
    assert execution.state == "running"
    assert work(api_farm, execution)["state"] == "succeeded"
    assert execution.status()["reason"] == "disk full"
    [approval] = execution.approvals()
    assert (approval["decision"], approval["decided_by"]) == ("approved", "test-operator")
    assert told(execution) == [
        ("approval.asked", "test-operator", "http", "disk full"),
        ("approval.approved", "test-operator", "http", "disk full"),
    ]


def test_without_a_reason_nothing_begins_before_one_is_given(api_farm, farm):
    execution = farm.submit(PLAN)
    assert (execution.state, states(execution)) == ("waiting", ["waiting", "pending"])
    assert api_farm.queued(execution.id) == []
    unchanged(execution, Conflict, "needs a reason", execution.approve)
    assert execution.approve("disk full")["state"] == "running"
    assert work(api_farm, execution)["state"] == "succeeded"
    assert told(execution) == [
        ("approval.asked", "test-operator", "http", None),
        ("approval.approved", "test-operator", "127.0.0.1", "disk full"),
    ]


def test_what_destroys_nothing_asks_nobody(farm):
    execution = farm.submit({"steps": [DF]})
    assert execution.state == "running"
    assert execution.approvals() == []


def test_somebody_elses_plan_takes_an_approver(api_farm, farm, ann):
    execution = farm.submit(PLAN)
    other = api_farm.parts.principals.add("default", "bob", Role.OPERATOR)[1]
    bob = type(farm)(api_farm.url, other).execution(execution.id)
    unchanged(execution, Forbidden, "not among those", lambda: bob.approve("because"))
    ann.execution(execution.id).approve("because")
    assert states(execution) == ["queued", "pending"]


def test_the_same_key_is_the_same_plan_whatever_the_reason(farm):
    first = farm.submit(PLAN, key="mine", reason="one")
    again = farm.submit(PLAN, key="mine", reason="two")
    assert again.id == first.id
    assert again.status()["reason"] == "one"


def test_a_rerun_wants_a_reason_of_its_own(api_farm, farm):
    first = farm.submit(PLAN, reason="disk full")
    work(api_farm, first)
    assert first.rerun().state == "waiting"
    again = first.rerun(reason="once more")
    assert (again.state, again.status()["reason"]) == ("running", "once more")


def test_a_reason_stands_beside_the_plan(farm):
    for text, at in (
        ({**PLAN, "reason": "x"}, "reason"),
        ({"plan": PLAN, "reason": ""}, "reason"),
        ({"plan": PLAN, "reason": "x" * 501}, "reason"),
    ):
        with pytest.raises(Exception, match="fault") as caught:
            farm.http.post("/execute-plan", text)
        assert caught.value.faults[0].path == at


# Four eyes.


@pytest.mark.usefixtures("four_eyes")
class TestFourEyes:
    def test_the_approver_sees_exactly_what_will_run(self, farm, ann, web):
        execution = farm.submit(PLAN, reason="disk full")
        [listed] = ann.approvals()
        assert listed["execution_id"] == execution.id
        approval = ann.approval(listed["id"])
        assert approval.items() >= {k: v for k, v in listed.items() if k != "steps"}.items()
        touch = {"tool": "command", "operation": "run", "effect": "destroy", "targets": 1}
        assert listed["steps"] == [touch | {"position": 2, "id": "touch"}]
        assert "shown" not in listed
        assert (approval["principal"], approval["asked_why"]) == ("test-operator", "disk full")
        assert approval["needed"] == {"who": "other", "groups": {"approver": 1}}
        [step] = approval["shown"]["steps"]
        [command] = step["commands"]
        assert command["command"]["argv"] == ["touch", "/tmp/canary"]
        [target] = command["targets"]
        assert (target["name"], target["asset_id"]) == ("web-01", web["id"])
        assert (target["address"], target["credential"]) == ("192.0.2.1", "deploy-key")

    def test_somebody_else_lets_it_run(self, api_farm, farm, ann):
        execution = farm.submit(PLAN)
        shown = ann.execution(execution.id).approve("looks right")
        assert shown["state"] == "running"
        assert work(api_farm, execution)["state"] == "succeeded"
        assert told(execution)[1:] == [
            ("approval.approved", "test-approver", "127.0.0.1", "looks right")
        ]

    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
    def test_ones_own_plan_is_refused(self, api_farm, farm, role):
        with api_farm.client(role) as client:
            execution = client.submit(PLAN, reason="I know what I do")
            unchanged(
                execution, Forbidden, "it is your own plan", lambda: execution.approve("sure")
            )

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
    def test_somebody_without_the_role_is_refused(self, api_farm, farm, role):
        with api_farm.client(Role.ADMIN) as admin, api_farm.client(role) as other:
            execution = admin.submit(PLAN)
            held = other.execution(execution.id)
            unchanged(execution, Forbidden, "not among those", lambda: held.approve("sure"))
            unchanged(execution, Forbidden, "may not reject", lambda: held.reject("no"))

    def test_a_no_cancels_all_of_it(self, farm, ann):
        execution = farm.submit(PLAN)
        shown = ann.execution(execution.id).reject("not before six")
        assert (shown["state"], states(execution)) == ("cancelled", ["cancelled"] * 2)
        assert shown["cancel_reason"] == "not approved: not before six"
        assert told(execution)[1:] == [
            ("approval.rejected", "test-approver", "127.0.0.1", "not before six")
        ]
        held = ann.execution(execution.id)
        unchanged(execution, Conflict, "decided already: rejected by test-approver", held.approve)

    def test_whoever_asked_may_take_it_back(self, farm):
        execution = farm.submit(PLAN)
        assert execution.reject("the wrong host")["state"] == "cancelled"

    def test_it_is_approved_once(self, farm, ann):
        execution = farm.submit(PLAN)
        held = ann.execution(execution.id)
        held.approve()
        unchanged(execution, Conflict, "decided already: approved by test-approver", held.approve)
        unchanged(execution, Conflict, "decided already", lambda: held.reject("no"))

    def test_it_expires(self, farm, ann, api_farm):
        execution = farm.submit({**PLAN, "approval_timeout_s": 1})
        held = ann.execution(execution.id)
        time.sleep(1.1)  # a second is the least that a plan may say
        unchanged(execution, Conflict, "it expired", held.approve)
        assert Outbox(api_farm.parts.autocommit).expire_approvals() == 1
        assert execution.status()["state"] == "cancelled"
        unchanged(execution, Conflict, "decided already: expired", held.approve)
        assert told(execution)[1:] == [("approval.expired", None, None, "nobody answered in time")]

    def test_a_plan_may_ask_for_less_time_and_never_for_more(self, api_farm, farm):
        rules = replace(api_farm.parts.rules, approval_timeout_s=600.0)
        api_farm.change_parts(rules=rules)
        open_s = []
        for members in ({}, {"approval_timeout_s": 60}, {"approval_timeout_s": 6000}):
            farm.submit({**PLAN, **members})
        for each in farm.approvals():
            asked, ends = (
                time.mktime(time.strptime(each[name][:19], "%Y-%m-%dT%H:%M:%S"))
                for name in ("asked_at", "expires_at")
            )
            open_s.append(round(ends - asked, -1))
        assert open_s == [600, 60, 600]  # the newest first

    def test_a_step_that_does_not_wait_is_refused_with_its_state(self, api_farm, farm, ann):
        execution = farm.submit({"steps": [DF]})
        held = ann.execution(execution.id)
        unchanged(execution, Conflict, "waits for no approval; it is running", held.approve)
        unchanged(
            execution, Conflict, "step disk waits for no approval; it is queued",
            lambda: held.approve(step="disk"),
        )  # fmt: skip
        unchanged(execution, Conflict, "has no step 'dsik'", lambda: held.approve(step="dsik"))
        other = farm.submit(PLAN)
        held = ann.execution(other.id)
        words = "step disk waits for no approval; it is waiting, and the execution waits for touch"
        unchanged(other, Conflict, words, lambda: held.approve(step="disk"))

    def test_another_digest_than_what_was_looked_at_is_refused(self, farm, ann):
        execution = farm.submit(PLAN)
        held = ann.execution(execution.id)
        [approval] = held.approvals()
        unchanged(execution, Conflict, "has another digest", lambda: held.approve(digest="0" * 64))
        held.approve(digest=approval["digest"][:12])
        assert states(execution)[0] == "queued"

    def test_a_login_that_changed_meanwhile_is_refused(self, api_farm, farm, ann):
        execution = farm.submit(PLAN)
        time.sleep(0.01)
        enter_login(api_farm, "newer-key")
        held = ann.execution(execution.id)
        words = "credential of web-01 was deploy-key as deploy, is newer-key as deploy"
        unchanged(execution, Conflict, words, held.approve)

    def test_a_login_of_the_same_name_is_another_one_for_another_user(self, api_farm, farm, ann):
        execution = farm.submit(PLAN)
        enter_login(api_farm, "deploy-key", user="root")
        held = ann.execution(execution.id)
        words = "credential of web-01 was deploy-key as deploy, is deploy-key as root"
        unchanged(execution, Conflict, words, held.approve)
        enter_login(api_farm, "deploy-key")  # a new password is the same login
        assert held.approve()["state"] == "running"

    @pytest.mark.parametrize(
        ("members", "words"),
        [
            ({"ip_address": "192.0.2.9"}, "the address of web-01 was 192.0.2.1, is 192.0.2.9"),
            ({"connection": {"port": 2222}}, "the port of web-01 was None, is 2222"),
            ({"connection": {"host_key": ["ssh-ed25519 AAAA"]}}, "the connection of web-01"),
            ({"new_hostname": "web-09"}, "the name of web-01 was web-01, is web-09"),
            ({"status": "retired"}, "web-01 is gone, in maintenance or retired"),
        ],
    )
    def test_an_asset_that_is_elsewhere_by_now_is_refused(
        self, api_farm, farm, ann, members, words
    ):
        execution = farm.submit(PLAN)
        bench = AssetBench(api_farm.parts.engine)
        bench.run("asset-update", hostname="web-01", **members)
        held = ann.execution(execution.id)
        unchanged(execution, Conflict, words, held.approve)
        assert held.reject("submit it again")["state"] == "cancelled"

    def test_a_tool_file_that_changed_meanwhile_is_refused(self, api_farm, farm, ann):
        execution = farm.submit(PLAN)
        tools = dict(api_farm.parts.catalog.tools)
        tools["command"] = tools["command"].model_copy(update={"digest": "another"})
        api_farm.change_parts(catalog=replace(api_farm.parts.catalog, tools=tools))
        held = ann.execution(execution.id)
        unchanged(execution, Conflict, "the file of command changed", held.approve)

    def test_a_change_is_asked_for_in_production_only(self, api_farm, farm, web):
        AssetBench(api_farm.parts.engine).run("asset-create", hostname="dev-01")
        given = {"path": "/tmp/canary", "mode": "600"}
        change = {"tool": "chmod", "operation": "set", "parameters": given}
        states = {
            name: farm.submit({"steps": [change | {"targets": name}]}).state
            for name in ("web-01", "dev-01")
        }
        assert states == {"web-01": "waiting", "dev-01": "running"}
        shown = farm.check({"steps": [change | {"targets": ["web-01", "dev-01"]}]})
        assert shown["approval"] == {"who": "other", "groups": {"approver": 1}}

    def test_check_and_dry_run_say_what_needs_whose_yes(self, farm):
        for shown in (farm.check(PLAN), farm.dry_run(PLAN)):
            needs = {step["id"]: step["approval"] for step in shown["steps"]}
            assert needs == {"disk": None, "touch": {"who": "other", "groups": {"approver": 1}}}
        assert farm.executions() == []

    def test_a_dynamic_step_is_asked_for_when_it_is_due(self, api_farm, farm, ann):
        execution = farm.submit({"steps": [DF, LATE, {"tool": "df", "id": "after"}]})
        assert execution.state == "running"
        work(api_farm, execution)
        assert (execution.status()["state"], states(execution)) == (
            "waiting",
            ["succeeded", "waiting", "pending"],
        )
        [approval] = ann.approvals()
        [step] = ann.approval(approval["id"])["shown"]["steps"]
        assert step["commands"][0]["command"]["line"] == "touch /succeeded"
        ann.execution(execution.id).approve(step="late")
        assert work(api_farm, execution)["state"] == "succeeded"

    def test_two_that_wait_side_by_side_are_named(self, api_farm, farm, ann):
        AssetBench(api_farm.parts.engine).run("asset-create", hostname="web-02")
        other = LATE | {"id": "other", "targets": "web-02", "confirm": "web-02"}
        execution = farm.submit({"steps": [DF, {"parallel": [LATE, other]}]})
        work(api_farm, execution)
        held = ann.execution(execution.id)
        unchanged(execution, Conflict, "waits for 2 approvals: late, other", held.approve)
        held.approve(step="other")
        assert states(execution) == ["succeeded", "waiting", "queued"]
        held.reject("no", step="2")
        assert states(execution) == ["succeeded", "cancelled", "queued"]


def test_the_list_comes_in_pages_the_newest_first(farm, ann):
    executions = [farm.submit(PLAN).id for _ in range(5)]
    seen, before = [], None
    while True:
        page = ann.http.get("/approvals", limit=2, before=before)
        seen += [each["execution_id"] for each in page["approvals"]]
        before = page["next_before"]
        if before is None:
            break
    assert seen == executions[::-1]
    ann.execution(executions[0]).reject("no")
    assert len(ann.approvals()) == 4
    assert [each["decision"] for each in ann.approvals(everything=True)] == [None] * 4 + [
        "rejected"
    ]
    with pytest.raises(NotFound, match="no approval 4711"):
        ann.approval(4711)
    for bad in ({"limit": 0}, {"limit": 501}, {"before": 0}):
        with pytest.raises(Malformed):
            ann.http.get("/approvals", **bad)


def test_a_list_tells_little_of_what_is_long(api_farm, farm, ann):
    bench = AssetBench(api_farm.parts.engine)
    names = [f"fleet-{number}" for number in range(60)]
    for name in names:
        bench.run("asset-create", hostname=name)
    farm.submit({"steps": [TOUCH | {"id": "t", "targets": names, "confirm": names}]})
    [listed] = ann.approvals()
    assert [step["targets"] for step in listed["steps"]] == [60]
    assert len(json.dumps(listed)) < 1000 < len(json.dumps(ann.approval(listed["id"])))


def test_so_many_of_a_group(api_farm, farm, use_policy, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "approval: [{effect: destroy, need: {group: web, count: 2}}]\n"
        "groups: {web: [test-operator, bob, eve]}\n"
    )
    use_policy(policy)
    clients = {
        name: type(farm)(api_farm.url, api_farm.parts.principals.add("default", name, role)[1])
        for name, role in (("bob", Role.OPERATOR), ("eve", Role.VIEWER), ("mia", Role.ADMIN))
    }
    execution = farm.submit(PLAN)
    held = {name: client.execution(execution.id) for name, client in clients.items()}
    unchanged(execution, Forbidden, "it is your own plan", lambda: execution.approve("me, too"))
    unchanged(execution, Forbidden, "not among those", lambda: held["mia"].approve("I may all"))
    assert held["bob"].approve()["state"] == "waiting"
    unchanged(execution, Conflict, "approved it already", held["bob"].approve)
    assert held["eve"].approve()["state"] == "running"
    given = execution.approvals()[0]["given"]
    assert [each["name"] for each in given] == ["bob", "eve"]
    assert work(api_farm, execution)["state"] == "succeeded"
    assert [event[:2] for event in told(execution)] == [
        ("approval.asked", "test-operator"),
        ("approval.given", "bob"),
        ("approval.approved", "eve"),
    ]
    for client in clients.values():
        client.close()


def test_the_yes_of_whoever_was_revoked_since_does_not_count(api_farm, farm, use_policy, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "approval: [{effect: destroy, need: {group: web, count: 2}}]\n"
        "groups: {web: [bob, eve, mia]}\n"
    )
    use_policy(policy)
    execution = farm.submit(PLAN)
    said = []
    for name in ("bob", "eve", "mia"):
        key = api_farm.parts.principals.add("default", name, Role.VIEWER)[1]
        with type(farm)(api_farm.url, key) as client:
            said.append(client.execution(execution.id).approve()["state"])
        if name == "bob":
            api_farm.parts.principals.revoke("default", name)
    assert said == ["waiting", "waiting", "running"]


def test_a_request_is_one_that_it_takes(api_farm, farm):
    execution = farm.submit(PLAN)
    headers = {"Authorization": f"Bearer {api_farm.keys[Role.APPROVER]}"}
    url = f"{api_farm.url}/executions/{execution.id}"
    bodies = {
        "reject": [{}, {"reason": ""}, {"reason": " "}],
        "approve": [{"digest": "short"}, {"yes": True}, {"reason": "x" * 501}],
    }
    for word, given in bodies.items():
        for body in (*given, {"reason": "a\0b"}):
            answer = requests.post(f"{url}/{word}", json=body, headers=headers, timeout=10)
            assert answer.status_code == 400, answer.text
    assert states(execution) == ["waiting", "pending"]


def test_what_looks_like_a_secret_is_kept_of_no_reason(api_farm, farm, ann, engine):
    secret = "password=canary-4711"
    execution = farm.submit(PLAN, reason=f"a {secret}")
    farm.submit(PLAN).approve(f"b {secret}")
    farm.submit(PLAN).reject(f"c {secret}")
    farm.submit(PLAN).cancel(f"d {secret}")
    body = {"name": "nightly", "plan": PLAN, "interval_s": 60, "reason": f"e {secret}"}
    assert farm.http.post("/schedules", body)["reason"] == "e password=***"
    assert execution.status()["reason"] == "a password=***"
    with engine.connect() as connection:
        for table in ("executions", "steps", "approvals", "events", "schedules"):
            kept = connection.exec_driver_sql(f"select t::text from {table} t").scalars().all()
            assert kept
            assert "canary-4711" not in "".join(kept)


def test_a_reason_to_cancel_is_one_that_can_be_kept(api_farm, farm):
    execution = farm.submit(PLAN)
    with pytest.raises(Malformed, match="cannot be read"):
        execution.cancel("a\0b")
    assert states(execution) == ["waiting", "pending"]


def test_a_schedule_carries_its_reason(api_farm, farm):
    body = {"name": "nightly", "plan": PLAN, "interval_s": 60, "reason": "every night"}
    assert farm.http.post("/schedules", body)["reason"] == "every night"
    for reason in ("", "a\0b", "two\nlines", "x" * 501):
        with pytest.raises(PlanRejected) as caught:
            farm.http.post("/schedules", body | {"name": "other", "reason": reason})
        assert [fault.path for fault in caught.value.faults] == ["reason"]


def test_what_a_schedule_starts_has_its_reason(api_farm, farm):
    body = {"name": "nightly", "plan": PLAN, "interval_s": 60, "reason": "every night"}
    farm.http.post("/schedules", body)
    later = datetime.now(UTC) + timedelta(seconds=61)
    Firing(api_farm.parts, clock=lambda: later).run_once()
    [execution] = farm.executions()
    assert (execution["state"], execution["source"]) == ("running", "schedule:nightly")
    assert execution["reason"] == "every night"
    assert farm.execution(execution["execution_id"]).approvals()[0]["decision"] == "approved"


# The command line.

DELETE = ("run", "asset-delete", "hostname=web-01", "confirm=true")


class TestCommandLine:
    def test_without_a_terminal_it_says_which_option_to_give(self, farm, opsfarm):
        status, _, notes = opsfarm(*DELETE)
        [execution] = farm.executions()
        assert (status, execution["state"]) == (3, "waiting")
        assert any("--reason TEXT" in line and "at once" in line for line in notes)
        approve = f"opsfarm executions approve {execution['execution_id']} --reason TEXT"
        assert any(approve in line for line in notes)

    def test_a_reason_on_the_line_is_enough(self, api_farm, farm, begin):
        process, execution_id, step = begin(*DELETE, "--reason", "sold")
        assert step.tool == "asset-delete"
        api_farm.finish(step, output={})
        assert process.end()[0] == 0
        assert farm.execution(execution_id).status()["reason"] == "sold"

    def test_a_terminal_asks(self, api_farm, farm):
        status, shown = on_a_terminal(api_farm, DELETE, "sold\n")
        assert '"hostname": "web-01"' in shown
        assert "Why" in shown
        assert status == 0, shown
        [execution] = farm.executions()
        [approval] = farm.execution(execution["execution_id"]).approvals()
        assert (approval["decision"], approval["reason"]) == ("approved", "sold")

    def test_a_terminal_without_an_answer_waits(self, api_farm, farm):
        status, shown = on_a_terminal(api_farm, DELETE, "\n")
        assert status == 3, shown
        assert farm.executions()[0]["state"] == "waiting"

    def test_approve_shows_what_it_approves(self, api_farm, farm, opsfarm):
        execution = farm.submit(PLAN)
        approver = {"role": Role.APPROVER}
        status, listed, _ = opsfarm("approvals", "list", **approver)
        assert execution.id in listed
        assert "a reason from test-operator" in listed
        status, out, notes = opsfarm(
            "executions", "approve", execution.id[:13], "--reason", "fine", **approver
        )
        assert status == 0
        assert "touch /tmp/canary" in out
        assert "web-01 (192.0.2.1, credential deploy-key as deploy)" in out
        assert f"execution {execution.id}: running" in notes
        shown = opsfarm("approvals", "show", execution.id, **approver)[1]
        assert "approved by test-approver: fine" in shown
        [number] = [each["id"] for each in farm.approvals(everything=True)]
        assert opsfarm("approvals", "show", str(number), **approver)[1] == shown
        assert opsfarm("executions", "approve", execution.id, "--reason", "x", **approver)[0] == 2

    def test_reject_wants_a_reason(self, farm, opsfarm):
        execution = farm.submit(PLAN)
        assert opsfarm("executions", "reject", execution.id)[0] == 2
        assert execution.status()["state"] == "waiting"
        status, _, notes = opsfarm("executions", "reject", execution.id, "--reason", "no")
        assert status == 0
        assert f"execution {execution.id}: cancelled" in notes

    def test_watching_what_waits_ends_with_3(self, api_farm, farm, opsfarm, four_eyes):
        execution = farm.submit({"steps": [DF, LATE]})
        process = Thread(target=work, args=(api_farm, execution))
        process.start()
        status, _, notes = opsfarm("executions", "watch", execution.id)
        process.join()
        assert status == 3
        assert any("the yes of an approver, other than test-operator" in line for line in notes)

    def test_check_and_dry_run_name_the_need(self, farm, opsfarm, tmp_path):
        plan = tmp_path / "plan.yaml"
        plan.write_text(
            "steps: [{tool: command, targets: web-01, confirm: web-01,"
            " parameters: {argv: [touch, /x]}}]"
        )
        assert "a reason" in opsfarm("plan", "check", str(plan))[1]
        assert "needs a reason before it runs" in opsfarm("plan", "dry-run", str(plan))[1]


def on_a_terminal(api_farm, argv, typed):
    """Run the command line on a terminal: (exit status, all that it showed)."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path.cwd()),
        "TERM": "dumb",
        "OPSFARM_API_URL": api_farm.url,
        "OPSFARM_API_KEY": api_farm.keys[Role.OPERATOR],
    }
    child, terminal = pty.fork()
    if child == 0:
        os.execve(COMMAND[0], [*COMMAND, *argv], environment)
    shown = read_until(terminal, "Why")
    os.write(terminal, typed.encode())
    worker = Thread(target=finish_all, args=(api_farm,))
    worker.start()
    shown += read_until(terminal, None)
    worker.join()
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


def read_until(terminal, part):
    """What a terminal shows until it holds `part`; None: until its program has ended."""
    shown = ""
    while part is None or part not in shown:
        ready, _, _ = select([terminal], [], [], 30)
        assert ready, shown
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # the other end is gone
            assert part is None, shown
            break
    return shown


def finish_all(api_farm):
    """Play the worker once the answer was typed; where it was none, there is nothing to do."""
    [execution] = api_farm.parts.records.list_executions("default")
    with suppress(AssertionError):
        wait_until(lambda: api_farm.queued(execution["execution_id"]), "a queued row", 3)
        api_farm.finish(api_farm.claim(execution["execution_id"]), output={})
