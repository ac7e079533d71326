"""The HTTP API over a real ledger and a real broker; the test plays the worker."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate as validate_openapi

from app.farm_execution import read_event_stream
from app.principal import Role
from app.store.outbox import Outbox
from tests.lab.inventory import AssetBench
from workers.due import serve_due

DF = {"steps": [{"tool": "df", "parameters": {"path": "/"}, "targets": "local"}]}
CHMOD = {
    "steps": [
        {
            "tool": "chmod",
            "operation": "set",
            "parameters": {"path": "/nowhere", "mode": "600"},
            "targets": "web-01",
        }
    ]
}
YAML = b"""
steps:
  - tool: df
    parameters: {path: /}
  - tool: df
    id: second
    parameters: {dpeth: 1}
"""


@pytest.fixture
def call(api_farm):
    """`call("GET", "/tools", role=...)`: a plain request, as any HTTP client would send it."""
    session = requests.Session()

    def send(method, path, *, role=Role.ADMIN, **request):
        headers = request.pop("headers", {})
        if role is not None:
            headers = {"Authorization": f"Bearer {api_farm.keys[role]}", **headers}
        return session.request(method, api_farm.url + path, headers=headers, timeout=20, **request)

    yield send
    session.close()


def assert_problem(response, status, title):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:opsfarm:problem:{title}"
    assert "Traceback" not in response.text
    return problem


def read_events(response):
    """(id, event) of a stream that ends."""
    return read_event_stream(response.iter_lines())


def make_hosts(api_farm, *names):
    bench = AssetBench(api_farm.parts.engine)
    for number, name in enumerate(names, 1):
        bench.run("asset-create", hostname=name, ip_address=f"192.0.2.{number}", type="server")


class TestSubmit:
    def test_accepts_a_bare_plan_and_says_where_it_is(self, api_farm, call):
        response = call("POST", "/execute-plan", json=DF, role=Role.OPERATOR)
        assert response.status_code == 202, response.text
        answer = response.json()
        execution_id = answer["execution_id"]
        assert answer["state"] == "running"
        assert answer["delivery"] == "sent"
        assert answer["url"] == f"{api_farm.url}/executions/{execution_id}"
        assert answer["events_url"] == answer["url"] + "/events"
        assert response.headers["Location"] == answer["url"]
        assert api_farm.read(execution_id)["principal"] == "test-operator"

    def test_takes_the_envelope_key_once(self, call):
        body = {"execution_id": "deploy-7", "plan": DF}
        first = call("POST", "/execute-plan", json=body).json()
        again = call("POST", "/execute-plan", json=body).json()
        header = call("POST", "/execute-plan", json=DF, headers={"Idempotency-Key": "deploy-7"})
        assert first["created"] is True
        assert again["created"] is False
        assert again["execution_id"] == first["execution_id"]
        assert header.json()["execution_id"] == first["execution_id"]

    def test_refuses_the_same_key_for_another_plan(self, call):
        call("POST", "/execute-plan", json={"execution_id": "k", "plan": DF})
        other = {"steps": [{"tool": "df", "parameters": {"path": "/var"}, "targets": "local"}]}
        response = call("POST", "/execute-plan", json={"execution_id": "k", "plan": other})
        assert "k" in assert_problem(response, 409, "conflict")["detail"]

    def test_refuses_two_different_keys(self, call):
        response = call(
            "POST",
            "/execute-plan",
            json={"execution_id": "a", "plan": DF},
            headers={"Idempotency-Key": "b"},
        )
        assert_problem(response, 400, "malformed")

    def test_names_every_fault_with_its_place(self, api_farm, call):
        response = call(
            "POST", "/execute-plan", data=YAML, headers={"Content-Type": "application/yaml"}
        )
        problem = assert_problem(response, 422, "plan_rejected")
        fault = next(f for f in problem["faults"] if f["code"] == "unknown_parameter")
        assert (fault["line"], fault["column"]) == (7, 18)
        assert fault["step"] == "2 (df)"
        assert call("GET", "/executions").json()["executions"] == []

    def test_answers_with_the_execution_when_it_ends_while_waiting(self, api_farm, call):
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(call, "POST", "/execute-plan?wait=20", json=DF)
            execution_id = None
            while execution_id is None:
                found = call("GET", "/executions").json()["executions"]
                execution_id = found[0]["execution_id"] if found else None
            api_farm.work(execution_id, output={"used": 1})
            response = waiting.result(timeout=5)
        assert response.status_code == 200
        assert response.json()["state"] == "succeeded"
        assert response.json()["steps"][0]["output"] == {"used": 1}

    def test_answers_202_when_the_wait_ends_first(self, call):
        response = call("POST", "/execute-plan?wait=0.05", json=DF)
        assert response.status_code == 202
        assert response.json()["state"] == "running"

    @pytest.mark.parametrize("wait", ["-1", "301", "soon"])
    def test_refuses_a_wait_that_cannot_be(self, call, wait):
        problem = assert_problem(
            call("POST", f"/execute-plan?wait={wait}", json=DF), 400, "malformed"
        )
        assert problem["faults"][0]["path"] == "wait"


class TestBodies:
    def test_refuses_a_body_that_announces_too_much(self, call):
        response = call("POST", "/execute-plan", data=b"x" * (256 * 1024 + 1))
        assert_problem(response, 413, "too_large")

    def test_refuses_a_body_that_streams_too_much(self, call):
        chunks = (b"x" * 65536 for _ in range(160))  # 10 MiB
        assert_problem(call("POST", "/execute-plan", data=chunks), 413, "too_large")

    def test_takes_a_body_of_the_very_limit(self, call):
        body = json.dumps(DF).encode()
        padded = body + b" " * (256 * 1024 - len(body))
        assert call("POST", "/execute-plan", data=padded).status_code == 202

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1, NaN]", b"a: &x 1\nb: *x"])
    def test_refuses_what_cannot_be_read(self, call, body):
        assert_problem(call("POST", "/execute-plan", data=body), 400, "malformed")

    def test_limits_small_bodies_too(self, call):
        response = call("POST", "/secrets", json={"name": "x", "value": "v" * 300_000})
        assert_problem(response, 413, "too_large")


class TestKeys:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/execute-plan"),
            ("POST", "/plans/check"),
            ("POST", "/plans/dry-run"),
            ("GET", "/plans/schema"),
            ("GET", "/executions"),
            ("GET", "/executions/0197c0de"),
            ("GET", "/executions/0197c0de/events"),
            ("POST", "/executions/0197c0de/cancel"),
            ("GET", "/tools"),
            ("GET", "/tools/df"),
            ("GET", "/workers"),
            ("GET", "/locks"),
            ("GET", "/secrets"),
            ("POST", "/secrets"),
            ("DELETE", "/secrets/x"),
            ("GET", "/credentials"),
            ("POST", "/credentials"),
            ("DELETE", "/credentials/x"),
            ("POST", "/credentials/x/assets"),
            ("POST", "/assets/import"),
            ("GET", "/assets/words"),
            ("GET", "/principals"),
            ("POST", "/principals"),
            ("DELETE", "/principals/x"),
            ("GET", "/schedules"),
            ("POST", "/schedules"),
        ],
    )
    def test_every_endpoint_wants_one(self, call, method, path):
        response = call(method, path, role=None)
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"

    def test_no_route_was_forgotten_above(self, api_farm, call):
        paths = call("GET", "/openapi.json", role=None).json()["paths"]
        for path, methods in paths.items():
            for method in methods:
                real = path.replace("{execution_id}", "0197c0de").replace("{name}", "x")
                response = call(method.upper(), real, role=None)
                assert response.status_code == (200 if path.startswith("/health") else 401), path

    def test_takes_the_other_header(self, api_farm, call):
        headers = {"X-API-Key": api_farm.keys[Role.VIEWER]}
        assert call("GET", "/tools", role=None, headers=headers).status_code == 200

    def test_a_revoked_key_ends_at_once(self, api_farm, call):
        assert call("GET", "/tools", role=Role.VIEWER).status_code == 200
        assert call("DELETE", "/principals/test-viewer").status_code == 204
        assert_problem(call("GET", "/tools", role=Role.VIEWER), 401, "unauthenticated")

    @pytest.mark.parametrize(
        ("role", "method", "path"),
        [
            (Role.VIEWER, "POST", "/execute-plan"),
            (Role.VIEWER, "POST", "/plans/dry-run"),
            (Role.VIEWER, "GET", "/secrets"),
            (Role.APPROVER, "POST", "/execute-plan"),
            (Role.OPERATOR, "POST", "/secrets"),
            (Role.OPERATOR, "DELETE", "/credentials/x"),
            (Role.OPERATOR, "POST", "/credentials/x/assets"),
            (Role.VIEWER, "POST", "/assets/import"),
            (Role.OPERATOR, "GET", "/principals"),
        ],
    )
    def test_a_role_does_no_more_than_it_may(self, call, role, method, path):
        body = {"name": "x", "value": "y"} if path == "/secrets" and method == "POST" else DF
        assert_problem(call(method, path, role=role, json=body), 403, "forbidden")


class TestExecutions:
    def test_lists_the_newest_first_by_pages(self, call):
        ids = [call("POST", "/execute-plan", json=DF).json()["execution_id"] for _ in range(3)]
        first = call("GET", "/executions?limit=2").json()
        assert [e["execution_id"] for e in first["executions"]] == [ids[2], ids[1]]
        rest = call("GET", "/executions", params={"before": first["next_before"]}).json()
        assert [e["execution_id"] for e in rest["executions"]] == [ids[0]]
        assert rest["next_before"] is None

    def test_lists_one_state(self, api_farm, call):
        done = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        call("POST", "/execute-plan", json=DF)
        api_farm.work(done)
        found = call("GET", "/executions?state=succeeded").json()["executions"]
        assert [e["execution_id"] for e in found] == [done]

    def test_a_unique_prefix_serves(self, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        shown = call("GET", f"/executions/{execution_id[:13]}").json()
        assert shown["execution_id"] == execution_id
        assert shown["steps"][0]["tool"] == "df"

    def test_a_prefix_of_several_is_a_conflict(self, api_farm, call):
        ids = [call("POST", "/execute-plan", json=DF).json()["execution_id"] for _ in range(2)]
        assert ids[0][:8] == ids[1][:8]
        assert_problem(call("GET", f"/executions/{ids[0][:8]}"), 409, "conflict")

    @pytest.mark.parametrize(
        "given", ["0197c0", "nothing!", "a705babc-1e78-443d-97a1-8e47012ef3be"]
    )
    def test_what_is_no_execution_is_not_found(self, call, given):
        assert_problem(call("GET", f"/executions/{given}"), 404, "not_found")

    def test_cancels_and_says_so_once(self, api_farm, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        response = call("POST", f"/executions/{execution_id}/cancel", json={"reason": "wrong"})
        assert response.json()["state"] == "cancelled"
        assert api_farm.read(execution_id)["cancel_reason"] == "wrong"
        again = call("POST", f"/executions/{execution_id}/cancel", json={})
        assert "cancelled" in assert_problem(again, 409, "conflict")["detail"]

    def test_a_cancel_asks_no_broker(self, api_farm, call, monkeypatch):
        plan = DF | {"finally": [{"tool": "df", "id": "last", "targets": "local"}]}
        execution_id = call("POST", "/execute-plan", json=plan).json()["execution_id"]
        monkeypatch.setattr(api_farm.parts.publisher, "publish", None)
        response = call("POST", f"/executions/{execution_id}/cancel", json={"reason": "wrong"})
        assert response.status_code == 200, response.text
        [first, last] = response.json()["steps"]
        assert (first["state"], last["state"]) == ("cancelled", "queued")
        [sending] = Outbox(api_farm.parts.autocommit).take_unsent("automation", 5, None)
        assert sending.run[0].step_id == last["results"][0]["step_id"]

    def test_a_cancel_of_a_running_step_is_asked_for_once(self, api_farm, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        api_farm.claim(execution_id)
        path = f"/executions/{execution_id}/cancel"
        assert call("POST", path, json={}).json()["state"] == "running"
        problem = assert_problem(call("POST", path, json={}), 409, "conflict")
        assert "being cancelled" in problem["detail"]


class TestEvents:
    def test_tells_the_past_and_what_comes_and_ends(self, api_farm, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        path = f"/executions/{execution_id}/events"
        with call("GET", path, stream=True) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            events = read_events(response)
            seen = [next(events)]
            step = api_farm.claim(execution_id)
            seen.append(next(events))
            api_farm.say(step, "first line", "second line")
            seen.append(next(events))
            api_farm.finish(step)
            seen += list(events)
        kinds = [event["kind"] for _, event in seen]
        assert kinds == [
            "execution.accepted",
            "step.running",
            "step.output",
            "step.succeeded",
            "execution.finished",
        ]
        assert seen[2][1]["data"]["lines"] == [["stdout", "first line"], ["stdout", "second line"]]
        assert len({event_id for event_id, _ in seen}) == len(seen)

    @pytest.mark.parametrize("cut", range(5))
    def test_resumes_behind_any_event(self, api_farm, call, cut):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        step = api_farm.claim(execution_id)
        api_farm.say(step, "a line")
        api_farm.finish(step)
        path = f"/executions/{execution_id}/events"
        with call("GET", path, stream=True) as response:
            whole = list(read_events(response))
        headers = {"Last-Event-ID": whole[cut][0]}
        with call("GET", path, stream=True, headers=headers) as response:
            rest = list(read_events(response))
        assert len(whole) == 5
        assert [event for _, event in rest] == [event for _, event in whole[cut + 1 :]]

    def test_resumes_on_a_live_stream_without_doubles(self, api_farm, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        path, step = f"/executions/{execution_id}/events", api_farm.claim(execution_id)
        with call("GET", path, stream=True) as response:
            events = read_events(response)
            next(events), next(events)
            api_farm.say(step, "one")
            last_id, last = next(events)
        api_farm.say(step, "two")
        api_farm.finish(step)
        with call("GET", path, stream=True, headers={"Last-Event-ID": last_id}) as response:
            rest = [event for _, event in read_events(response)]
        assert last["data"]["lines"] == [["stdout", "one"]]
        assert [event["kind"] for event in rest] == [
            "step.output",
            "step.succeeded",
            "execution.finished",
        ]

    def test_says_what_is_waited_for_while_nothing_happens(self, api_farm, call):
        make_hosts(api_farm, "web-01")
        first = call("POST", "/execute-plan", json=CHMOD).json()["execution_id"]
        step = api_farm.claim(first)
        second = call("POST", "/execute-plan", json=CHMOD).json()["execution_id"]
        told = f"blocked by step chmod on web-01 of execution {first}"
        with call("GET", f"/executions/{second}/events", stream=True) as response:
            events = read_events(response)
            last_id, accepted = next(events)
            event_id, waits = next(events)
            assert (accepted["kind"], waits["kind"]) == ("execution.accepted", "step.waits")
            assert waits["data"]["summary"] == told
            assert waits["data"]["blocked_by"]["execution_id"] == first
            assert (waits["id"], event_id) == (None, last_id), "it is no place to go on from"
            api_farm.finish(step)
            api_farm.finish(api_farm.claim(second))
            assert [event["kind"] for _, event in events] == [
                "step.running",
                "step.succeeded",
                "execution.finished",
            ]

    def test_says_that_no_worker_is_free(self, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        with call("GET", f"/executions/{execution_id}/events", stream=True) as response:
            events = read_events(response)
            next(events)
            _, waits = next(events)
        assert waits["data"]["summary"] == "waits for a free worker of queue automation"

    def test_many_watchers_see_the_same(self, api_farm, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        other = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        path, started = f"/executions/{execution_id}/events", threading.Barrier(6)

        def watch():
            with call("GET", path, stream=True) as response:
                events = read_events(response)
                first = next(events)
                started.wait(10)
                return [first, *events]

        with ThreadPoolExecutor(5) as pool:
            watching = [pool.submit(watch) for _ in range(5)]
            started.wait(10)
            api_farm.work(other)
            api_farm.work(execution_id)
            seen = [[event for _, event in w.result(timeout=10)] for w in watching]
        assert all(one == seen[0] for one in seen)
        assert {event["execution_id"] for event in seen[0]} == {execution_id}

    def test_a_silent_stream_says_that_it_lives(self, call, monkeypatch):
        monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        with call("GET", f"/executions/{execution_id}/events", stream=True) as response:
            assert b": ping" in response.iter_lines()

    def test_a_viewer_does_not_read_what_is_sensitive(self, api_farm, call):
        tool = api_farm.parts.catalog.tools["df"]
        usage = tool.operations["usage"].model_copy(update={"sensitive": True})
        api_farm.parts.catalog.tools["df"] = tool.model_copy(
            update={"operations": {"usage": usage}}
        )
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        step = api_farm.claim(execution_id)
        api_farm.say(step, "canary-4711")
        api_farm.finish(step, output="canary-4711", summary="canary-4711")
        path = f"/executions/{execution_id}"
        for hidden in (path, path + "/events"):
            shown = call("GET", hidden, role=Role.VIEWER).text
            assert "canary-4711" not in shown
            assert "succeeded" in shown
            assert "canary-4711" in call("GET", hidden, role=Role.OPERATOR).text

    @pytest.mark.parametrize("sensitive", [False, True])
    def test_a_viewer_reads_rows_that_are_rendered_while_they_watch(
        self, api_farm, call, sensitive
    ):
        tools = api_farm.parts.catalog.tools
        operations = {
            name: operation.model_copy(update={"sensitive": sensitive})
            for name, operation in tools["command"].operations.items()
        }
        tools["command"] = tools["command"].model_copy(update={"operations": operations})
        make_hosts(api_farm, "web-01", "web-02")
        hosts = "{{ ['web-01', 'web-02'] if steps.df.ok else [] }}"
        uptime = {"tool": "command", "targets": hosts, "parameters": {"argv": ["uptime"]}}
        plan = {"steps": [*DF["steps"], uptime]}
        execution_id = call("POST", "/execute-plan", json=plan).json()["execution_id"]
        path = f"/executions/{execution_id}/events"
        with call("GET", path, role=Role.VIEWER, stream=True) as response:
            events = read_events(response)
            next(events)  # connected before there are rows of the second step
            api_farm.finish(api_farm.claim(execution_id))
            serve_due(api_farm.parts, Outbox(api_farm.parts.autocommit))
            for _ in range(2):
                step = api_farm.claim(execution_id)
                api_farm.say(step, "canary-4711")
                api_farm.finish(step, summary="canary-4711")
            shown = [event for _, event in events]
        assert shown[-1]["data"]["state"] == "succeeded"
        assert str(shown).count("canary-4711") == (0 if sensitive else 4)

    def test_refuses_an_id_that_is_none_of_ours(self, call):
        execution_id = call("POST", "/execute-plan", json=DF).json()["execution_id"]
        response = call(
            "GET", f"/executions/{execution_id}/events", headers={"Last-Event-ID": "yesterday"}
        )
        assert_problem(response, 400, "malformed")


class TestPlans:
    def test_check_writes_nothing(self, call):
        shown = call("POST", "/plans/check", json=DF).json()
        assert shown["ok"] is True
        assert shown["steps"][0]["targets"] == ["local"]
        assert shown["steps"][0]["queue"] == "automation"
        assert call("GET", "/executions").json()["executions"] == []

    def test_the_schema_is_that_of_the_farms_catalogue(self, call):
        schema = call("GET", "/plans/schema", role=Role.VIEWER).json()
        names = {tool["name"] for tool in call("GET", "/tools").json()["tools"]}
        assert {f"tool.{name}" for name in names} <= set(schema["$defs"])
        Draft202012Validator(schema).validate(DF)

    def test_dry_run_shows_commands_and_workers(self, call):
        shown = call("POST", "/plans/dry-run", json=DF).json()
        step = shown["steps"][0]
        assert step["workers"] == ["worker-1"]
        assert step["commands"][0]["command"]["argv"][0] == "df"
        assert "/" in step["commands"][0]["command"]["argv"]
        assert call("GET", "/executions").json()["executions"] == []

    def test_who_holds_an_asset_is_shown_before_and_after_submit(self, api_farm, call):
        make_hosts(api_farm, "web-01")
        first = call("POST", "/execute-plan", json=CHMOD).json()["execution_id"]
        api_farm.claim(first)
        second = call("POST", "/execute-plan", json=CHMOD).json()["execution_id"]
        holder = call("GET", f"/executions/{second}").json()["steps"][0]["results"][0]["blocked_by"]
        assert (holder["execution_id"], holder["step"], holder["state"]) == (
            first, "chmod", "running"
        )  # fmt: skip
        (lock,) = call("GET", "/locks", role=Role.VIEWER).json()["locks"]
        assert lock == {"lock": lock["lock"], "waiting": 1, "held_by": holder}
        (command,) = call("POST", "/plans/dry-run", json=CHMOD).json()["steps"][0]["commands"]
        assert (command["lock"], command["blocked_by"]) == (lock["lock"], holder)

    def test_dry_run_hides_secrets(self, call):
        call("POST", "/secrets", json={"name": "hook", "value": "canary-4711"})
        plan = {
            "steps": [
                {
                    "tool": "webhook-sender",
                    "parameters": {
                        "url": "https://example.com/hook",
                        "signing_secret": {"$secret": "hook"},
                    },
                }
            ]
        }
        response = call("POST", "/plans/dry-run", json=plan)
        assert response.status_code == 200, response.text
        assert "canary-4711" not in response.text


class TestVault:
    def test_values_go_in_and_never_out(self, call):
        put = call("POST", "/secrets", json={"name": "mail", "value": "canary-4711"})
        assert put.status_code == 201
        shown = call("GET", "/secrets")
        assert [entry["name"] for entry in shown.json()["secrets"]] == ["mail"]
        assert "canary-4711" not in put.text + shown.text
        assert call("DELETE", "/secrets/mail").status_code == 204
        assert_problem(call("DELETE", "/secrets/mail"), 404, "not_found")

    def test_a_bad_request_does_not_echo_its_values(self, call):
        response = call("POST", "/secrets", json={"name": 7, "value": "canary", "more": "canary"})
        assert_problem(response, 400, "malformed")
        assert "canary" not in response.text

    def test_credentials(self, call):
        body = {"name": "login", "username": "deploy", "password": "canary-4711"}
        assert call("POST", "/credentials", json=body).status_code == 201
        shown = call("GET", "/credentials")
        assert shown.json()["credentials"][0]["public"]["username"] == "deploy"
        assert "canary-4711" not in shown.text
        assert call("GET", "/secrets").json()["secrets"] == []
        assert_problem(call("DELETE", "/secrets/login"), 404, "not_found")
        assert call("DELETE", "/credentials/login").status_code == 204

    def test_principals(self, api_farm, call):
        added = call("POST", "/principals", json={"name": "alice", "role": "operator"}).json()
        headers = {"X-API-Key": added["key"]}
        assert call("POST", "/plans/check", json=DF, role=None, headers=headers).status_code == 200
        listed = call("GET", "/principals")
        assert added["key"] not in listed.text
        assert_problem(
            call("POST", "/principals", json={"name": "alice", "role": "viewer"}), 409, "conflict"
        )
        assert_problem(call("DELETE", "/principals/test-admin"), 409, "conflict")


class TestCatalogue:
    def test_tools_have_schemas(self, call):
        listed = call("GET", "/tools", role=Role.VIEWER).json()["tools"]
        assert {"df", "sendmail", "asset-create"} <= {tool["name"] for tool in listed}
        shown = call("GET", "/tools/SLACK_CLI").json()
        assert shown["name"] == "slack-cli"
        schema = next(iter(shown["operations"].values()))["schema"]
        assert schema["type"] == "object"

    def test_a_near_miss_is_answered(self, call):
        problem = assert_problem(call("GET", "/tools/sendmial"), 404, "not_found")
        assert "did you mean 'sendmail'?" in problem["detail"]

    def test_workers(self, call):
        assert [w["name"] for w in call("GET", "/workers").json()["workers"]] == ["worker-1"]


class TestProcess:
    def test_health_needs_no_key(self, call):
        assert call("GET", "/health/live", role=None).json() == {"status": "ok"}
        ready = call("GET", "/health/ready", role=None)
        assert ready.status_code == 200
        assert ready.json()["checks"] == {"ledger": "ok", "broker": "ok"}

    def test_the_description_is_valid(self, call):
        validate_openapi(call("GET", "/openapi.json", role=None).json())

    def test_unknown_paths_and_methods_are_problems(self, call):
        assert_problem(call("GET", "/nothing"), 404, "not_found")
        assert_problem(call("PUT", "/executions"), 405, "method_not_allowed")
