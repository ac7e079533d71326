import pytest

from app.errors import PlanRejected


def only_fault(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


def block(head, step="{tool: df}"):
    inputs = "inputs: {role: {type: string, default: web}, go: {type: boolean, default: true}}\n"
    return f"{inputs}steps: [{{{head}, steps: [{step}, {{tool: df, id: b}}]}}]"


def names(plan):
    return [row.target.name for row in plan.steps[0].rows]


def test_inputs_choose_the_targets_of_a_block_at_submit(check):
    plan = check(block("targets: {tags: {role: '{{ inputs.role }}'}}"))
    assert names(plan) == ["web-01", "web-02"]
    assert plan.warnings == ("the block steps[0] leaves out web-03 (maintenance)",)


def test_a_condition_on_inputs_is_judged_at_submit(check):
    assert names(check(block("targets: web-01, when: inputs.go"))) == ["web-01"]
    steps = check(block("targets: web-01, when: not inputs.go")).steps
    assert [step.skipped for step in steps] == ["when: not inputs.go is false"] * 2


@pytest.mark.parametrize(
    ("head", "code", "path"),
    [
        ("targets: nobody", "unknown_asset", "steps[0].targets"),
        ("targets: tags.role=none", "no_targets", "steps[0].targets"),
        ("targets: {enviroment: x}", "bad_selector", "steps[0].targets"),
        ("batch: 2", "missing_target", "steps[0].batch"),
        ("targets: '{{ steps.gone.failed_targets }}'", "unknown_step", "steps[0].targets"),
        ("targets: '{{ steps.df.failed_targets }}'", "forward_reference", "steps[0].targets"),
        ("targets: 'tags.role={{ inputs.role }}'", "expression", "steps[0].targets"),
        ("targets: '{{ inputs.rule }}'", "unknown_input", "steps[0].targets"),
        ("targets: '{{ item }}'", "item_outside", "steps[0].targets"),
        ("targets: web-01, when: steps.gone.ok", "unknown_step", "steps[0].when"),
        ("targets: web-01, when: inputs.role +", "expression", "steps[0].when"),
        ("targets: web-01, when: inputs.role + 1", "expression", "steps[0].when"),
    ],
)
def test_a_bad_head_is_one_clear_fault(check, head, code, path):
    fault = only_fault(check, block(head))
    assert (fault.code, fault.path, fault.line) == (code, path, 2)


def test_a_block_without_targets_may_be_skipped(check):
    plan = check(block("targets: tags.role=none, on_empty: skip"))
    assert [step.skipped for step in plan.steps] == ["the targets match no asset"] * 2
    assert plan.warnings == ("the block steps[0] is skipped: the targets match no asset",)


def test_targets_of_a_block_are_checked_although_its_condition_waits(check):
    fault = only_fault(check, block("targets: nobody, when: execution.state == 'running'"))
    assert fault.code == "unknown_asset"
    plan = check(block("targets: web-01, when: execution.state == 'running'"))
    assert [step.dynamic for step in plan.steps] == [True, True]


def test_a_change_in_a_block_without_targets_needs_one(check):
    restart = "{tool: systemctl, operation: restart, parameters: {unit: x}}"
    fault = only_fault(check, block("run_as: root", restart))
    assert (fault.code, fault.path) == ("missing_target", "steps[0].steps[0].targets")
    assert names(check(block("targets: web-01", restart))) == ["web-01"]
