"""Executions that run again, through the API and the command line; the test plays the worker."""

import pytest
import requests
from click.testing import CliRunner

from app.cli.main import opsfarm as command_line
from app.errors import Conflict, Forbidden, NotFound, PlanRejected
from app.principal import Role
from tests.lab.inventory import AssetBench

NAMES = ("web-01", "web-02", "web-03")
DF = {"tool": "df", "id": "disk", "targets": {"type": "server"}, "on_failure": "continue"}
MORE = {"tool": "df", "id": "more", "targets": {"type": "server"}}
LOCAL = {"tool": "df", "id": "here", "targets": "local"}
LIST = {"tool": "asset-list", "id": "list"}


@pytest.fixture
def farm(api_farm):
    """The client of an operator; three servers are in the inventory."""
    bench = AssetBench(api_farm.parts.engine)
    for number, name in enumerate(NAMES, 1):
        bench.run("asset-create", hostname=name, ip_address=f"192.0.2.{number}", type="server")
    with api_farm.client(Role.OPERATOR) as farm:
        yield farm


@pytest.fixture
def work(api_farm):
    """`work(execution, "web-02")`: every step ends, failed on the targets named."""

    def run(execution, *failing):
        while api_farm.queued(execution.id):
            step = api_farm.claim(execution.id)
            name = step.target.name if step.target else step.key
            if name in failing:
                api_farm.fail(step, "it broke")
            else:
                api_farm.finish(step)
        return execution.status()

    return run


def targets_by_step(shown):
    """{id: targets that the step acts on}; a skipped step has none."""
    return {
        step["id"]: [row["target"] for row in step["results"] if row["state"] != "skipped"]
        for step in shown["steps"]
    }


def test_a_rerun_is_a_new_execution_of_the_same_linked_to_the_first(farm, work):
    plan = {"steps": [DF | {"parameters": {"path": "{{ inputs.path }}"}}]}
    plan["inputs"] = {"path": {"type": "path", "default": "/"}}
    first = farm.submit(plan, inputs={"path": "/var"}, limit="web-01,web-02")
    work(first)
    again = first.rerun()
    shown = again.status()
    assert again.id != first.id
    assert shown["rerun_of"] == first.id
    assert first.status()["reruns"] == [again.id]
    assert first.status()["rerun_of"] is None
    assert shown["plan_digest"] == first.status()["plan_digest"]
    assert targets_by_step(shown) == {"disk": ["web-01", "web-02"]}
    assert farm.executions()[0]["rerun_of"] == first.id


def test_a_reruns_parameters_are_those_of_the_first(api_farm, farm, work):
    plan = {
        "inputs": {"path": {"type": "path", "default": "/"}},
        "steps": [LOCAL | {"parameters": {"path": "{{ inputs.path }}"}}],
    }
    first = farm.submit(plan, inputs={"path": "/var"})
    work(first)
    assert api_farm.claim(first.rerun().id).parameters["path"] == "/var"


def test_only_what_failed_runs_again_and_steps_without_targets_do(farm, work):
    first = farm.submit({"steps": [DF, LIST, LOCAL]})
    assert work(first, "web-02", "web-03")["state"] == "failed"
    again = first.rerun(failed_only=True)
    assert targets_by_step(again.status()) == {
        "disk": ["web-02", "web-03"],
        "list": [None],
        "here": ["local"],
    }
    work(again, "web-03")
    third = again.rerun(failed_only=True)
    assert targets_by_step(third.status())["disk"] == ["web-03"]
    assert third.status()["rerun_of"] == again.id


def test_cancelled_targets_run_again_too(api_farm, farm):
    first = farm.submit({"steps": [MORE]})
    api_farm.finish(api_farm.claim(first.id))
    first.cancel("enough")
    assert first.status()["state"] == "cancelled"
    again = first.rerun(failed_only=True)
    assert targets_by_step(again.status()) == {"more": ["web-02", "web-03"]}


def test_where_only_steps_without_targets_failed_no_target_is_touched(farm, work):
    first = farm.submit({"steps": [DF, LIST]})
    assert work(first, "list")["state"] == "failed"
    again = first.rerun(failed_only=True)
    assert targets_by_step(again.status()) == {"disk": [], "list": [None]}


def test_many_failed_targets_fit_into_a_limit(api_farm, farm, work):
    bench = AssetBench(api_farm.parts.engine)
    names = [f"a-rather-long-name-of-a-host-in-some-rack-{n:03}.example.com" for n in range(150)]
    for name in names:
        bench.run("asset-create", hostname=name, type="switch")
    first = farm.submit({"steps": [{"tool": "df", "targets": {"type": "switch"}}]})
    work(first, *names[1:])
    again = first.rerun(failed_only=True)
    assert targets_by_step(again.status()) == {"df": names[1:]}
    work(again)


