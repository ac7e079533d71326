"""Stored plans through the API, the client and the command line, over the real ledger."""

import json
from dataclasses import replace

import pytest
import requests
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from app.cli.main import opsfarm as command_line
from app.errors import Conflict, Malformed, NotFound, PlanRejected
from app.principal import Role
from tests.lab.inventory import AssetBench

NIGHTLY = """\
# Disks, every night
name: nightly
inputs:
  path: {type: path, default: /}
  names: {type: list, default: []}
  count: {type: integer, min: 1, max: 9, required: true}
steps:
  - tool: df
    id: disk
    targets: {type: server}
    parameters: {path: "{{ inputs.path }}"}
"""
PLAIN = "steps:\n  - tool: df\n    targets: local\n"


@pytest.fixture
def farm(api_farm):
    """The client of an operator; web-01 and web-02 are in the inventory."""
    bench = AssetBench(api_farm.parts.engine)
    for number, name in enumerate(("web-01", "web-02"), 1):
        bench.run("asset-create", hostname=name, ip_address=f"192.0.2.{number}", type="server")
    with api_farm.client(Role.OPERATOR) as farm:
        yield farm


@pytest.fixture
def opsfarm(api_farm, tmp_path, monkeypatch):
    """`opsfarm("plans", "list")` as an operator, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    environment = {
        "OPSFARM_API_URL": api_farm.url,
        "OPSFARM_API_KEY": api_farm.keys[Role.OPERATOR],
    }
    runner = CliRunner(env=environment)
    return lambda *argv, given="": runner.invoke(command_line, argv, input=given)


@pytest.fixture
def change_tool(api_farm):
    """`change_tool("df")`: its file is another one now, the operation as told."""

    def change(name, **operation):
        catalog = api_farm.parts.catalog
        tool = catalog.find(name)
        operations = {
            key: each.model_copy(update=operation) for key, each in tool.operations.items()
        }
        changed = tool.model_copy(update={"digest": "0" * 64, "operations": operations})
        catalog = replace(catalog, tools={**catalog.tools, name: changed})
        api_farm.change_parts(catalog=catalog)

    return change


def refuse(call, *arguments, **named):
    with pytest.raises(PlanRejected) as caught:
        call(*arguments, **named)
    return caught.value


def targets_of(api_farm, execution):
    (step,) = api_farm.read(execution.id)["steps"]
    return [row["target"] for row in step["results"]]


class TestSave:
    def test_a_plan_is_kept_as_it_was_written(self, farm):
        saved = farm.plans.save(NIGHTLY, note="first")
        assert (saved["name"], saved["version"], saved["created"]) == ("nightly", 1, True)
        assert list(saved["tools"]) == ["df"]
        shown = farm.plans.show("nightly")
        assert shown["text"] == NIGHTLY
        assert (shown["note"], shown["saved_by"]) == ("first", "test-operator")
        assert shown["inputs"]["count"] == {"type": "integer", "min": 1, "max": 9, "required": True}

    def test_a_mapping_is_kept_too(self, farm):
        plan = {"name": "plain", "steps": [{"tool": "df", "targets": "local"}]}
        farm.plans.save(plan)
        assert json.loads(farm.plans.show("plain@1")["text"]) == plan

    def test_the_answer_tells_a_new_version_from_an_old_one(self, api_farm):
        def save(text):
            return requests.post(
                f"{api_farm.url}/plans",
                json={"plan": text, "name": "plain"},
                headers={"Authorization": f"Bearer {api_farm.keys[Role.OPERATOR]}"},
                timeout=20,
            )

        assert save(PLAIN).status_code == 201
        again = save(PLAIN)
        assert (again.status_code, again.json()["version"]) == (200, 1)
        assert save(PLAIN + "# more\n").json()["version"] == 2

    def test_versions_are_listed(self, farm):
        farm.plans.save(PLAIN, "plain")
        farm.plans.save(PLAIN + "# more\n", "plain")
        farm.plans.save(NIGHTLY)
        assert [(p["name"], p["version"]) for p in farm.plans.list()] == [
            ("nightly", 1),
            ("plain", 2),
        ]
        assert [v["version"] for v in farm.plans.versions("plain")] == [2, 1]
        assert all("text" not in version for version in farm.plans.versions("plain"))

    @pytest.mark.parametrize(
        ("plan", "name", "path", "code"),
        [
            (PLAIN, None, "name", "bad_format"),
            (PLAIN, "Nightly", "name", "bad_format"),
            (PLAIN, "a" * 64, "name", "bad_format"),
            ("steps:\n  - tool: dff\n", "a", "plan.steps[0].tool", "unknown_tool"),
            ({"steps": [{"tool": "dff"}]}, "a", "plan.steps[0].tool", "unknown_tool"),
            (json.dumps({"plan": {"steps": []}}), "a", "plan.plan", "unknown_key"),
            ("inputs: {a: {type: cat}}\n" + PLAIN, "a", "plan.inputs.a.type", "not_allowed"),
        ],
    )
    def test_a_fault_has_its_place_and_nothing_is_kept(self, farm, plan, name, path, code):
        found = {fault.path: fault for fault in refuse(farm.plans.save, plan, name).faults}
        assert found[path].code == code
        if isinstance(plan, str) and path.startswith("plan.steps"):
            assert (found[path].line, found[path].column) == (2, 5)
        assert farm.plans.list() == []

    @pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "steps: [", "a: 1\na: 2\n"])
    def test_a_text_that_cannot_be_read_has_its_place(self, farm, text):
        with pytest.raises(Malformed) as caught:
            farm.plans.save(text, "a")
        (fault,) = caught.value.faults
        assert (fault.code, fault.line is not None) == ("malformed", True)
        assert farm.plans.list() == []

    def test_a_request_that_is_wrong_names_its_members(self, farm):
        for body, path in (
            ({"plan": "nightly"}, "plan"),
            ({"plan": 3}, "plan"),
            ({"name": "a"}, "plan"),
            ({"plan": PLAIN, "name": 3}, "name"),
            ({"plan": PLAIN, "name": "a", "note": "x" * 501}, "note"),
            ({"plan": PLAIN, "name": "a", "inputs": {}}, "inputs"),
        ):
            refused = refuse(farm.http.post, "/plans", body)
            assert path in {fault.path for fault in refused.faults}, body
        assert farm.plans.list() == []

    def test_a_viewer_reads_and_does_not_save(self, api_farm, farm):
        farm.plans.save(PLAIN, "plain")
        with api_farm.client(Role.VIEWER) as viewer:
            assert viewer.plans.show("plain")["version"] == 1
        for role, status in ((Role.VIEWER, 403), (None, 401)):
            headers = {"Authorization": f"Bearer {api_farm.keys[role]}"} if role else {}
            answer = requests.post(
                f"{api_farm.url}/plans", json={"plan": PLAIN}, headers=headers, timeout=20
            )
            assert answer.status_code == status

    @pytest.mark.parametrize("name", ["none", "none@1", "Not-a-name", "none@x"])
    def test_what_is_not_there_is_not_found(self, farm, name):
        for read in (farm.plans.show, farm.plans.versions):
            with pytest.raises(NotFound):
                read(name)

    def test_a_missing_version_says_which_there_are(self, farm):
        farm.plans.save(PLAIN, "plain")
        with pytest.raises(NotFound, match="no version 9") as caught:
            farm.plans.show("plain@9")
        assert "version 1" in caught.value.hint


class TestRun:
    def test_a_version_runs_with_its_inputs_and_its_limit(self, api_farm, farm):
        farm.plans.save(NIGHTLY)
        inputs = {"path": "/var", "count": 3}
        execution = farm.submit("nightly", inputs=inputs, limit="web-02")
        shown = api_farm.read(execution.id)
        assert shown["plan"] == {"name": "nightly", "version": 1}
        assert targets_of(api_farm, execution) == ["web-02"]
        assert api_farm.claim(execution.id).parameters["path"] == "/var"

    def test_the_newest_runs_unless_a_version_is_named(self, api_farm, farm):
        farm.plans.save(PLAIN, "plain")
        farm.plans.save(PLAIN.replace("tool: df", "tool: df\n    id: second"), "plain")
        ran = [farm.submit(name) for name in ("plain", "plain@1", "plain@2")]
        assert [api_farm.read(e.id)["steps"][0]["id"] for e in ran] == ["second", "df", "second"]

    def test_check_and_dry_run_take_the_same(self, farm):
        farm.plans.save(NIGHTLY)
        for call in (farm.check, farm.dry_run):
            shown = call("nightly@1", inputs={"count": 1, "path": "/var"}, limit="web-01")
            assert shown["steps"][0]["targets"] == ["web-01"]
            assert shown["plan"] == {"name": "nightly", "version": 1}
        (command,) = shown["steps"][0]["commands"]
        assert "/var" in json.dumps(command)

    @pytest.mark.parametrize(
        ("plan", "path", "code", "allowed"),
        [
            ("nighly", "plan", "unknown_plan", "nightly"),
            ("nightly@7", "plan", "unknown_version", "version 1"),
            ("Nightly", "plan", "bad_format", "NAME or NAME@VERSION"),
            ("nightly@0", "plan", "bad_format", "NAME or NAME@VERSION"),
        ],
    )
    def test_a_plan_that_is_not_there(self, farm, plan, path, code, allowed):
        farm.plans.save(NIGHTLY)
        for call in (farm.submit, farm.check, farm.dry_run):
            (fault,) = refuse(call, plan).faults
            assert (fault.path, fault.code, fault.given) == (path, code, plan)
            assert allowed in fault.allowed
        assert farm.executions() == []

    @pytest.mark.parametrize(
        ("inputs", "limit", "path", "code"),
        [
            ({}, None, "inputs.count", "missing_input"),
            ({"count": "many"}, None, "inputs.count", "wrong_type"),
            ({"count": 10}, None, "inputs.count", "out_of_range"),
            ({"count": 1, "cuont": 1}, None, "inputs.cuont", "unknown_input"),
            ({"count": 1}, "web-09", "limit", "unknown_asset"),
            ({"count": 1}, "environment=moon", "limit", "no_targets"),
            ({"count": 1}, "=", "limit", "bad_selector"),
            ({"count": 1}, "local", "limit", "no_targets"),
        ],
    )
    def test_what_it_is_run_with_is_checked(self, farm, inputs, limit, path, code):
        farm.plans.save(NIGHTLY)
        refused = refuse(farm.submit, "nightly", inputs=inputs, limit=limit)
        found = {fault.path: fault.code for fault in refused.faults}
        assert found[path] == code
        assert refused.plan == "nightly@1"
        assert farm.executions() == []

    def test_a_text_beside_inputs_keeps_its_lines(self, farm):
        text = NIGHTLY.replace('path: "{{', 'pth: "{{')
        (fault,) = refuse(farm.submit, text, inputs={"count": 1}).faults
        assert (fault.path, fault.line) == ("steps[0].parameters.pth", 11)

    def test_the_key_stands_for_plan_inputs_and_limit(self, farm):
        farm.plans.save(NIGHTLY)
        first = farm.submit("nightly", "k", inputs={"count": 1})
        assert farm.submit("nightly", "k", inputs={"count": 1}).id == first.id
        for other in ({"inputs": {"count": 2}}, {"inputs": {"count": 1}, "limit": "web-01"}):
            with pytest.raises(Conflict, match="'k'"):
                farm.submit("nightly", "k", **other)


class TestChangedTools:
    def test_a_plan_that_still_fits_runs_with_a_warning(self, farm, change_tool):
        farm.plans.save(PLAIN, "plain")
        change_tool("df")
        said = "df changed since plain@1 was saved"
        assert said in farm.submit("plain").warnings
        assert said in farm.check("plain@1")["warnings"]
        assert farm.plans.list()[0]["changed_tools"] == ["df"]

    def test_saving_it_again_ends_the_warning(self, farm, change_tool):
        farm.plans.save(PLAIN, "plain")
        change_tool("df")
        assert farm.plans.save(PLAIN, "plain")["version"] == 2
        assert farm.check("plain")["warnings"] == []

    def test_one_that_fits_no_more_is_refused_with_the_change_and_its_line(self, farm, change_tool):
        farm.plans.save(NIGHTLY)
        change_tool("df", parameters={})
        refused = refuse(farm.submit, "nightly", inputs={"count": 1})
        (fault,) = refused.faults
        assert (fault.code, fault.line) == ("unknown_parameter", 11)
        assert "df changed since nightly@1 was saved" in fault.hint
        assert refused.plan == "nightly@1"
        assert farm.executions() == []


class TestCommandLine:
    def test_save_list_show(self, opsfarm, tmp_path):
        (tmp_path / "disks.yaml").write_text(PLAIN)
        saved = opsfarm("plans", "save", "disks.yaml", "--note", "why")
        assert (saved.exit_code, saved.stdout) == (0, "disks@1\n"), saved.stderr
        assert "nothing changed" in opsfarm("plans", "save", "disks.yaml").stderr
        assert "disks@1" in opsfarm("plans", "list").stdout
        assert "disks@1" in opsfarm("plans", "list", "disks").stdout
        shown = opsfarm("plans", "show", "disks")
        assert shown.stdout == PLAIN
        assert "test-operator" in shown.stderr
        assert json.loads(opsfarm("plans", "list", "--json").stdout)["plans"][0]["note"] == "why"

    def test_a_name_is_the_plans_own_else_the_files(self, opsfarm, tmp_path):
        (tmp_path / "disks.yaml").write_text(f"name: nightly\n{PLAIN}")
        assert opsfarm("plans", "save", "disks.yaml").stdout == "nightly@1\n"
        assert opsfarm("plans", "save", "disks.yaml", "--name", "other").stdout == "other@1\n"
        refused = opsfarm("plans", "save", "-", given=PLAIN)
        assert (refused.exit_code, "--name" in refused.stderr) == (2, True)

    def test_diff_shows_lines_as_they_were_written(self, opsfarm, tmp_path):
        file = tmp_path / "disks.yaml"
        for text in (PLAIN, f"{PLAIN}# more"):
            file.write_text(text)
            opsfarm("plans", "save", "disks.yaml")
        wanted = ["--- disks@1", "+++ disks@2", "+# more"]
        for words in (("disks@1", "disks@2"), ("disks@1",), ("disks",)):
            lines = opsfarm("plans", "diff", *words).stdout.splitlines()
            assert [line for line in lines if line[:1] in "+-"] == wanted
        same = opsfarm("plans", "diff", "disks", "disks.yaml")
        assert (same.exit_code, same.stdout) == (0, "")
        assert "the same" in same.stderr
        file.write_text(PLAIN)
        assert "-# more" in opsfarm("plans", "diff", "disks", "disks.yaml").stdout
        assert opsfarm("plans", "diff", "disks@1", "none").exit_code == 2
        assert opsfarm("plans", "diff", "disks@1", "none.yaml").exit_code == 2

    def test_run_reads_settings_by_the_inputs_types(self, api_farm, farm, opsfarm):
        farm.plans.save(NIGHTLY)
        ran = opsfarm(
            "plan", "run", "nightly", "--set", "count=3", "--set", "names=a,b",
            "--set", 'path:="/var"', "--limit", "web-01", "--detach",
        )  # fmt: skip
        assert ran.exit_code == 0, ran.stderr
        execution_id = ran.stdout.strip()
        kept = api_farm.parts.records.read_plan(execution_id)
        assert kept["given"] == {"count": "3", "names": ["a", "b"], "path": "/var"}
        assert kept["limit"] == "web-01"
        assert "nightly@1" in opsfarm("executions", "show", execution_id).stdout

    def test_a_fault_of_a_stored_plan_names_its_version_and_line(self, farm, opsfarm, change_tool):
        farm.plans.save(NIGHTLY)
        change_tool("df", parameters={})
        refused = opsfarm("plan", "check", "nightly", "--set", "count=3")
        assert refused.exit_code == 2
        assert "nightly@1:11:" in refused.stderr
        assert "df changed since nightly@1 was saved" in refused.stderr

    def test_a_fault_of_a_file_beside_settings_names_its_line(self, farm, opsfarm, tmp_path):
        (tmp_path / "plan.yaml").write_text(NIGHTLY.replace("tool: df", "tool: dff"))
        refused = opsfarm("plan", "check", "plan.yaml", "--set", "count=3")
        assert "plan.yaml:8:" in refused.stderr

    def test_an_empty_file_is_no_stored_plan(self, opsfarm, tmp_path):
        (tmp_path / "empty.yaml").write_text("")
        for command in ("run", "check", "dry-run"):
            refused = opsfarm("plan", command, "empty.yaml", "--set", "a=b")
            assert refused.exit_code == 2
            assert "the text is empty" in refused.stderr

    def test_a_plan_that_is_too_large_is_not_sent(self, opsfarm, tmp_path):
        (tmp_path / "big.yaml").write_text("# " + "x" * 262_144)
        for command in (("plan", "run"), ("plans", "save")):
            refused = opsfarm(*command, "big.yaml")
            assert refused.exit_code == 2
            assert "262144" in refused.stderr

    def test_an_unknown_plan_ends_with_2_and_a_guess(self, farm, opsfarm):
        farm.plans.save(PLAIN, "plain")
        refused = opsfarm("plan", "run", "plian")
        assert refused.exit_code == 2
        assert "did you mean 'plain'?" in refused.stderr


class TestCompletion:
    @pytest.fixture
    def offered(self, api_farm, farm, tmp_path, monkeypatch):
        """`offered("plan", "run", incomplete="ni")`: the words after <Tab>."""
        monkeypatch.setenv("OPSFARM_API_URL", api_farm.url)
        monkeypatch.setenv("OPSFARM_API_KEY", api_farm.keys[Role.VIEWER])
        monkeypatch.chdir(tmp_path)
        farm.plans.save(NIGHTLY)
        farm.plans.save(f"{NIGHTLY}# more\n")
        farm.plans.save(PLAIN, "plain")
        shell = ShellComplete(command_line, {}, "opsfarm", "_OPSFARM_COMPLETE")
        return lambda *argv, incomplete="": [
            item.value for item in shell.get_completions(list(argv), incomplete)
        ]

    def test_names_and_versions_of_stored_plans(self, offered):
        assert offered("plans", "show") == ["nightly", "plain"]
        assert offered("plans", "show", incomplete="p") == ["plain"]
        assert offered("plan", "run", incomplete="nightly@") == [
            "nightly@",
            "nightly@2",
            "nightly@1",
        ]
        assert offered("schedules", "add", "x", "--plan", incomplete="n") == ["nightly"]
        assert offered("plans", "show", incomplete="Odd@") == []

    def test_inputs_of_a_stored_plan_and_of_a_file(self, offered, tmp_path):
        names = ["path=", "names=", "count="]
        assert offered("plan", "run", "nightly", "--set") == names
        text = "inputs: {env: {type: choice, choices: [a, b]}, go: {type: boolean}}\n" + PLAIN
        (tmp_path / "plan.yaml").write_text(text)
        assert offered("plan", "run", "plan.yaml", "--set") == ["env=", "go="]
        assert offered("plan", "check", "plan.yaml", "--set", incomplete="env=") == [
            "env=a",
            "env=b",
        ]
        assert offered("plan", "run", "plan.yaml", "--set", incomplete="go=t") == ["go=true"]
        for odd in ("none", "none.yaml"):
            assert offered("plan", "run", odd, "--set") == []
