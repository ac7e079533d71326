"""Plans through all four domains, from the command line to the world and back."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from app.farm_execution import read_event_stream
from tests.lab.real_farm import RealFarm, Servers, wait_until
from tests.lab.receivers import Receiver
from tests.lab.smtp import MailServer
from tests.lab.sshd import start_sshd

PLAN = Path(__file__).with_name("journey.yaml").read_text()
HOSTS = ("web-01", "web-02", "web-03")
#: What a step that destroys wants.
WHY = ("--reason", "the test wants to see it")
PROCESSES = ("api", "dispatcher", "comms", "asset", "network", "automation")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(server_folder):
    with Servers(server_folder / "journey") as servers:
        yield servers


@pytest.fixture(scope="module")
def mail():
    with MailServer() as mail:
        yield mail


@pytest.fixture(scope="module")
def hook():
    with Receiver() as hook:
        yield hook


@pytest.fixture(scope="module")
def hosts(server_folder, require_program):
    """Three real sshd, by host name."""
    program = require_program("sshd")
    hosts = {name: start_sshd(server_folder / f"ssh-{name}", program) for name in HOSTS}
    yield hosts
    for host in hosts.values():
        host.stop()


@pytest.fixture(scope="module")
def farm(servers, mail, hosts, server_folder):
    """Every process that a plan needs, and three hosts with their logins in the inventory."""
    settings = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mail.port),
        "SMTP_USE_TLS": "off",
        "SMTP_FROM": "opsfarm@example.com",
        "OPSFARM_ALLOW_PRIVATE": "127.0.0.1",
    }
    with RealFarm(servers, server_folder / "journey-farm", *PROCESSES, settings=settings) as farm:
        for name, host in hosts.items():
            enter_host(farm, name, host, {"role": "web"})
        yield farm
    assert farm.tracebacks() == [], farm.logs()["api"]


def enter_host(farm, name, host, tags):
    farm.enter(replace(host.target, name=name), host.credential, tags=tags)


@pytest.fixture
def run(farm, tmp_path):
    """`run(text)`: what `opsfarm plan run FILE --json` gives: (exit status, JSON, notes)."""

    def run(text, *options, **settings):
        process = start(farm, tmp_path, text, *options, **settings)
        out, err = process.communicate(timeout=60)
        return process.returncode, json.loads(out) if out else None, err

    return run


def start(farm, folder, text, *options, **settings):
    file = folder / "plan.yaml"
    file.write_text(text)
    return farm.opsfarm("plan", "run", str(file), "--json", *options, **settings)


def fill(**values):
    """The journey's plan with its places filled in."""
    text = PLAN
    for name, value in values.items():
        text = text.replace(f"<{name}>", str(value))
    return text


def by_id(execution):
    return {step["id"]: step for step in execution["steps"]}


