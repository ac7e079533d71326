"""People decide about what stopped: through the API and the command line; the test plays worker."""

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from click.testing import CliRunner

from app.cli.main import opsfarm as command_line
from app.errors import Conflict, Forbidden, Malformed, NotFound
from app.principal import Role
from app.step import State, StepResult
from app.store.outbox import Outbox
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason

NAMES = ("web-01", "web-02", "web-03")
RUN = {
    "tool": "chmod",
    "operation": "set",
    "id": "act",
    "parameters": {"path": "/x", "mode": "0640"},
    "targets": "web-01",
}
RESTART = {
    "tool": "systemctl",
    "operation": "restart",
    "id": "again",
    "parameters": {"unit": "a.service"},
    "targets": "web-01",
}
LOGS = {"tool": "journalctl", "targets": "web-01"}
DISK = {"tool": "df", "id": "disk", "targets": "local"}
WHY = "looked at the host"
UNKNOWN = StepResult(State.FAILED, "no end was seen", Reason.WORKER_LOST, unknown=True)


@pytest.fixture
def farm(api_farm):
    """The client of the operator who submits; three servers are in the inventory."""
    bench = AssetBench(api_farm.parts.engine)
    for number, name in enumerate(NAMES, 1):
        bench.run("asset-create", hostname=name, ip_address=f"192.0.2.{number}", type="server")
    with api_farm.client(Role.OPERATOR) as farm:
        yield farm


@pytest.fixture
def interrupt(api_farm):
    """Claim the first queued row, arm it, and lose sight of it."""

    def run(execution, *lines):
        step = api_farm.claim(execution.id)
        ledger = api_farm.parts.ledger
        assert ledger.arm_step(step)
        if lines:
            api_farm.say(step, *lines)
        assert ledger.interrupt_step(step, UNKNOWN)
        assert execution.status()["state"] == "attention"
        return step

    return run


@pytest.fixture
def cli(api_farm, monkeypatch):
    """`cli("executions", "list")`: its result; of the operator unless `role` says otherwise."""

    def run(*argv, role=Role.OPERATOR):
        monkeypatch.setenv("OPSFARM_API_URL", api_farm.url)
        monkeypatch.setenv("OPSFARM_API_KEY", api_farm.keys[role])
        return CliRunner().invoke(command_line, argv, catch_exceptions=False)

    return run


@pytest.fixture
def unchanged(api_farm):
    """The ledger's rows and events of an execution, to compare."""

    def read(execution):
        shown = api_farm.read(execution.id)
        events, _ = api_farm.parts.records.read_events(
            api_farm.parts.records.newest_cursor().__class__(), UUID(execution.id)
        )
        return shown, [event.body for event in events]

    return read


# Resolve.


@pytest.mark.parametrize(
    ("as_", "act", "state"),
    [
        ("succeeded", "succeeded", "running"),
        ("failed", "failed", "failed"),
        ("skip", "skipped", "running"),
        ("retry", "queued", "running"),
    ],
)
def test_whoever_submitted_it_says_how_it_ended(api_farm, farm, interrupt, *, as_, act, state):
    execution = farm.submit({"steps": [RUN, DISK]})
    interrupt(execution)
    shown = execution.resolve("act", as_, WHY)
    assert (shown["steps"][0]["state"], shown["state"]) == (act, state)
    assert execution.state == state
    if as_ != "failed":
        api_farm.work(execution.id)
        assert execution.status()["state"] == "succeeded"


def test_the_desk_tells_who_resolved_it_why_and_from_where(farm, interrupt):
    execution = farm.submit({"steps": [RUN]})
    step = interrupt(execution)
    execution.resolve(1, "succeeded", WHY)
    told = farm.dead_letters.show(step.id)["history"][-1]
    assert (told["kind"], told["actor"]) == ("step.succeeded", "test-operator")
    resolved = told["data"]["resolved"]
    assert (resolved["why"], resolved["from"]) == (WHY, "127.0.0.1")
    assert resolved["evidence"]["armed_at"]


