"""prometheus against the real one of Debian, which scrapes values that a test planted."""

import time

import pytest

from app.step import State
from tests.lab.bench import ToolBench
from tests.lab.prometheus import PLANTED, run_prometheus
from tests.lab.waiting import wait_until
from tool_catalog.model import Reason


@pytest.fixture(scope="module")
def server(tmp_path_factory, require_program):
    folder = tmp_path_factory.mktemp("prometheus")
    with run_prometheus(folder, require_program("prometheus")) as server:
        yield server


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = ToolBench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.close()


@pytest.fixture
def ask(bench, server):
    """`ask(operation, **parameters)`: the result of a read."""

    def run(operation, **given):
        return bench.run("prometheus", operation, given, target=server.target).result

    return run


@pytest.mark.proves("prometheus", "query")
def test_a_planted_value_is_found(ask, server):
    planted = time.time_ns() % 1_000_000 + 0.5
    server.metrics = f"{PLANTED}lab_planted_value {planted}\n"
    wait_until(lambda: server.ask(f"lab_planted_value == {planted}"))
    output = ask("query", query="lab_planted_value").output
    assert output["type"] == "vector"
    [found] = output["result"]
    assert found["metric"]["site"] == "here"
    assert float(found["value"][1]) == planted
    assert output["warnings"] is None


def test_a_value_of_another_time(ask):
    assert ask("query", query="up", time="2020-01-01T00:00:00Z").output["result"] == []
    assert ask("query", query="time()", time="1500000000").output["result"][1] == "1500000000"


def test_an_expression_that_cannot_be_read(ask):
    result = ask("query", query="sum(")
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_PARAMETER)
    assert "unclosed left parenthesis" in result.summary


def test_an_expression_that_cannot_be_evaluated(ask):
    result = ask("query", query="up / on() up")
    assert (result.state, result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert result.summary.startswith("Prometheus refused (execution): found duplicate series")


@pytest.mark.proves("prometheus", "query_range")
def test_values_over_a_time(ask):
    output = ask("query_range", query="time()", start="1500000000", end="1500000120", step="1m")
    assert output.output["type"] == "matrix"
    [series] = output.output["result"]
    assert [value for _, value in series["values"]] == ["1500000000", "1500000060", "1500000120"]


def test_too_many_values(ask):
    given = {"query": "up", "start": "0", "end": "1500000000", "step": 1}
    result = ask("query_range", **given)
    assert result.reason is Reason.INVALID_PARAMETER
    assert "11,000 points" in result.summary


@pytest.mark.proves("prometheus", "series")
def test_series_of_several_selectors(ask):
    match = ['lab_temperature_celsius{room="attic"}', 'up{job="gone"}']
    series = ask("series", match=match).output["series"]
    assert {(each["__name__"], each.get("room")) for each in series} == {
        ("lab_temperature_celsius", "attic"),
        ("up", None),
    }


@pytest.mark.proves("prometheus", "labels")
def test_names_of_labels(ask):
    assert ask("labels", match=["lab_temperature_celsius"]).output["labels"] == [
        "__name__",
        "instance",
        "job",
        "room",
        "site",
    ]
    assert "le" in ask("labels").output["labels"]


@pytest.mark.proves("prometheus", "label_values")
def test_values_of_a_label(ask):
    assert ask("label_values", label="room").output["values"] == ["attic", "cellar"]
    assert ask("label_values", label="job", match=["lab_temperature_celsius"]).output == {
        "values": ["lab"]
    }


@pytest.mark.proves("prometheus", "targets")
def test_targets_tell_how_scraping_went(ask):
    targets = ask("targets").output["active"]
    health = {target["labels"]["job"]: target["health"] for target in targets}
    assert health == {"prometheus": "up", "lab": "up", "gone": "down"}
    [gone] = [target for target in targets if target["labels"]["job"] == "gone"]
    assert "connection refused" in gone["lastError"]
    assert ask("targets", state="dropped").output["active"] == []


@pytest.mark.proves("prometheus", "rules")
def test_rules_and_what_they_say(ask):
    [group] = ask("rules").output["groups"]
    assert [rule["type"] for rule in group["rules"]] == ["recording", "alerting"]
    [group] = ask("rules", type="alert").output["groups"]
    assert [rule["name"] for rule in group["rules"]] == ["RoomIsHot"]


@pytest.mark.proves("prometheus", "alerts")
def test_an_alert_that_fires(ask):
    [alert] = ask("alerts").output["alerts"]
    assert (alert["labels"]["room"], alert["state"]) == ("attic", "firing")


@pytest.mark.proves("prometheus", "metadata")
def test_what_a_metric_is(ask):
    metrics = ask("metadata", metric="lab_temperature_celsius").output["metrics"]
    assert metrics["lab_temperature_celsius"][0]["help"] == "What a sensor says."


@pytest.mark.proves("prometheus", "status")
@pytest.mark.proves("prometheus", "build")
@pytest.mark.proves("prometheus", "ready")
def test_the_server_itself(ask):
    status = ask("status").output
    assert status["config_ok"] is True
    assert status["started"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert ask("build").output["version"].startswith("2.")
    ready = ask("ready")
    assert (ready.state, ready.summary) == (State.SUCCEEDED, "Prometheus Server is Ready.")


def test_reloading_is_off_unless_it_was_started_so(bench, server):
    ran = bench.run("prometheus", "reload", {}, target=server.target)
    assert (ran.result.state, ran.result.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
    assert "--web.enable-lifecycle" in ran.result.summary


@pytest.mark.proves("prometheus", "reload")
@pytest.mark.slow
def test_a_configuration_is_read_again(bench, tmp_path, require_program):
    program = require_program("prometheus")
    with run_prometheus(tmp_path, program, "--web.enable-lifecycle") as server:
        before = server.config.read_text()
        server.config.write_text(before.replace("site: here", "site: there"))
        for _ in range(2):  # once more changes nothing
            ran = bench.run("prometheus", "reload", {}, target=server.target)
            assert ran.result.state is State.SUCCEEDED, ran.result.summary
        assert len(ran.kept.armed) == 1
        assert ran.result.after["config_loaded"] >= ran.result.before["config_loaded"]
        wait_until(lambda: server.ask('up{site="there"}'))
        server.config.write_text("no_such_key: 1\n")
        refused = bench.run("prometheus", "reload", {}, target=server.target).result
        assert (refused.state, refused.reason) == (State.FAILED, Reason.REFUSED_BY_DEVICE)
        assert "Prometheus keeps its old configuration" in refused.summary
        status = bench.run("prometheus", "status", {}, target=server.target).result
        assert status.output["config_ok"] is False


def test_a_server_behind_a_path(bench, tmp_path, require_program):
    flag = "--web.route-prefix=/metrics-of/prod"
    program = require_program("prometheus")
    with run_prometheus(tmp_path, program, flag, base_path="/metrics-of/prod") as server:
        result = bench.run("prometheus", "ready", {}, target=server.target).result
        assert result.state is State.SUCCEEDED, result.summary
