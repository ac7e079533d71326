"""The client against a server that answers as it is told: what the real one cannot stage."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app import farm_execution
from app.client import Farm, encode_request
from app.errors import FarmUnreachable, PlanRejected, TooLarge, UserError
from app.farm_execution import read_event_stream
from app.plan import MAX_BODY_BYTES


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's script: path to a list of (status, headers, body)."""

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append(
            (self.command, self.path, dict(self.headers), self.rfile.read(length))
        )
        answers = self.server.script[self.path.partition("?")[0]]
        status, kind, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815  # names that http.server calls

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.script = [], {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def farm(server):
    with Farm(server.url, "the-key") as farm:
        yield farm


def as_json(value, status=200):
    return status, "application/json", json.dumps(value).encode()


def as_stream(*events, cut=False):
    text = "".join(f"data: {json.dumps(body)}\nid: {key}\n\n" for key, body in events)
    return 200, "text/event-stream", (": ping\n\n" + text + ("data: {" if cut else "")).encode()


def event(kind, **data):
    return {"kind": kind, "data": data}


ACCEPTED = {"execution_id": "e-1", "state": "running", "delivery": "sent", "warnings": ["slow"]}


def test_submits_any_form_of_a_plan(server, farm, tmp_path):
    server.script["/execute-plan"] = [as_json(ACCEPTED, 202)]
    path = tmp_path / "plan.yaml"
    path.write_text("steps: [{tool: df}]")
    for plan in ({"steps": [{"tool": "df"}]}, "steps: [{tool: df}]", path):
        execution = farm.submit(plan, key="mine")
        assert (execution.id, execution.state, execution.warnings) == ("e-1", "running", ("slow",))
    bodies = [body for _, _, _, body in server.seen]
    assert bodies == [
        b'{"steps": [{"tool": "df"}]}',
        b"steps: [{tool: df}]",
        b"steps: [{tool: df}]",
    ]
    headers = server.seen[0][2]
    assert headers["Authorization"] == "Bearer the-key"
    assert headers["Idempotency-Key"] == "mine"


def test_a_plan_that_is_too_large_is_not_sent(server, farm):
    with pytest.raises(TooLarge):
        farm.submit("\n" * (MAX_BODY_BYTES + 1))
    with pytest.raises(TooLarge):
        farm.plans.save("\n" * (MAX_BODY_BYTES + 1), "big")
    assert server.seen == []
    assert len(encode_request("\n" * MAX_BODY_BYTES)) == MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("plan", "beside", "sent"),
    [
        ("nightly@3", {}, {"plan": "nightly@3"}),
        ("Nightly", {}, {"plan": "Nightly"}),
        ("nightly", {"inputs": {"a": [1]}}, {"plan": "nightly", "inputs": {"a": [1]}}),
        ({"steps": []}, {"limit": "web-01"}, {"plan": {"steps": []}, "limit": "web-01"}),
        ("steps: []", {"limit": ""}, {"plan": "steps: []\n", "limit": ""}),
        ("nightly", {"inputs": {}}, {"plan": "nightly"}),
    ],
)
def test_what_a_plan_is_run_with_goes_beside_it(plan, beside, sent):
    assert json.loads(encode_request(plan, **beside)) == sent


def test_a_files_text_is_never_a_name(tmp_path):
    (tmp_path / "plan.yaml").write_text("nightly")
    assert encode_request(tmp_path / "plan.yaml") == b"nightly"
    beside = encode_request(tmp_path / "plan.yaml", {"a": 1})
    assert json.loads(beside) == {"plan": "nightly\n", "inputs": {"a": 1}}


def test_check_and_dry_run_take_the_same(server, farm):
    for path in ("/plans/check", "/plans/dry-run"):
        server.script[path] = [as_json({"ok": True})]
    farm.check("nightly", inputs={"a": 1}, limit="web-01")
    farm.dry_run("nightly", inputs={"a": 1}, limit="web-01")
    bodies = [json.loads(body) for _, _, _, body in server.seen]
    assert bodies == [{"plan": "nightly", "inputs": {"a": 1}, "limit": "web-01"}] * 2


def test_stored_plans_are_saved_listed_and_shown(server, farm, tmp_path):
    server.script["/plans"] = [as_json({"plans": [{"name": "a"}], "created": True})]
    server.script["/plans/a@2"] = [as_json({"text": "x"})]
    server.script["/plans/a/versions"] = [as_json({"versions": [{"version": 1}]})]
    (tmp_path / "a.yaml").write_text("steps: []")
    farm.plans.save(tmp_path / "a.yaml", "a", "why")
    farm.plans.save({"steps": []})
    assert farm.plans.list() == [{"name": "a"}]
    assert farm.plans.show("a@2") == {"text": "x"}
    assert farm.plans.versions("a") == [{"version": 1}]
    sent = [json.loads(body) for method, _, _, body in server.seen if method == "POST"]
    assert sent == [
        {"plan": "steps: []", "note": "why", "name": "a"},
        {"plan": {"steps": []}, "note": ""},
    ]