def test_a_step_of_several_targets_is_resolved_one_by_one(farm, interrupt):
    execution = farm.submit({"steps": [{**RUN, "targets": list(NAMES)}]})
    for _ in NAMES:
        interrupt(execution)
    with pytest.raises(Malformed, match=r"3 rows that fit: web-01 \(row:\d+\)"):
        execution.resolve("act", "succeeded", WHY)
    execution.resolve("act", "succeeded", WHY, target="web-02")
    with pytest.raises(Conflict, match="step act on web-02 is succeeded; only an interrupted"):
        execution.resolve("act", "failed", WHY, target="web-02")
    row = execution.status()["steps"][0]["results"][2]
    execution.resolve(f"row:{row['step_id']}", "succeeded", WHY)
    shown = execution.resolve("act", "failed", WHY)  # the only one left
    assert [r["state"] for r in shown["steps"][0]["results"]] == [
        "failed",
        "succeeded",
        "succeeded",
    ]


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_resolving_what_is_not_interrupted_is_refused(api_farm, farm, unchanged, state):
    execution = farm.submit({"steps": [RUN, DISK]})
    if state != "queued":
        step = api_farm.claim(execution.id)
    if state == "succeeded":
        api_farm.finish(step)
    before = unchanged(execution)
    with pytest.raises(Conflict, match=f"step act on web-01 is {state}; only an interrupted"):
        execution.resolve("act", "succeeded", WHY)
    assert unchanged(execution) == before


@pytest.mark.parametrize("role", [Role.VIEWER, "another"])
def test_resolving_by_somebody_else_is_refused(api_farm, farm, interrupt, unchanged, role):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    before = unchanged(execution)
    if role == "another":
        role = Role.OPERATOR
        api_farm.keys[role] = api_farm.parts.principals.add("default", "bob", role)[1]
    with api_farm.client(role) as other, pytest.raises(Forbidden, match="test-operator's"):
        other.execution(execution.id).resolve("act", "succeeded", WHY)
    assert unchanged(execution) == before


@pytest.mark.parametrize("role", [Role.APPROVER, Role.ADMIN])
def test_approvers_and_admins_resolve_what_others_submitted(api_farm, farm, interrupt, role):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    with api_farm.client(role) as other:
        assert other.execution(execution.id).resolve("act", "failed", WHY)["state"] == "failed"


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_resolving_without_a_reason_is_refused(farm, interrupt, unchanged, reason):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    before = unchanged(execution)
    with pytest.raises(Malformed, match="needs a reason"):
        execution.resolve("act", "succeeded", reason)
    assert unchanged(execution) == before


@pytest.mark.parametrize(
    ("step", "target", "words"),
    [
        ("disc", None, "no step 'disc'.*there are: act"),
        ("7", None, "no step '7'"),
        ("row:1000000", None, "no step"),
        ("act", "web-09", "no target 'web-09'; there are: web-01"),
    ],
)
def test_resolving_an_unknown_step_is_refused(farm, interrupt, unchanged, *, step, target, words):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    before = unchanged(execution)
    with pytest.raises(NotFound, match=words):
        execution.resolve(step, "succeeded", WHY, target=target)
    assert unchanged(execution) == before


def test_resolving_twice_is_refused(farm, interrupt):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    execution.resolve("act", "failed", WHY)
    with pytest.raises(Conflict, match="is failed; only an interrupted"):
        execution.resolve("act", "succeeded", WHY)


def test_a_retry_of_what_was_cancelled_is_refused(farm, interrupt):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    execution.cancel("enough")
    with pytest.raises(Conflict, match="its execution was cancelled"):
        execution.resolve("act", "retry", WHY)
    assert execution.resolve("act", "skip", WHY)["state"] == "cancelled"


def test_a_reason_that_no_database_keeps_is_refused_and_nothing_changes(farm, interrupt, unchanged):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    before = unchanged(execution)
    with pytest.raises(Malformed) as info:
        execution.resolve("act", "succeeded", "it\0runs")
    [fault] = info.value.faults
    assert fault.path == "reason"
    assert "a text with a NUL" in str(fault)
    assert unchanged(execution) == before


