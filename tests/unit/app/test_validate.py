import json
import time
from pathlib import Path

import pytest
import yaml

from app.errors import PlanRejected
from app.plan_reader import read_request
from app.principal import Principal, Role
from app.safety import Policy
from app.step import LOCAL
from app.validate import DueFailure, Rules, Skip, digest_of, validate
from queues import Routing
from tool_catalog.model import Effect, Reason, Repeat


def faults_of(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    return caught.value.faults


def only_fault(check, text):
    faults = faults_of(check, text)
    assert len(faults) == 1, [fault.message for fault in faults]
    return faults[0]


BAD = {
    case["name"]: case
    for case in yaml.safe_load(Path(__file__).with_name("bad_plans.yaml").read_text())
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_fault(check, name):
    wanted = BAD[name]["fault"]
    fault = only_fault(check, BAD[name]["plan"])
    for member in ("code", "path", "step", "line"):
        assert getattr(fault, member) == wanted[member]
    assert fault.column
    for member in ("given", "allowed", "hint"):
        if member in wanted and wanted[member] is None:
            assert getattr(fault, member) is None
        else:
            assert wanted.get(member, "") in (getattr(fault, member) or "")


def test_a_change_without_a_target_says_how_to_act_on_the_worker(check):
    fault = only_fault(check, BAD["change without a target"]["plan"])
    assert fault.message == (
        "systemctl restart needs a target; write `target: local` to act on the worker"
    )


def test_every_fault_comes_at_once_in_the_order_of_the_text(check):
    text = (
        "steps:\n"
        "- tool: df\n  id: disk\n  parameters: {dpeth: 3, depth: many}\n"
        "- tool: nosuch\n  when: steps.disc.ok\n"
        "- tool: systemctl\n  operation: restart\n"
    )
    faults = faults_of(check, text)
    assert [fault.code for fault in faults] == [
        "unknown_parameter",
        "wrong_type",
        "unknown_tool",
        "unknown_step",
        "missing_parameter",
        "missing_target",
    ]
    assert [fault.line for fault in faults] == sorted(fault.line for fault in faults)


def test_given_values_are_cut(check):
    fault = only_fault(check, "steps:\n- tool: df\n  parameters: {depth: " + "x" * 5000 + "}\n")
    assert len(fault.given) <= 80


def test_a_static_plan_comes_out_whole(check):
    plan = check(
        "name: nightly\ntargets: {tags: {role: web}}\nsteps:\n"
        "- {tool: DF, id: disk, on_failure: continue, retries: {max: 2, backoff_s: 1}}\n"
        "- {tool: systemctl, operation: restart, parameters: {service: nginx}, timeout_s: 9}\n"
        "finally:\n- {tool: sendmail, parameters: {to: a@example.com, subject: done}}\n"
    )
    disk, restart, mail = plan.steps
    assert (plan.name, plan.stages, plan.finally_stage) == ("nightly", 3, 2)
    assert [row.target.name for row in disk.rows] == ["web-01", "web-02"]
    assert [row.mutex for row in disk.rows] == [None, None]
    assert (disk.on_failure, disk.max_retries, disk.backoff_s) == ("continue", 2, 1)
    assert [row.mutex for row in restart.rows] == ["asset:1", "asset:2"]
    assert restart.rows[0].parameters == {"unit": "nginx"}
    assert (restart.timeout_s, restart.queue, restart.effect) == (9, "automation", Effect.CHANGE)
    assert (mail.section, mail.position, mail.stage, mail.queue) == ("finally", 3, 2, "comms")
    assert [row.target for row in mail.rows] == [None]
    assert plan.warnings == (
        "step 1 (df) leaves out web-03 (maintenance)",
        "step 2 (systemctl) leaves out web-03 (maintenance)",
    )


def test_a_read_without_a_target_runs_on_the_worker(check):
    (step,) = check("steps: [{tool: df}]").steps
    assert step.rows[0].target == LOCAL
    assert step.needs["programs"] == ["df"]


def test_a_program_matters_only_where_the_worker_runs_it(check):
    (step,) = check("steps: [{tool: df, target: web-01}]").steps
    assert step.needs["programs"] == []


def test_a_change_on_the_worker_locks_the_worker(check):
    text = "steps: [{tool: systemctl, operation: restart, target: local, parameters: {unit: x}}]"
    assert check(text).steps[0].rows[0].mutex == "local"


def test_operations_inside_the_worker_take_no_lock(check):
    text = "steps: [{tool: asset-delete, parameters: {hostname: web-01, confirm: true}}]"
    (step,) = check(text).steps
    assert (step.effect, step.repeat) == (Effect.DESTROY, Repeat.TRANSACTIONAL)
    assert step.rows[0].mutex is None


def test_several_destroyed_targets_are_all_named(check):
    text = (
        "steps: [{tool: systemctl, operation: stop, targets: [web-01, db-01],"
        " confirm: [db-01, web-01], parameters: {unit: x}}]"
    )
    assert len(check(text).steps[0].rows) == 2
    fault = only_fault(check, text.replace("[db-01, web-01]", "web-01"))
    assert fault.hint == "write `confirm: [web-01, db-01]`"


def test_destroy_if_raises_the_effect(check):
    text = "steps: [{tool: chmod, target: web-01, parameters: {path: /x, mode: '4755'}}]"
    assert only_fault(check, text).code == "missing_confirm"
    assert check(text.replace("4755", "0755")).steps[0].effect is Effect.CHANGE


def test_a_listed_command_only_reads(check):
    (step,) = check("steps: [{tool: command, parameters: {argv: [uptime]}}]").steps
    assert (step.effect, step.repeat) == (Effect.READ, Repeat.READ)
    assert step.rows[0].target == LOCAL
    text = "steps: [{tool: command, parameters: {argv: [uptime, --help]}}]"
    assert only_fault(check, text).code == "missing_target"


def test_policy_may_forbid_the_worker_itself(catalog, farm):
    rules = Rules(Policy(local="deny"), Routing())
    plan = read_request(b"steps: [{tool: df}]").plan
    with pytest.raises(PlanRejected) as caught:
        validate(plan, catalog, farm, rules)
    assert caught.value.faults[0].code == "refused_by_policy"


def test_a_literal_is_taken_as_it_stands(check):
    text = (
        "steps: [{tool: sendmail, parameters: {to: a@example.com,"
        " subject: {$literal: '{{ x }}'}, extra: {$literal: {$ref: 1}}}}]"
    )
    (step,) = check(text).steps
    assert not step.dynamic
    assert step.rows[0].parameters["subject"] == "{{ x }}"
    assert step.rows[0].parameters["extra"] == {"$ref": 1}
    fault = only_fault(check, text.replace("$ref: 1", "$secret: smtp"))
    assert fault.code == "unknown_reference"


def test_secrets_are_listed_and_stay_references(check):
    text = (
        "steps: [{tool: sendmail, parameters: {to: a@example.com, subject: x,"
        " password: {$secret: smtp}, extra: {again: {$secret: smtp}}}}]"
    )
    (step,) = check(text).steps
    assert step.secrets == ("smtp",)
    assert step.rows[0].parameters["password"] == {"$secret": "smtp"}


def test_a_run_time_longer_than_the_time_limit_widens_it(check):
    text = "steps: [{tool: tcpdump, parameters: {interface: eth0, duration_s: 600}}]"
    assert check(text).steps[0].timeout_s == 630


def test_the_digest_ignores_layout_and_form(check):
    one = read_request(b"steps:\n- tool: df\n  target: web-01\n").plan
    other = read_request(b'{"steps": [{"targets": "web-01", "tool": "df"}]}').plan
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of(read_request(b"steps: [{tool: df}]").plan)


def test_a_plan_without_a_name_is_called_by_its_tools(check):
    assert check("steps: [{tool: df}]").name == "df"
    assert check("steps: [{tool: df}, {tool: df, id: b}]").name == "df and 1 more"


DUE = (
    "steps:\n- {tool: df, id: disk, targets: tags.role=web}\n"
    "- tool: systemctl\n  operation: restart\n  when: steps.disk.failed\n"
    "  targets: '{{ steps.disk.failed_targets }}'\n  parameters: {unit: nginx}\n"
)


def test_a_dynamic_step_gets_a_placeholder_and_a_template(check):
    step = check(DUE).steps[1]
    assert step.dynamic
    assert [(row.target, row.parameters) for row in step.rows] == [(None, {"unit": "nginx"})]
    assert json.loads(json.dumps(step.template))["when"] == "steps.disk.failed"


def test_a_dynamic_step_gets_its_rows_when_it_is_due(due):
    step = due(DUE, {"disk": {"failed": True, "failed_targets": ["web-02", "db-01"]}})
    assert [row.target.name for row in step.rows] == ["web-02", "db-01"]
    assert [row.mutex for row in step.rows] == ["asset:2", "asset:3"]
    assert (step.position, step.stage, step.dynamic, step.template) == (2, 0, False, None)


def test_a_condition_that_does_not_hold_skips(due):
    assert due(DUE, {"disk": {"failed": False}}) == Skip("when: steps.disk.failed is false")


def test_assets_results_and_ids_name_targets(due):
    found = [{"id": 1, "hostname": "web-01"}, {"target": "web-02", "state": "failed"}, 3]
    step = due(DUE, {"disk": {"failed": True, "failed_targets": found}})
    assert [row.target.name for row in step.rows] == ["web-02", "web-01", "db-01"]


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ([], Reason.NO_TARGETS),
        (["web-99"], Reason.NO_TARGETS),
        (["tags.role=web"], Reason.EXPRESSION),
        ("web-01,web-02", Reason.EXPRESSION),
        ([{"environment": "production"}], Reason.EXPRESSION),
        ([None], Reason.EXPRESSION),
        ([["web-01"]], Reason.EXPRESSION),
        ([True], Reason.EXPRESSION),
    ],
)
def test_targets_from_an_expression_can_only_name_assets(due, targets, reason):
    failure = due(DUE, {"disk": {"failed": True, "failed_targets": targets}})
    assert isinstance(failure, DueFailure)
    assert failure.reason is reason