class TestJourney:
    def test_through_all_four_domains(self, servers, hook, run):
        before = len(hook.received)
        text = fill(hostname="journey-01", port=hook.port, path="/", hook=hook.url)
        status, execution, notes = run(text)
        assert (status, execution["state"]) == (0, "succeeded"), notes
        steps = by_id(execution)
        assert {name: step["state"] for name, step in steps.items()} == {
            "record": "succeeded",
            "port": "succeeded",
            "disk": "succeeded",
            "place": "succeeded",
            "found": "succeeded",
            "mail": "skipped",
            "report": "succeeded",
        }
        workers = {row["worker"] for step in steps.values() for row in step["results"]}
        assert workers == {
            f"{pool}@test-host" for pool in ("asset", "network", "automation", "comms")
        } | {None}
        assert [row["target"] for row in steps["disk"]["results"]] == list(HOSTS)
        assert all(row["output"][0]["mount"] == "/" for row in steps["disk"]["results"])
        row = servers.ask("select id from assets where hostname = 'journey-01'")
        [report] = [r.json for r in hook.received[before:] if r.method == "POST"]
        assert report["execution"] == execution["execution_id"]
        assert (report["state"], report["asset"]) == ("succeeded", row)
        assert report["hosts"] == list(HOSTS)
        assert report["failed"] == []
        assert "journey-01" in json.dumps(report["found"])

    def test_a_step_that_may_fail_lets_the_plan_go_on(self, hook, mail, run):
        before = len(hook.received)
        path = "/no/such/place"
        status, execution, _ = run(
            fill(hostname="journey-02", port=hook.port, path=path, hook=hook.url)
        )
        assert (status, execution["state"]) == (1, "failed")
        steps = by_id(execution)
        assert (steps["place"]["state"], steps["place"]["reason"]) == ("failed", "not_found")
        assert steps["mail"]["state"] == "succeeded"
        [arrived] = [m for m in mail.mails if m.recipients == ["ops@example.com"]]
        text = arrived.content.decode()
        assert f"3 hosts, asset {steps['record']['output']['id']}" in text
        assert f"place: {steps['place']['summary']}, port: open" in text
        assert path in steps["place"]["summary"]
        [report] = [r.json for r in hook.received[before:] if r.method == "POST"]
        assert report["state"] == "failed"

    def test_a_dead_host_is_named(self, hook, hosts, run):
        before = len(hook.received)
        hosts["web-03"].stop()
        status, execution, _ = run(
            fill(hostname="journey-03", port=hook.port, path="/", hook=hook.url)
        )
        disk = by_id(execution)["disk"]
        assert (status, disk["state"], disk["failed"]) == (1, "failed", True)
        assert disk["failed_targets"] == ["web-03"]
        assert [row["state"] for row in disk["results"]] == ["succeeded", "succeeded", "failed"]
        assert disk["results"][2]["reason"] == "unreachable"
        assert disk["summary"] == "2 of 3 targets succeeded; not: web-03 (unreachable)"
        [report] = [r.json for r in hook.received[before:] if r.method == "POST"]
        assert report["failed"] == ["web-03"]
        assert report["hosts"] == list(HOSTS)

    def test_a_failure_stops_the_plan_but_not_its_end(self, hook, run):
        before = len(hook.received)
        status, execution, _ = run(
            f"""
steps:
- {{tool: df, id: first, targets: local, parameters: {{path: /no/such/place}}}}
- {{tool: df, id: second, targets: local}}
- {{tool: df, id: third, targets: "{{{{ steps.first.failed_targets }}}}"}}
finally:
- tool: webhook-sender
  parameters: {{url: "{hook.url}", json: {{second: "{{{{ steps.second.state }}}}",
               state: "{{{{ execution.state }}}}"}}}}
"""
        )
        assert (status, execution["state"]) == (1, "failed")
        states = [step["state"] for step in execution["steps"]]
        assert states == ["failed", "skipped", "skipped", "succeeded"]
        assert [r.json for r in hook.received[before:]] == [
            {"second": "skipped", "state": "failed"}
        ]


class TestRetries:
    def test_a_step_is_tried_again_until_it_succeeds(self, farm, tmp_path, run):
        place = tmp_path / "later"
        plan = {
            "steps": [
                {
                    "tool": "df",
                    "targets": "local",
                    "parameters": {"path": str(place)},
                    "retries": {"max": 5, "backoff_s": 0.2},
                }
            ]
        }
        answer = farm.call("POST", "/execute-plan", json=plan).json()
        path = answer["events_url"].removeprefix(farm.url)
        kinds = []
        with farm.call("GET", path, stream=True) as stream:
            for _, event in read_event_stream(stream.iter_lines()):
                kinds.append(event["kind"])
                if event["kind"] == "step.queued" and not place.exists():
                    assert "later" in event["data"]["summary"]
                    place.mkdir()
        assert kinds[:4] == ["execution.accepted", "step.running", "step.queued", "step.running"]
        assert kinds[-2:] == ["step.succeeded", "execution.finished"]
        execution = farm.call("GET", f"/executions/{answer['execution_id']}").json()
        assert execution["state"] == "succeeded"
        assert execution["steps"][0]["results"][0]["attempt"] == kinds.count("step.running")

    def test_retries_end(self, run):
        status, execution, _ = run(
            "steps: [{tool: df, targets: local, parameters: {path: /no/such/place},"
            " retries: {max: 2, backoff_s: 0.1}}]"
        )
        assert (status, execution["steps"][0]["results"][0]["attempt"]) == (1, 3)