def test_a_person_sees_what_there_is_to_know_and_the_commands_to_choose_from(
    api_farm, farm, interrupt, cli
):
    execution = farm.submit({"steps": [RUN]})
    step = interrupt(execution, "half way", "almost there")
    shown = cli("executions", "show", execution.id).stderr
    assert "may have acted: since 20" in shown
    assert "attempt 1 on worker worker-1" in shown
    assert "UTC, stdout: almost there" in shown
    for choice in ("succeeded", "failed", "retry", "skip"):
        command = f"opsfarm executions resolve {execution.id} act --as {choice} --reason TEXT"
        assert command in shown
    letter = cli("deadletter", "show", str(step.id))
    assert "step.interrupted" in letter.stdout
    assert "--as retry" in letter.stderr


def test_a_probe_is_asked_over_http_and_from_the_command_line(api_farm, farm, interrupt, cli):
    execution = farm.submit({"steps": [RESTART]})
    interrupt(execution)
    shown = cli("executions", "show", execution.id).stderr
    assert "its probe:      not" in shown
    resolve = ("executions", "resolve", execution.id, "again", "--as", "probe")
    asked = cli(*resolve, "--reason", "the host is back")
    assert (asked.exit_code, "attention" in asked.stderr) == (0, True), asked.stderr
    assert execution.resolve("again", "probe")["state"] == "attention"
    assert "as soon as a worker is there" in cli("executions", "show", execution.id).stderr
    assert len(Outbox(api_farm.parts.autocommit).take_probes("automation", 1, 60)) == 1
    with pytest.raises(Conflict, match="it is asked now"):
        execution.resolve("again", "probe")
    execution.resolve("again", "succeeded", WHY)
    with pytest.raises(Conflict, match="is succeeded; only an interrupted"):
        execution.resolve("again", "probe")


def test_a_step_without_a_probe_cannot_be_asked(farm, interrupt, unchanged):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    before = unchanged(execution)
    with pytest.raises(Conflict, match="its operation has no probe"):
        execution.resolve("act", "probe")
    assert unchanged(execution) == before


def test_every_other_choice_needs_a_reason(farm, interrupt, cli):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    refused = cli("executions", "resolve", execution.id, "act", "--as", "succeeded")
    assert refused.exit_code == 2
    assert "--as succeeded needs a reason" in refused.stderr
    with pytest.raises(Malformed, match="needs a reason"):
        execution.resolve("act", "succeeded")


def test_the_command_line_resolves_and_ends_like_the_execution(farm, interrupt, cli):
    execution = farm.submit({"steps": [RUN]})
    interrupt(execution)
    resolve = ("executions", "resolve", execution.id, "act", "--as")
    done = cli(*resolve, "failed", "--reason", WHY)
    assert (done.exit_code, done.stderr) == (1, f"execution {execution.id}: failed\n")
    again = cli(*resolve, "succeeded", "--reason", WHY, "--json")
    assert again.exit_code == 2
    assert json.loads(again.stdout)["status"] == 409


# Resume.


def broken(api_farm, execution, *failing):
    """Work every step to its end; on these targets it failed."""
    while api_farm.queued(execution.id):
        step = api_farm.claim(execution.id)
        if not failing or (step.target and step.target.name in failing):
            api_farm.fail(step, "it broke")
        else:
            api_farm.finish(step)
    return execution.status()


def test_a_failed_execution_goes_on_from_the_failed_step(api_farm, farm):
    execution = farm.submit({"steps": [DISK, {**RUN}, {**DISK, "id": "more"}]})
    api_farm.finish(api_farm.claim(execution.id))
    assert broken(api_farm, execution)["state"] == "failed"
    again = execution.resume(reason="mended")
    assert (again.id, again.state, again.run) == (execution.id, "running", 2)
    assert again.warnings == ()
    states = [step["state"] for step in again.status()["steps"]]
    assert states == ["succeeded", "queued", "pending"]
    api_farm.work(execution.id)
    assert again.wait(5)["state"] == "succeeded"