MAIL = (
    "steps:\n- {tool: df, id: disk, target: web-01}\n"
    "- tool: sendmail\n  parameters: {to: a@example.com, subject: x, body: 'It says: "
    "{{ steps.disk.summary }}', extra: {found: '{{ steps.disk.output }}'}}\n"
)


def test_what_an_expression_gives_is_never_read_again(due):
    hostile = "{{ steps.disk.output }} {% for x in y %}"
    step = due(MAIL, {"disk": {"summary": hostile, "output": [hostile]}})
    assert step.rows[0].parameters["body"] == f"It says: {hostile}"
    assert step.rows[0].parameters["extra"] == {"found": [hostile]}


def test_an_output_cannot_name_a_secret(due):
    failure = due(MAIL, {"disk": {"summary": "x", "output": {"a": {"$secret": "smtp"}}}})
    assert failure.reason is Reason.EXPRESSION


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ({"summary": "x"}, Reason.EXPRESSION),
        ({"summary": "x", "output": "y" * 300_000}, Reason.EXPRESSION),
    ],
)
def test_what_cannot_be_rendered_fails_the_step(due, outcome, reason):
    assert due(MAIL, {"disk": outcome}).reason is reason


def test_rendered_parameters_are_checked_whole(due):
    text = (
        "steps:\n- {tool: df, id: a}\n- {tool: df, parameters: {depth: '{{ steps.a.exit_code }}'}}"
    )
    assert due(text, {"a": {"exit_code": 4}}).rows[0].parameters == {"depth": 4}
    failure = due(text, {"a": {"exit_code": 400}})
    assert failure.reason is Reason.INVALID_PARAMETER
    assert "depth" in failure.message


