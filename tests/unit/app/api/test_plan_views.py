import pytest

from app.api.plan_views import show_check, show_dry_run
from app.worker_offer import WorkerOffer

ROLLING = """
targets: tags.role=web
inputs: {go: {type: boolean, default: false}}
steps:
- {tool: df, id: all, run_as: root}
- batch: 1
  steps:
  - {tool: df, id: each, parameters: {path: /srv}}
  - {tool: systemctl, id: unit, operation: restart, parameters: {unit: x}, when: steps.each.ok}
- {tool: df, id: idle, when: inputs.go}
- {tool: df, id: items, target: db-01, for_each: [/a, /b], parameters: {path: "{{ item }}"}}
"""


@pytest.fixture
def steps(check, catalog):
    offer = WorkerOffer("w-1", "h", "automation", ("automation",), 1)
    gone = WorkerOffer("w-2", "h", "automation", ("automation",), 1, stopped=True)
    shown = show_dry_run(check(ROLLING), catalog, [offer, gone], {})
    return {step["id"]: step for step in shown["steps"]}


def test_each_step_is_shown_once_with_its_batches(steps):
    assert [step["position"] for step in steps.values()] == [1, 2, 3, 4, 5]
    assert (steps["all"]["targets"], steps["all"]["batches"]) == (["web-01", "web-02"], None)
    assert steps["each"]["targets"] == ["web-01", "web-02"]
    assert steps["each"]["batches"] == [["web-01"], ["web-02"]]
    assert steps["each"]["block"] == 1
    assert steps["all"]["run_as"] == "root"


def test_a_dynamic_step_of_a_block_shows_its_batches_too(steps):
    assert steps["unit"]["dynamic"]
    assert steps["unit"]["batches"] == [["web-01"], ["web-02"]]
    assert steps["unit"]["commands"] == []


def test_what_is_skipped_says_why(steps):
    assert steps["idle"]["skipped"] == "when: inputs.go is false"
    assert (steps["idle"]["targets"], steps["idle"]["commands"]) == ([], [])


def test_commands_name_their_batch_target_and_item(steps):
    shown = [(c["batch"], c["target"], c["item"]) for c in steps["each"]["commands"]]
    assert shown == [(1, "web-01", None), (2, "web-02", None)]
    shown = [(c["batch"], c["item"], c["command"]["argv"][-1]) for c in steps["items"]["commands"]]
    assert shown == [(None, "/a", "/a"), (None, "/b", "/b")]


def test_only_live_workers_are_named(steps):
    assert steps["all"]["workers"] == ["w-1"]


def test_targets_that_are_left_out_are_named(check):
    shown = show_check(check(ROLLING))
    assert "the block steps[1] leaves out web-03 (maintenance)" in shown["warnings"]