def test_only_the_failed_targets_go_on(api_farm, farm):
    plan = {"targets": list(NAMES), "steps": [{**DISK, "targets": None}, {**RUN, "targets": None}]}
    plan = {**plan, "steps": [{k: v for k, v in s.items() if v} for s in plan["steps"]]}
    execution = farm.submit(plan)
    assert broken(api_farm, execution, "web-02")["state"] == "failed"
    shown = execution.resume(failed_only=True).status()
    states = [[row["state"] for row in step["results"]] for step in shown["steps"]]
    assert states == [["succeeded", "queued", "succeeded"], ["skipped", "pending", "skipped"]]


@pytest.mark.parametrize("state", ["succeeded", "running", "attention"])
@pytest.mark.parametrize("failed_only", [False, True])
def test_resuming_a_success_or_what_is_not_final_is_refused(
    api_farm, farm, interrupt, unchanged, *, state, failed_only
):
    execution = farm.submit({"steps": [RUN]})
    if state == "succeeded":
        api_farm.work(execution.id)
    if state == "attention":
        interrupt(execution)
    before = unchanged(execution)
    with pytest.raises(Conflict, match=rf"cannot be resumed: .*{state}"):
        execution.resume(failed_only=failed_only)
    assert unchanged(execution) == before


def test_resuming_by_a_viewer_is_refused(api_farm, farm, unchanged):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    before = unchanged(execution)
    with api_farm.client(Role.VIEWER) as viewer, pytest.raises(Forbidden):
        viewer.execution(execution.id).resume()
    assert unchanged(execution) == before


def test_a_tool_that_changed_since_is_a_warning(api_farm, farm):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    with api_farm.parts.engine.begin() as connection:
        connection.exec_driver_sql('update execution_plans set tools = \'{"df": "older"}\'')
    [warning] = execution.resume().warnings
    assert warning == "df changed since this execution was submitted"


def test_a_resumed_execution_is_watched_to_its_new_end(api_farm, farm, start):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    resuming = start("executions", "resume", execution.id, "--reason", "mended")
    resuming.wait_for_note(f"execution {execution.id}")
    watching = start("executions", "watch", execution.id)
    watching.wait_for_note("failed")
    api_farm.finish(api_farm.claim(execution.id))
    for process in (resuming, watching):
        status, _ = process.end()
        assert (status, process.notes[-1]) == (0, f"execution {execution.id}: succeeded")
    # Whoever resumes it sees what is to come, whoever watches also what was.
    assert not any("failed" in note for note in resuming.notes)
    kinds = [event["kind"] for event in farm.execution(execution.id).events()]
    assert kinds.count("execution.finished") == 2
    assert "execution.resumed" in kinds


# The dead-letter desk.


def test_the_desk_shows_what_failed_or_is_interrupted_newest_first(api_farm, farm, interrupt):
    first = farm.submit({"steps": [DISK]})
    broken(api_farm, first)
    second = farm.submit({"steps": [RUN]})
    interrupt(second)
    third = farm.submit({"steps": [DISK]})
    api_farm.work(third.id)
    letters = farm.dead_letters.list()
    assert [(each["execution_id"], each["state"], each["reason"]) for each in letters] == [
        (second.id, "interrupted", "worker_lost"),
        (first.id, "failed", "exit_code"),
    ]
    assert letters[1]["summary"] == "it broke"


def test_the_desk_is_filtered(api_farm, farm, interrupt):
    execution = farm.submit({"steps": [{**DISK, "targets": list(NAMES), "on_failure": "continue"}]})
    broken(api_farm, execution, "web-02", "web-03")
    other = farm.submit({"steps": [RUN]})
    interrupt(other)

    def found(**filters):
        return [each["target"] for each in farm.dead_letters.list(**filters)]

    assert found(tool="DF") == ["web-03", "web-02"]
    assert found(reason="worker_lost") == ["web-01"]
    assert found(target="web-02") == ["web-02"]
    assert found(since="2099-01-01T00:00:00Z") == []
    assert found(since="2020-01-01T00:00:00Z", limit=1) == ["web-01"]
    newest = farm.dead_letters.list()[0]["step_id"]
    assert found(before=newest) == ["web-03", "web-02"]
    with pytest.raises(Malformed):
        found(reason="bad_luck")