def test_a_rerun_of_a_stored_plan_keeps_its_version(farm, work):
    farm.plans.save({"steps": [LOCAL]}, "here")
    first = farm.submit("here")
    work(first)
    farm.plans.save({"steps": [DF]}, "here")
    shown = first.rerun().status()
    assert shown["plan"] == {"name": "here", "version": 1}
    assert targets_by_step(shown) == {"here": ["local"]}


@pytest.mark.parametrize("failed_only", [False, True])
def test_what_is_not_final_is_not_run_again(farm, failed_only):
    first = farm.submit({"steps": [LOCAL]})
    with pytest.raises(Conflict, match="is running: only a final one can be rerun") as caught:
        first.rerun(failed_only=failed_only)
    assert first.id in caught.value.hint
    assert len(farm.executions()) == 1


def test_where_nothing_failed_there_is_nothing_to_repeat(farm, work):
    first = farm.submit({"steps": [LOCAL]})
    work(first)
    with pytest.raises(Conflict, match=r"nothing of execution .* failed") as caught:
        first.rerun(failed_only=True)
    assert "--failed-only" in caught.value.hint
    assert len(farm.executions()) == 1


def test_a_step_that_failed_before_its_targets_were_known_needs_all_of_it(api_farm, farm, work):
    later = {"tool": "df", "id": "later", "targets": "{{ steps.disk.failed_targets }}"}
    first = farm.submit({"steps": [DF | {"targets": ["web-01", "web-02"]}, later]})
    api_farm.finish(api_farm.claim(first.id))
    first.cancel("enough")
    assert first.status()["state"] == "cancelled"
    with pytest.raises(Conflict, match=r"step 2 \(df\) ended cancelled before its targets"):
        first.rerun(failed_only=True)


def test_a_plan_that_is_not_accepted_any_more_is_refused_with_its_faults(api_farm, farm, work):
    first = farm.submit({"steps": [MORE | {"targets": ["web-01", "web-02"]}]})
    work(first, "web-02")
    AssetBench(api_farm.parts.engine).run("asset-delete", hostname="web-02", confirm=True)
    for failed_only, path in ((False, "steps[0].targets"), (True, "limit")):
        with pytest.raises(PlanRejected) as caught:
            first.rerun(failed_only=failed_only)
        assert path in {fault.path for fault in caught.value.faults}
    assert len(farm.executions()) == 1


def test_a_key_runs_it_once(farm, work):
    first = farm.submit({"steps": [LOCAL]})
    work(first)
    again = first.rerun(key="k")
    assert first.rerun(key="k").id == again.id
    assert first.status()["reruns"] == [again.id]


def test_whoever_asks_must_be_allowed(api_farm, farm, work):
    first = farm.submit({"steps": [LOCAL]})
    work(first)
    with api_farm.client(Role.VIEWER) as viewer, pytest.raises(Forbidden):
        viewer.execution(first.id).rerun()
    answer = requests.post(f"{api_farm.url}/executions/{first.id}/rerun", json={}, timeout=20)
    assert answer.status_code == 401


def test_bad_requests_are_named(api_farm, farm, work):
    first = farm.submit({"steps": [LOCAL]})
    work(first)
    headers = {"Authorization": f"Bearer {api_farm.keys[Role.OPERATOR]}"}
    for body in ({"failed_only": "yes"}, {"failed": True}, []):
        answer = requests.post(
            f"{api_farm.url}/executions/{first.id}/rerun", json=body, headers=headers, timeout=20
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["faults"]
    with pytest.raises(NotFound):
        farm.http.post("/executions/0197c0de-0000/rerun", {})
    assert len(farm.executions()) == 1


def test_the_command_line_reruns(api_farm, farm, work):
    first = farm.submit({"steps": [DF]})
    work(first, "web-02")
    settings = {
        "OPSFARM_API_URL": api_farm.url,
        "OPSFARM_API_KEY": api_farm.keys[Role.OPERATOR],
    }
    runner = CliRunner(env=settings)
    done = runner.invoke(
        command_line, ["executions", "rerun", first.id[:13], "--failed-only", "--detach"]
    )
    assert done.exit_code == 0, done.output
    again = farm.execution(done.stdout.strip())
    assert targets_by_step(again.status()) == {"disk": ["web-02"]}
    shown = runner.invoke(command_line, ["executions", "show", again.id]).stdout
    assert ["rerun_of", first.id] in [line.split() for line in shown.splitlines()]
    assert again.id in runner.invoke(command_line, ["executions", "show", first.id]).stdout
    refused = runner.invoke(command_line, ["executions", "rerun", again.id])
    assert (refused.exit_code, "is running" in refused.stderr) == (2, True)
