"""The command line as a process, against a served API: output, exit status, Ctrl-C."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from app.principal import Role
from app.step import State, StepResult
from tests.lab.command_line import COMMAND
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason

DF = ["run", "df", "path=/", "--target", "local"]


class TestRun:
    def test_streams_prints_the_output_and_ends_well(self, api_farm, begin):
        process, execution_id, step = begin(*DF)
        api_farm.say(step, "Filesystem  Use%")
        process.wait_for_note("| Filesystem  Use%")
        api_farm.finish(step, output=[{"mount": "/", "source": "/dev/vda", "other": 1}])
        status, out = process.end()
        assert status == 0
        assert out.splitlines()[0].split() == ["source", "mount", "other"]
        assert out.splitlines()[-1].split() == ["/dev/vda", "/", "1"]
        assert f"execution {execution_id}: succeeded" in process.notes
        assert api_farm.read(execution_id)["steps"][0]["operation"] == "usage"

    def test_prints_text_as_it_is(self, api_farm, begin):
        process, _, step = begin(*DF)
        api_farm.finish(step, stdout_tail="  two  blanks\n")
        assert process.end() == (0, "  two  blanks\n")

    def test_ends_like_a_step_that_failed(self, api_farm, begin):
        process, _, step = begin(*DF)
        api_farm.fail(step, "no such file or directory")
        status, out = process.end()
        assert (status, out) == (1, "")
        assert (
            "step 1 (df) on local: failed (exit_code): no such file or directory" in process.notes
        )
        assert "  it broke" in process.notes

    def test_json_is_alone_on_standard_output(self, api_farm, begin):
        process, execution_id, step = begin(*DF, "--json")
        api_farm.say(step, "noise")
        api_farm.finish(step, output={"used": 45})
        status, out = process.end()
        assert status == 0
        assert json.loads(out)["execution_id"] == execution_id

    def test_detach_prints_the_id(self, api_farm, opsfarm):
        status, out, notes = opsfarm(*DF, "--detach")
        assert (status, notes) == (0, [])
        assert api_farm.read(out.strip())["state"] == "running"

    def test_the_wait_ends(self, api_farm, opsfarm):
        status, _, notes = opsfarm(*DF, "--wait-s", "0.5")
        assert status == 124
        assert any(line.startswith("  watch it:   opsfarm executions watch ") for line in notes)

    def test_an_unknown_outcome_needs_a_person(self, api_farm, begin):
        process, execution_id, step = begin(*DF)
        assert api_farm.parts.ledger.arm_step(step)
        unknown = StepResult(State.INTERRUPTED, "no answer", reason=Reason.TIMEOUT)
        assert api_farm.parts.ledger.interrupt_step(step, unknown)
        status, _ = process.end()
        assert status == 3
        assert f"execution {execution_id} needs a person: attention" in process.notes

    def test_cancelled_elsewhere(self, api_farm, begin):
        process, execution_id, step = begin(*DF)
        api_farm.client().execution(execution_id).cancel("enough")
        process.wait_for_note("cancel was asked for by test-operator")
        api_farm.finish(step, state=State.CANCELLED, reason=Reason.STOPPED, stopped="verified")
        assert process.end()[0] == 4

    def test_a_wrong_parameter_is_refused_with_a_guess(self, opsfarm):
        status, out, notes = opsfarm("run", "df", "paht=/")
        assert (status, out) == (2, "")
        assert "step 1 (df): no parameter 'paht'; did you mean 'path'?" in notes

    def test_an_unknown_tool_is_refused_with_a_guess(self, opsfarm):
        status, _, notes = opsfarm("run", "sendmial", "to=a@example.com")
        assert status == 2
        assert any("did you mean 'sendmail'?" in line for line in notes)

    def test_a_change_without_a_target_is_refused(self, api_farm, opsfarm):
        status, _, notes = opsfarm("run", "command", 'argv=["touch","/tmp/x"]')
        assert status == 2
        assert any("target" in line for line in notes)
        assert api_farm.parts.records.list_executions("default") == []


class TestInterrupts:
    def test_one_detaches_and_says_how_to_go_on(self, api_farm, begin):
        process, execution_id, step = begin(*DF)
        process.wait_for_note("running on worker")
        process.interrupt()
        process.wait_for_note(f"detached: execution {execution_id} goes on")
        process.wait_for_note(f"  watch it:   opsfarm executions watch {execution_id}")
        process.wait_for_note(f"  cancel it:  opsfarm executions cancel {execution_id}")
        assert process.end() == (130, "")
        assert api_farm.read(execution_id)["cancel_requested_at"] is None
        api_farm.finish(step)

    def test_a_second_cancels_and_stays_to_the_end(self, api_farm, begin):
        process, execution_id, step = begin(*DF)
        process.wait_for_note("running on worker")
        process.interrupt()
        process.wait_for_note("press Ctrl-C again")
        process.interrupt()
        process.wait_for_note(f"cancelling execution {execution_id}")
        assert api_farm.read(execution_id)["cancel_reason"] == "cancelled with Ctrl-C"
        api_farm.finish(step, state=State.CANCELLED, reason=Reason.STOPPED, stopped="verified")
        assert process.end()[0] == 4


class TestTerminal:
    @pytest.mark.parametrize("settings", [{}, {"NO_COLOR": "1"}])
    def test_progress_moves_and_leaves_only_the_end(self, api_farm, settings):
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(ours, (30, 120))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path.cwd()),
            "TERM": "xterm-256color",
            "OPSFARM_API_URL": api_farm.url,
            "OPSFARM_API_KEY": api_farm.keys[Role.OPERATOR],
            **settings,
        }
        process = subprocess.Popen([*COMMAND, *DF], stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        seen = read_until(ours, "queued")
        execution_id = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", seen)[0]
        step = api_farm.claim(execution_id)
        api_farm.say(step, "a line of \x1b[31moutput")
        seen = read_until(ours, "[31moutput")
        assert "running" in seen
        assert "\x1b[31moutput" not in seen
        coloured = "\x1b[36m" in seen
        assert coloured is not bool(settings)
        api_farm.finish(step, stdout_tail="the text \x1b]0;title\x07\n")
        seen = read_until(ours, f"execution {execution_id}: succeeded", "the text")
        assert "\x1b]0;title" not in seen
        assert process.wait(timeout=10) == 0
        os.close(ours)


def read_until(terminal, *parts):
    """What a terminal shows until it has shown all `parts`."""
    seen = ""
    while not all(part in seen for part in parts):
        ready, _, _ = select.select([terminal], [], [], 20)
        assert ready, f"nothing more after {seen!r}"
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


class TestPlans:
    def test_runs_a_file_and_prints_its_steps(self, api_farm, begin, tmp_path):
        plan = tmp_path / "plan.yaml"
        plan.write_text(
            "name: nightly\nsteps:\n"
            "  - {tool: df, parameters: {path: /}, targets: local, on_failure: continue}\n"
            "  - {tool: df, id: other, parameters: {path: /var}, targets: local}\n"
        )
        process, execution_id, step = begin("plan", "run", str(plan))
        api_farm.fail(step, "gone")
        api_farm.work(execution_id, summary="45 % used")
        status, out = process.end()
        assert status == 1
        assert "45 % used" in out
        assert "[1/2] df usage on local: failed (exit_code)" in "\n".join(process.notes)

    def test_faults_have_places_in_the_file(self, opsfarm, tmp_path, monkeypatch):
        plan = tmp_path / "plan.yaml"
        plan.write_text(
            "steps:\n  - tool: df\n    parameters: {path: /}\n    targets: local\n"
            "  - tool: df\n    id: b\n    parameters: {pth: /}\n    targets: local\n"
        )
        for command in ("run", "check", "dry-run"):
            status, out, notes = opsfarm("plan", command, str(plan))
            assert (status, out) == (2, "")
            expected = f"{plan}:7:18 step 2 (df): no parameter 'pth'; did you mean 'path'?"
            assert expected in notes

    def test_refusals_as_json(self, opsfarm):
        status, out, _ = opsfarm("plan", "check", "-", "--json", given="steps: [{tool: df}, 7]")
        assert status == 2
        assert json.loads(out)["type"] == "urn:opsfarm:problem:plan_rejected"

    def test_checks_standard_input(self, opsfarm):
        given = json.dumps({"steps": [{"tool": "df", "targets": "local"}]})
        status, out, _ = opsfarm("plan", "check", "-", given=given)
        assert status == 0
        assert out.splitlines()[-1].split()[:4] == ["1", "df", "df", "usage"]

    def test_dry_run_shows_the_command(self, opsfarm):
        given = json.dumps({"steps": [{"tool": "df", "targets": "local"}]})
        status, out, _ = opsfarm("plan", "dry-run", "-", given=given)
        assert status == 0
        assert "queue automation, worker-1" in out
        assert out.splitlines()[1] == "  local (localhost)"
        assert out.splitlines()[2].startswith("    run     df -B1 --output=")

    def test_the_same_key_runs_once(self, opsfarm):
        given = json.dumps({"steps": [{"tool": "df", "targets": "local"}]})
        ids = {
            opsfarm("plan", "run", "-", "--detach", "--key", "one", given=given)[1]
            for _ in range(2)
        }
        assert len(ids) == 1

    def test_a_missing_file_is_bad_usage(self, opsfarm):
        status, _, notes = opsfarm("plan", "run", "/nowhere.yaml")
        assert status == 2
        assert any("No such file" in line for line in notes)


class TestExecutions:
    def test_show_list_and_cancel(self, api_farm, opsfarm):
        execution = api_farm.client().submit(
            {"steps": [{"tool": "df", "targets": "local", "parameters": {"path": "/"}}]}
        )
        status, out, _ = opsfarm("executions", "list", "--json")
        assert [e["execution_id"] for e in json.loads(out)["executions"]] == [execution.id]
        status, out, _ = opsfarm("executions", "show", execution.id[:13])
        assert (status, execution.id in out) == (0, True)
        status, _, notes = opsfarm("executions", "cancel", execution.id, "--reason", "wrong")
        assert (status, notes) == (0, [f"execution {execution.id}: cancelled"])
        assert api_farm.read(execution.id)["cancel_reason"] == "wrong"
        status, _, notes = opsfarm("executions", "cancel", execution.id)
        assert status == 2
        assert opsfarm("executions", "watch", execution.id)[0] == 4

    def test_shows_one_step_whole(self, api_farm, opsfarm):
        execution = api_farm.client().submit({"steps": [{"tool": "df", "targets": "local"}]})
        api_farm.work(execution.id, stdout_tail="everything\n")
        assert opsfarm("executions", "show", execution.id, "--step", "df")[1] == "everything\n"

    def test_unknown_ids_are_refused(self, opsfarm):
        assert opsfarm("executions", "show", "0197c0de-0000")[0] == 2


class TestInventory:
    def test_each_command_is_a_plan(self, api_farm, begin):
        cases = [
            (["create", "web-01", "ip=192.0.2.1", 'tags={"role": "web"}'], "asset-create"),
            (["update", "7", "status=maintenance"], "asset-update"),
            (["list", "environment=production", "limit=5"], "asset-list"),
            (["delete", "web-01", "--confirm", "--reason", "sold"], "asset-delete"),
        ]
        expected = [
            {"hostname": "web-01", "ip_address": "192.0.2.1", "tags": {"role": "web"}},
            {"id": 7, "status": "maintenance"},
            {"environment": "production", "limit": 5},
            {"hostname": "web-01", "confirm": True},
        ]
        for (argv, tool), parameters in zip(cases, expected, strict=True):
            process, _, step = begin("assets", *argv)
            assert step.tool == tool
            assert parameters.items() <= dict(step.parameters).items()
            api_farm.finish(step, output={"assets": [], "total": 0})
            assert process.end()[0] == 0

    def test_delete_asks_first(self, api_farm, opsfarm):
        assert opsfarm("assets", "delete", "web-01", given="n\n")[0] != 0
        assert api_farm.parts.records.list_executions("default") == []

    @pytest.mark.parametrize(
        ("argv", "output", "printed"),
        [
            (("list",), {"assets": [{"id": 7}], "total": 9}, {"assets": [{"id": 7}], "total": 9}),
            (("show", "web-01"), {"assets": [{"id": 7}], "count": 1}, {"id": 7}),
            (("update", "web-01", "os=Debian"), {"asset": {"id": 7}}, {"id": 7}),
        ],
        ids=["list", "show", "update"],
    )
    def test_assets_as_json_are_assets(self, api_farm, begin, argv, output, printed):
        process, _, step = begin("assets", *argv, "--json")
        api_farm.finish(step, output=output)
        status, out = process.end()
        assert (status, json.loads(out)) == (0, printed)

    def test_an_asset_that_failed_is_told_as_its_execution(self, api_farm, begin):
        process, execution_id, step = begin("assets", "show", "web-01", "--json")
        api_farm.fail(step, "no asset 'web-01'")
        status, out = process.end()
        assert (status, json.loads(out)["execution_id"]) == (1, execution_id)

    def test_what_names_an_asset_is_not_given_twice(self, opsfarm):
        status, _, notes = opsfarm("assets", "update", "web-01", "hostname=web-02")
        assert status == 2
        assert "new_hostname=... renames it" in "".join(notes)


class TestVault:
    def test_secrets_come_by_pipe(self, api_farm, opsfarm):
        admin = {"role": Role.ADMIN}
        assert opsfarm("secrets", "set", "mail", given="canary\n", **admin)[0] == 0
        vault = api_farm.parts.vault
        assert vault.open_secret(vault.find("default", "mail")).reveal() == "canary"
        assert json.loads(opsfarm("secrets", "list", "--json", **admin)[1])[0]["name"] == "mail"
        assert opsfarm("secrets", "remove", "mail", **admin)[0] == 0
        assert vault.names("default") == set()
        assert opsfarm("secrets", "set", "mail", given="", **admin)[0] == 2

    def test_credentials(self, api_farm, opsfarm):
        admin = {"role": Role.ADMIN}
        argv = ("credentials", "add", "login", "--user", "deploy", "--become", "sudo")
        assert opsfarm(*argv, given="canary\n", **admin)[0] == 0
        vault = api_farm.parts.vault
        login = vault.open_credential(vault.find("default", "login"))
        assert (login.username, login.password.reveal()) == ("deploy", "canary")
        assert login.become == {"method": "sudo", "user": "root"}
        assert "deploy" in opsfarm("credentials", "list", **admin)[1]

    def test_principals(self, api_farm, opsfarm):
        admin = {"role": Role.ADMIN}
        status, key, _ = opsfarm("principals", "add", "alice", "--role", "viewer", **admin)
        assert status == 0
        assert api_farm.parts.principals.find(key.strip()).name == "alice"
        assert opsfarm("principals", "revoke", "alice", **admin)[0] == 0
        assert api_farm.parts.principals.find(key.strip()) is None
        assert opsfarm("principals", "list")[0] == 2  # an operator may not


class TestLocks:
    def test_who_holds_what_and_who_waits(self, api_farm, opsfarm):
        AssetBench(api_farm.parts.engine).run("asset-create", hostname="web-01")
        client = api_farm.client()
        step = {"tool": "chmod", "operation": "set", "targets": "web-01"}
        plan = {"steps": [step | {"parameters": {"path": "/nowhere", "mode": "600"}}]}
        first, second = client.submit(plan), client.submit(plan)
        api_farm.claim(first.id)
        status, out, _ = opsfarm("locks")
        assert status == 0
        assert first.id in out
        assert json.loads(opsfarm("locks", "--json")[1])[0]["waiting"] == 1
        _, _, notes = opsfarm("executions", "show", second.id)
        words = f"on web-01: blocked by step 1 (chmod) on web-01 of execution {first.id}"
        assert words in "".join(notes)


class TestFinding:
    def test_the_state_folder_is_found_upwards(self, api_farm, tmp_path):
        inner = tmp_path / "a" / "b"
        inner.mkdir(parents=True)
        done = subprocess.run(
            [*COMMAND, "workers", "--json"],
            cwd=inner,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout)[0]["name"] == "worker-1"

    def test_a_farm_that_does_not_answer(self, opsfarm):
        status, _, notes = opsfarm("workers", OPSFARM_API_URL="http://127.0.0.1:1")
        assert status == 5
        assert "start one with 'opsfarm up'" in notes[0]

    def test_no_farm_at_all(self, opsfarm, tmp_path):
        status, _, notes = opsfarm("workers", OPSFARM_API_URL="", OPSFARM_STATE_DIR=str(tmp_path))
        assert status == 5
        assert notes == ["opsfarm: no farm is running here; start one with 'opsfarm up'"]

    def test_a_key_that_is_not_known(self, opsfarm):
        assert opsfarm("workers", OPSFARM_API_KEY="nonsense")[0] == 2


def test_help_loads_nothing_heavy():
    heavy = "{'sqlalchemy', 'celery', 'fastapi', 'psycopg2', 'paramiko', 'kombu', 'jinja2'}"
    script = f"import app.cli.main, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