def test_a_failed_row_is_requeued_with_what_it_held_up(api_farm, farm):
    execution = farm.submit({"steps": [DISK, {**DISK, "id": "more"}]})
    broken(api_farm, execution)
    [letter] = farm.dead_letters.list()
    shown = farm.dead_letters.requeue(letter["step_id"], "mended")
    assert [step["state"] for step in shown["steps"]] == ["queued", "pending"]
    assert farm.dead_letters.list() == []
    api_farm.work(execution.id)
    assert execution.status()["state"] == "succeeded"
    kinds = [event["kind"] for event in farm.dead_letters.show(letter["step_id"])["history"]]
    assert kinds[-3:] == ["step.requeued", "step.running", "step.succeeded"]


def test_of_two_failed_rows_one_is_requeued_alone(api_farm, farm):
    steps = [{**DISK, "targets": list(NAMES)}, {**DISK, "id": "more"}]
    execution = farm.submit({"steps": steps})
    broken(api_farm, execution, "web-01", "web-02")
    second, first = farm.dead_letters.list()
    farm.dead_letters.requeue(first["step_id"], WHY)
    states = [[r["state"] for r in s["results"]] for s in execution.status()["steps"]]
    assert states == [["queued", "failed", "succeeded"], ["skipped"]]
    api_farm.work(execution.id)
    assert execution.status()["state"] == "failed"
    farm.dead_letters.requeue(second["step_id"], WHY)
    api_farm.work(execution.id)
    assert execution.status()["state"] == "succeeded"


def test_an_interrupted_row_is_requeued_as_a_retry(api_farm, farm, interrupt):
    execution = farm.submit({"steps": [RUN]})
    step = interrupt(execution)
    assert farm.dead_letters.requeue(step.id, WHY)["steps"][0]["state"] == "queued"
    api_farm.work(execution.id)
    assert execution.status()["state"] == "succeeded"


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed"])
def test_requeueing_or_discarding_what_is_no_dead_letter_is_refused(
    api_farm, farm, unchanged, state
):
    steps = [{**DISK, "on_failure": "continue"}, {**DISK, "id": "more"}]
    execution = farm.submit({"steps": steps})
    row = api_farm.queued(execution.id)[0]["step_id"]
    if state != "queued":
        step = api_farm.claim(execution.id)
    if state == "succeeded":
        api_farm.finish(step)
    if state == "failed":
        api_farm.fail(step, "it broke")
    before = unchanged(execution)
    words = "but its execution is running" if state == "failed" else f"is {state}; only"
    with pytest.raises(Conflict, match=words):
        farm.dead_letters.requeue(row, WHY)
    if state != "failed":
        with pytest.raises(Conflict, match=f"cannot be discarded: it is {state}"):
            farm.dead_letters.discard(row, WHY)
    assert unchanged(execution) == before


def test_requeueing_twice_is_refused(api_farm, farm):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    [letter] = farm.dead_letters.list()
    farm.dead_letters.requeue(letter["step_id"], WHY)
    with pytest.raises(Conflict, match="is queued; only a failed or interrupted one"):
        farm.dead_letters.requeue(letter["step_id"], WHY)


def test_what_is_discarded_stays_failed_and_is_not_listed(api_farm, farm):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    [letter] = farm.dead_letters.list()
    shown = farm.dead_letters.discard(letter["step_id"], "that host is gone")
    assert shown["discarded_at"]
    assert shown["history"][-1]["data"]["why"] == "that host is gone"
    assert farm.dead_letters.list() == []
    assert execution.status()["state"] == "failed"
    with pytest.raises(Conflict, match="it was discarded already"):
        farm.dead_letters.discard(letter["step_id"], WHY)
    farm.dead_letters.requeue(letter["step_id"], "it is back")
    assert farm.dead_letters.show(letter["step_id"])["discarded_at"] is None


