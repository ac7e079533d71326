import pytest

from app.errors import PlanRejected


def only_fault(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    (fault,) = caught.value.faults
    return fault


def test_a_plan_says_what_its_steps_do_not(check):
    text = (
        "run_as: root\nmax_parallel: 2\nmax_failures: 1\ntargets: tags.role=web\nsteps:\n"
        "- {tool: df, id: a}\n- {tool: df, id: b, run_as: web, max_parallel: 9, max_failures: 0}\n"
        "- {tool: sendmail, parameters: {to: a@example.com, subject: x}}\n"
    )
    a, b, mail = check(text).steps
    assert (a.run_as, a.max_parallel, a.max_failures) == ("root", 2, 1)
    assert (b.run_as, b.max_parallel, b.max_failures) == ("web", 9, 0)
    assert (mail.run_as, mail.max_parallel, mail.max_failures) == (None, 2, 1)


def test_the_nearest_block_has_the_last_word(check):
    text = (
        "run_as: root\nmax_failures: 5\nsteps:\n- targets: tags.role=web\n  run_as: web\n  steps:\n"
        "  - {tool: df, id: a}\n  - run_as: db\n    steps:\n    - {tool: df, id: b}\n"
        "    - {tool: df, id: c, run_as: own}\n"
    )
    steps = check(text).steps
    assert [step.run_as for step in steps] == ["web", "db", "own"]
    assert [step.max_failures for step in steps] == [0, 0, 0]


@pytest.mark.parametrize(
    "step",
    [
        "{tool: sendmail, run_as: root, parameters: {to: a@example.com, subject: x}}",
        "{tool: tcpdump, run_as: root, parameters: {interface: eth0}}",
    ],
)
def test_what_runs_on_a_worker_becomes_nobody(check, step):
    fault = only_fault(check, f"steps: [{step}]")
    assert (fault.code, fault.path, fault.given) == ("run_as_not_taken", "steps[0].run_as", "root")


def test_ids_are_unique_across_blocks(check):
    text = "steps: [{targets: web-01, steps: [{tool: df}]}, {parallel: [{tool: df}]}]"
    fault = only_fault(check, text)
    assert (fault.code, fault.path) == ("duplicate_id", "steps[1].parallel[0].id")
    assert fault.message == "steps 1 and 2 are both called 'df'"


def test_an_unknown_tool_in_a_block_has_its_place(check):
    fault = only_fault(check, "steps: [{targets: web-01, steps: [{tool: dff}]}]")
    assert (fault.code, fault.path) == ("unknown_tool", "steps[0].steps[0].tool")