def test_an_execution_is_rerun_under_a_key(server, farm):
    server.script["/executions/e-1"] = [as_json(ACCEPTED)]
    server.script["/executions/e-1/rerun"] = [as_json(ACCEPTED | {"execution_id": "e-2"}, 202)]
    again = farm.execution("e-1").rerun(failed_only=True, key="mine")
    assert again.id == "e-2"
    _, _, headers, body = server.seen[-1]
    assert headers["Idempotency-Key"] == "mine"
    assert json.loads(body) == {"failed_only": True}


def test_a_problem_becomes_its_error(server, farm):
    problem = {"type": "urn:opsfarm:problem:plan_rejected", "faults": [{"path": "a", "code": "b"}]}
    server.script["/execute-plan"] = [
        (422, "application/problem+json", json.dumps(problem).encode())
    ]
    with pytest.raises(PlanRejected) as caught:
        farm.submit({})
    assert caught.value.faults[0].path == "a"


def test_what_is_no_opsfarm_api_says_so(server, farm):
    server.script["/executions"] = [(404, "text/html", b"<h1>Not here</h1>")]
    with pytest.raises(UserError, match="404"):
        farm.executions()
    server.script["/executions"] = [(200, "text/html", b"<h1>Hello</h1>")]
    with pytest.raises(FarmUnreachable, match="is not an opsfarm API"):
        farm.executions()


def test_a_redirect_is_not_followed(server, farm):
    server.script["/executions"] = [(302, "text/html", b"")]
    with pytest.raises(UserError, match="302"):
        farm.executions()
    assert len(server.seen) == 1


def test_nobody_there():
    with (
        Farm("http://127.0.0.1:1", "k") as farm,
        pytest.raises(FarmUnreachable, match="opsfarm up"),
    ):
        farm.executions()


def test_a_proxy_is_not_asked_for_a_farm_on_this_machine(server, farm, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.script["/executions"] = [as_json({"executions": []})]
    assert farm.executions() == []


def test_a_netrc_does_not_replace_the_key(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine localhost login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.script["/executions"] = [as_json({"executions": []})]
    with Farm(server.url.replace("127.0.0.1", "localhost"), "the-key") as farm:
        farm.http._session.trust_env = True
        farm.executions()
    assert server.seen[0][2]["Authorization"] == "Bearer the-key"


def test_wait_polls_until_the_end(server, farm):
    server.script["/execute-plan"] = [as_json(ACCEPTED, 202)]
    final = {"execution_id": "e-1", "state": "failed"}
    server.script["/executions/e-1"] = [as_json({**final, "state": "running"}), as_json(final)]
    execution = farm.submit({})
    assert execution.wait() == final
    assert execution.state == "failed"
    assert all("wait=20" in path for method, path, *_ in server.seen if method == "GET")


def test_wait_ends_with_its_time(server, farm):
    server.script["/execute-plan"] = [as_json(ACCEPTED, 202)]
    server.script["/executions/e-1"] = [as_json(ACCEPTED)]
    with pytest.raises(TimeoutError, match="execution e-1 is running after"):
        farm.submit({}).wait(timeout_s=0.05)


def test_events_go_on_where_a_connection_broke(server, farm, monkeypatch):
    monkeypatch.setattr(farm_execution, "_FIRST_PAUSE_S", 0.01)
    server.script["/execute-plan"] = [as_json(ACCEPTED, 202)]
    server.script["/executions/e-1"] = [as_json(ACCEPTED)]
    server.script["/executions/e-1/events"] = [
        as_stream(("1", event("execution.accepted")), cut=True),
        (503, "application/problem+json", b'{"type": "urn:opsfarm:problem:unavailable"}'),
        as_stream(("2", event("execution.finished", state="succeeded")), ("3", event("never"))),
    ]
    execution = farm.submit({})
    assert [e["kind"] for e in execution.events()] == ["execution.accepted", "execution.finished"]
    assert execution.state == "succeeded"
    asked = [
        headers.get("Last-Event-ID") for _, path, headers, _ in server.seen if "events" in path
    ]
    assert asked == [None, "1", "1"]


def test_events_end_when_the_past_is_gone_but_the_execution_is_final(server, farm):
    server.script["/execute-plan"] = [as_json(ACCEPTED, 202)]
    server.script["/executions/e-1"] = [as_json({**ACCEPTED, "state": "cancelled"})]
    server.script["/executions/e-1/events"] = [as_stream()]
    assert list(farm.submit({}).events()) == []


def test_events_give_up_when_the_farm_stays_away(server, farm, monkeypatch):
    monkeypatch.setattr(farm_execution, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(farm_execution, "_AWAY_S", 0.05)
    server.script["/execute-plan"] = [as_json(ACCEPTED, 202)]
    execution = farm.submit({})
    execution._http._url = "http://127.0.0.1:1"
    with pytest.raises(FarmUnreachable):
        list(execution.events())


def test_reads_event_streams_as_the_standard_says():
    lines = [
        b": comment",
        b"",
        b"id: 7",
        b'data: {"a":',
        b"data:1}",
        b"retry: 5",
        b"",
        b'data: "cut"',
    ]
    assert list(read_event_stream(lines)) == [("7", {"a": 1})]