def test_an_interrupted_row_is_not_discarded(farm, interrupt, unchanged):
    execution = farm.submit({"steps": [RUN]})
    step = interrupt(execution)
    before = unchanged(execution)
    with pytest.raises(Conflict, match="cannot be discarded: it is interrupted") as refused:
        farm.dead_letters.discard(step.id, WHY)
    assert "executions resolve" in refused.value.hint
    assert unchanged(execution) == before


@pytest.mark.parametrize("act", ["requeue", "discard"])
def test_the_desk_refuses_viewers_strangers_no_reason_and_no_row(api_farm, farm, unchanged, act):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    [letter] = farm.dead_letters.list()
    before = unchanged(execution)
    with api_farm.client(Role.VIEWER) as viewer, pytest.raises(Forbidden):
        getattr(viewer.dead_letters, act)(letter["step_id"], WHY)
    with pytest.raises(Malformed, match="needs a reason"):
        getattr(farm.dead_letters, act)(letter["step_id"], " ")
    with pytest.raises(NotFound, match="no step 999999"):
        getattr(farm.dead_letters, act)(999999, WHY)
    assert unchanged(execution) == before


def test_a_viewer_sees_no_sensitive_output_at_the_desk(api_farm, farm):
    execution = farm.submit({"steps": [LOGS]})
    api_farm.fail(api_farm.claim(execution.id), "hunter2")
    with api_farm.client(Role.VIEWER) as viewer:
        [letter] = viewer.dead_letters.list()
        shown = viewer.dead_letters.show(letter["step_id"])
    assert "hunter2" not in json.dumps([letter, shown])
    assert "hunter2" in json.dumps(farm.dead_letters.show(letter["step_id"]))


def test_the_desk_on_the_command_line(api_farm, farm, cli):
    execution = farm.submit({"steps": [DISK]})
    broken(api_farm, execution)
    listed = cli("deadletter", "list", "--tool", "df", "--since", "1h")
    assert execution.id in listed.stdout
    assert "it broke" in listed.stdout
    [letter] = json.loads(cli("deadletter", "list", "--json").stdout)["letters"]
    row = str(letter["step_id"])
    requeued = cli("deadletter", "requeue", row, "--reason", "mended")
    assert requeued.exit_code == 0
    assert f"opsfarm executions watch {execution.id}" in requeued.stderr
    refused = cli("deadletter", "requeue", row, "--reason", "again")
    assert (refused.exit_code, refused.stdout) == (2, "")
    broken(api_farm, execution)
    assert cli("deadletter", "discard", row, "--reason", "enough").exit_code == 0
    assert json.loads(cli("deadletter", "list", "--json").stdout)["letters"] == []
    assert cli("deadletter", "discard", row).exit_code == 2


def test_a_list_that_was_cut_says_how_it_goes_on(api_farm, farm, cli):
    for _ in range(3):
        broken(api_farm, farm.submit({"steps": [DISK]}))
    first = cli("deadletter", "list", "--limit", "2")
    before = re.search(r"--before (\d+)", first.stderr)[1]
    second = cli("deadletter", "list", "--limit", "2", "--before", before)
    assert len(first.stdout.splitlines()) == 2 + 2
    assert len(second.stdout.splitlines()) == 2 + 1
    assert "--before" not in second.stderr
    moment = re.search(r"--before (\S+)", cli("executions", "list", "--limit", "1").stderr)[1]
    older = json.loads(cli("executions", "list", "--json", "--before", moment).stdout)
    assert len(older["executions"]) == 2


@pytest.mark.parametrize("since", ["yesterday", "7", "2026-13-01"])
def test_a_moment_that_is_none_is_refused_with_what_would_be_one(cli, since):
    refused = cli("deadletter", "list", "--since", since)
    assert refused.exit_code == 2
    assert "ISO 8601, or 30m, 24h, 7d ago" in refused.stderr


def test_a_moment_without_a_zone_is_utc(api_farm, farm):
    broken(api_farm, farm.submit({"steps": [DISK]}))
    now = datetime.now(UTC).replace(tzinfo=None)
    found = [
        len(farm.dead_letters.list(since=(now + timedelta(minutes=late)).isoformat()))
        for late in (-5, 5)
    ]
    assert found == [1, 0]