class TestEvents:
    def test_a_broken_stream_resumed_gives_every_event_once(self, farm):
        talker = {"argv": ["sh", "-c", "echo first; sleep 1.5; echo second"]}
        steps = [
            {"tool": "df", "id": "before"},
            {"tool": "command", "target": "local", "confirm": "local", "parameters": talker},
            {"tool": "df", "id": "after"},
        ]
        plan = {"plan": {"steps": steps}, "reason": "to hear it talk"}
        answer = farm.call("POST", "/execute-plan", json=plan).json()
        path = answer["events_url"].removeprefix(farm.url)
        seen, last_id = [], None
        while not seen or seen[-1]["kind"] != "execution.finished":
            headers = {"Last-Event-ID": last_id} if last_id else {}
            with farm.call("GET", path, stream=True, headers=headers) as stream:
                events = read_event_stream(stream.iter_lines())
                seen += [event for _, event in islice(events, 2)]  # then the line is cut
            last_id = seen[-1]["id"]
        with farm.call("GET", path, stream=True) as stream:
            whole = [event for _, event in read_event_stream(stream.iter_lines())]
        assert happened(seen) == happened(whole)
        assert len(set(happened(whole))) == len(whole)
        kinds = [event["kind"] for event in whole if event["kind"] != "step.output"]
        assert kinds == [
            "execution.accepted",
            "approval.asked",
            "approval.approved",
            *["step.running", "step.succeeded"] * 3,
            "execution.finished",
        ]
        printed = [line for event in whole for _, line in event["data"].get("lines", ())]
        assert printed == ["first", "second"]


class TestExitStatus:
    def test_2_for_a_plan_that_is_refused(self, servers, run, tmp_path):
        count = servers.ask("select count(*) from executions")
        status, problem, notes = run("steps:\n- tool: df\n  parameters: {paht: /}\n")
        assert status == 2
        assert problem["faults"][0]["code"] == "unknown_parameter"
        expected = "plan.yaml:3:16 step 1 (df): no parameter 'paht'; did you mean 'path'?"
        assert expected in notes
        assert servers.ask("select count(*) from executions") == count

    def test_3_for_an_outcome_that_nobody_knows(self, farm, hosts, run):
        enter_host(farm, "held-01", hosts["web-01"], {"role": "held"})
        status, execution, notes = run(
            "steps: [{tool: command, target: held-01, confirm: held-01, timeout_s: 1,"
            " parameters: {argv: [sleep, '71.377']}}]",
            *WHY,
        )
        [row] = execution["steps"][0]["results"]
        assert (status, execution["state"], row["state"]) == (3, "attention", "interrupted")
        assert row["reason"] == "timeout"
        assert "needs a person" in notes
        wait_until(lambda: not processes_with("71.377"), "the end of the remote command")

    def test_4_for_what_was_cancelled_meanwhile(self, farm, tmp_path):
        process = start(
            farm,
            tmp_path,
            "steps: [{tool: command, target: web-02, confirm: web-02,"
            " parameters: {argv: [sleep, '72.377']}}]",
            *WHY,
        )
        wait_until(lambda: processes_with("72.377"), "the remote command")
        [running] = farm.call("GET", "/executions?state=running").json()["executions"]
        cancel = farm.opsfarm("executions", "cancel", running["execution_id"])
        cancel.communicate(timeout=30)
        out, notes = process.communicate(timeout=30)
        assert (cancel.returncode, process.returncode) == (0, 4), notes
        [row] = json.loads(out)["steps"][0]["results"]
        assert (row["state"], row["stopped"]) == ("cancelled", "verified")
        assert processes_with("72.377") == []

    def test_124_when_the_wait_ends_first(self, farm, run):
        status, execution, notes = run(
            "steps: [{tool: command, target: web-02, confirm: web-02,"
            " parameters: {argv: [sleep, '73.377']}}]",
            *WHY,
            "--wait-s",
            "1",
        )
        assert (status, execution["state"]) == (124, "running")
        assert f"opsfarm executions watch {execution['execution_id']}" in notes
        path = f"/executions/{execution['execution_id']}"
        assert farm.call("POST", path + "/cancel", json={}).ok
        assert farm.call("GET", path + "?wait=20").json()["state"] == "cancelled"

    def test_5_when_no_farm_answers(self, run):
        status, out, notes = run("steps: [{tool: df}]", OPSFARM_API_URL="http://127.0.0.1:9")
        assert (status, out) == (5, None)
        assert "127.0.0.1:9" in notes


def happened(events):
    """What events tell, in one order; their ids say only where a reader stood."""
    told = [{name: value for name, value in event.items() if name != "id"} for event in events]
    return sorted(json.dumps(each, sort_keys=True) for each in told)


def processes_with(word):
    """Processes of this host whose command line holds a word, sshd's and shells' left out."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if argv[:2] == [b"sleep", word.encode()]:
            found.append(int(entry.name))
    return found
