"""Bad input over HTTP: each item gets one clear error, and ledger and broker stay as they were."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from app.store.inventory import create_asset
from tests.lab.real_farm import RealFarm, Servers, advertise_all, wait_until

CASES = {
    case["name"]: case
    for case in yaml.safe_load(Path(__file__).with_name("bad_input.yaml").read_text())
}
DF = {"steps": [{"tool": "df", "parameters": {"path": "/"}, "targets": "local"}]}
TEN_MB = 10_000_000


@pytest.fixture(scope="module")
def servers(server_folder):
    with Servers(server_folder / "bad-input") as servers:
        yield servers


@pytest.fixture(scope="module")
def farm(servers, server_folder):
    """A served API without any process that takes from the broker; one plan lies in it already."""
    with RealFarm(servers, server_folder / "bad-input-farm", "api") as farm:
        advertise_all(servers)
        with servers.session() as session:
            create_asset(session, {"hostname": "web-01", "ip_address": "192.0.2.1"})
        assert farm.call("POST", "/execute-plan", json=DF).status_code == 202
        yield farm
    assert farm.tracebacks() == []


@pytest.fixture
def untouched(servers, farm):
    """Ledger and broker are after the test what they were before it."""
    before = servers.footprint()
    assert before["rows"]["executions"] == 1
    assert sum(before["lengths"].values()) == 1
    yield
    assert servers.footprint() == before


def refused(response, status):
    """The problem of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"]
    return problem


@pytest.mark.parametrize("name", CASES)
def test_is_refused_with_one_fault_that_names_its_place(farm, untouched, name):
    case = CASES[name]
    body = case["body"]
    for word, count in case.get("repeat", {}).items():
        body = body.replace(word, "x" * count)
    status = case.get("status", 422)
    problem = refused(farm.call("POST", "/execute-plan", data=body.encode()), status)
    assert problem["type"] == f"urn:opsfarm:problem:{KINDS[status]}"
    [fault] = problem["faults"]
    wanted = case["fault"]
    exact = ("code", "path", "step", "given", "line", "column")
    assert {k: fault.get(k) for k in exact} == {k: wanted.get(k) for k in exact}, fault
    for member in ("allowed", "hint"):
        assert wanted.get(member, "") in fault.get(member, ""), fault
    if status == 422:
        assert fault.get("allowed") or fault.get("hint"), fault
    assert fault["message"]


KINDS = {400: "malformed", 422: "plan_rejected"}


def test_ten_megabytes(farm, untouched):
    body = json.dumps(
        {"steps": [{"tool": "slack_cli", "parameters": {"message": "x" * TEN_MB}}]}
    ).encode()
    problem = refused(farm.call("POST", "/execute-plan", data=body), 413)
    assert problem["type"] == "urn:opsfarm:problem:too_large"
    assert "262144 bytes" in problem["detail"]
    assert "artifacts" in problem["hint"]