def test_rendered_effects_are_judged_again(due):
    text = (
        "steps:\n- {tool: df, id: a}\n"
        "- {tool: chmod, target: web-01, parameters: {path: /x, mode: '{{ steps.a.summary }}'}}"
    )
    assert due(text, {"a": {"summary": "0644"}}).effect is Effect.CHANGE
    failure = due(text, {"a": {"summary": "4755"}})
    assert failure.reason is Reason.REFUSED_BY_POLICY
    assert "named once more" in failure.message


def test_a_principal_that_lost_its_right_is_refused_when_due(due):
    failure = due(MAIL, {"disk": {"summary": "", "output": []}}, Principal(1, "vic", Role.VIEWER))
    assert failure.reason is Reason.REFUSED_BY_POLICY


def test_a_step_that_waits_for_expressions_is_checked_as_far_as_it_is_written(check):
    text = (
        "steps:\n- {tool: df, id: a}\n- tool: sendmail\n"
        "  parameters: {recipient: '{{ steps.a.output }}', subjet: x, body: 7,"
        " atachment: '{{ 1 }}'}\n"
    )
    codes = {(fault.code, fault.path) for fault in faults_of(check, text)}
    assert codes == {
        ("unknown_parameter", "steps[1].parameters.subjet"),
        ("unknown_parameter", "steps[1].parameters.atachment"),
        ("wrong_type", "steps[1].parameters.body"),
    }


def test_static_targets_of_a_dynamic_step_are_checked_at_submit(check):
    text = "steps:\n- {tool: df, id: a}\n- {tool: df, when: steps.a.ok, target: web-99}\n"
    assert only_fault(check, text).code == "unknown_asset"


def test_finally_may_use_every_step(check):
    text = (
        "steps: [{tool: df, id: disk}]\nfinally:\n- tool: sendmail\n  parameters:\n"
        "    {to: a@example.com, subject: '{{ execution.state }}',"
        " body: '{{ steps.disk.summary }}'}\n"
    )
    assert check(text).steps[1].dynamic


def test_the_inventory_is_asked_once_for_each_selector(check, farm):
    steps = [{"tool": "df", "id": f"s{n}", "target": "web-01"} for n in range(50)]
    check(json.dumps({"steps": steps}))
    assert farm.asked == 1


def test_a_thousand_steps_are_checked_in_time(catalog, farm, rules):
    steps = [
        {
            "tool": "df",
            "id": f"s{n}",
            "target": "web-01",
            "parameters": {"path": "/var", "depth": 3},
        }
        for n in range(1000)
    ]
    plan = read_request(json.dumps({"steps": steps}).encode()).plan
    validate(plan, catalog, farm, rules)
    fastest = min(_time(lambda: validate(plan, catalog, farm, rules)) for _ in range(3))
    assert fastest <= 0.25


def _time(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def test_a_dynamic_step_that_was_checked_keeps_its_secrets(due):
    text = (
        "steps:\n- {tool: df, id: a}\n- tool: sendmail\n  parameters: {to: a@example.com,"
        " subject: '{{ steps.a.summary }}', password: {$secret: smtp}}\n"
    )
    step = due(text, {"a": {"summary": "fine"}})
    assert step.secrets == ("smtp",)
    assert step.rows[0].parameters["password"] == {"$secret": "smtp"}