def test_ten_megabytes_that_announce_no_length(farm, untouched):
    chunks = (b"x" * 100_000 for _ in range(TEN_MB // 100_000))
    problem = refused(farm.call("POST", "/execute-plan", data=chunks), 413)
    assert problem["type"] == "urn:opsfarm:problem:too_large"


def test_more_steps_than_a_plan_may_have(farm, untouched):
    steps = [{"tool": "df", "id": f"s{number}"} for number in range(1001)]
    problem = refused(farm.call("POST", "/execute-plan", json={"steps": steps}), 422)
    [fault] = problem["faults"]
    assert (fault["code"], fault["path"]) == ("too_many", "steps")
    assert (fault["given"], fault["allowed"]) == ("1001", "at most 1,000")
    assert (fault["line"], fault["column"]) == (1, 2)


def test_finally_counts_as_steps_too(farm, untouched):
    steps = [{"tool": "df", "id": f"s{number}"} for number in range(1000)]
    plan = {"steps": steps, "finally": [{"tool": "df", "id": "last"}]}
    [fault] = refused(farm.call("POST", "/execute-plan", json=plan), 422)["faults"]
    assert (fault["code"], fault["given"]) == ("too_many", "1001")


def test_every_fault_of_a_plan_comes_at_once(farm, untouched):
    body = b"""steps:
- {tool: dff}
- {tool: df, parameters: {paht: /}}
- {tool: df, id: x, when: steps.y.ok}
"""
    faults = refused(farm.call("POST", "/execute-plan", data=body), 422)["faults"]
    found = [(fault["line"], fault["step"], fault["code"]) for fault in faults]
    assert found == [
        (2, "1 (dff)", "unknown_tool"),
        (3, "2 (df)", "unknown_parameter"),
        (4, "3 (df)", "unknown_step"),
    ]


@pytest.mark.parametrize("given", ["nothing!", "0197c0", "%2e%2e%2fetc", "-1", "x" * 500, "\x00"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/executions/{}"),
        ("GET", "/executions/{}/events"),
        ("POST", "/executions/{}/cancel"),
    ],
)
def test_an_execution_id_that_is_none(farm, untouched, method, path, given):
    body = {"json": {}} if method == "POST" else {}
    response = farm.call(method, path.format(quote(given, safe="%")), **body)
    problem = refused(response, 404)
    assert problem["type"] == "urn:opsfarm:problem:not_found"
    if "%2f" not in given:  # a slash makes it another path
        assert "is not an execution id" in problem["detail"]
        assert len(problem["detail"]) < 100
        assert "first 8" in problem["hint"]


def test_an_execution_that_is_not_there(farm, untouched):
    execution_id = "01999999-0000-7000-8000-000000000000"
    for method, end in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        body = {"json": {}} if method == "POST" else {}
        problem = refused(farm.call(method, f"/executions/{execution_id}{end}", **body), 404)
        assert execution_id in problem["detail"]
        assert "opsfarm executions list" in problem["hint"]


def test_the_database_is_down(servers, farm, untouched):
    servers.stop_postgres()
    try:
        response = farm.call("POST", "/execute-plan", json=DF, headers={"Idempotency-Key": "k"})
        ready = farm.call("GET", "/health/ready")
    finally:
        servers.start_postgres()
    problem = refused(response, 503)
    assert problem["type"] == "urn:opsfarm:problem:unavailable"
    assert "PostgreSQL" in problem["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert (ready.status_code, ready.json()["checks"]["ledger"]) == (503, "unreachable")
    assert wait_until(lambda: farm.call("GET", "/health/ready").ok, "a farm that is ready again")


def test_what_is_accepted_is_seen_in_ledger_and_broker(servers, farm):
    """The control of all tests above: their footprint does change with a plan."""
    before = servers.footprint()
    response = farm.call("POST", "/execute-plan", json=DF)
    after = servers.footprint()
    assert response.status_code == 202
    assert {name: after["rows"][name] - before["rows"][name] for name in after["rows"]} == {
        "executions": 1,
        "execution_plans": 1,
        "steps": 1,
        "events": 1,
    }
    assert after["lengths"]["automation"] == before["lengths"]["automation"] + 1
    assert after["keys"] != before["keys"]


def test_the_broker_is_down(server_folder):
    """Accepted, delayed, and delivered to a real worker when the broker is back."""
    folder = server_folder / "broker-down"
    with (
        Servers(folder) as servers,
        RealFarm(servers, folder / "farm", "api", "dispatcher", "automation") as farm,
    ):
        servers.redis.stop()
        response = farm.call("POST", "/execute-plan", json=DF)
        answer = response.json()
        url = f"/executions/{answer['execution_id']}"
        shown = farm.call("GET", url).json()
        ready = farm.call("GET", "/health/ready")
        assert (response.status_code, answer["delivery"]) == (202, "delayed")
        assert (shown["delivery"], shown["steps"][0]["state"]) == ("delayed", "queued")
        assert (ready.status_code, ready.json()["checks"]["broker"]) == (503, "unreachable")
        servers.start_redis()
        ended = farm.call("GET", f"{url}?wait=40").json()
        assert (ended["state"], ended["delivery"]) == ("succeeded", "sent")
        [result] = ended["steps"][0]["results"]
        assert result["output"][0]["mount"] == "/"
        assert result["attempt"] == 1
        assert wait_until(lambda: farm.call("GET", "/health/ready").ok, "a farm that is ready")
