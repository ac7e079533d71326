import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outcome import RESULT_MEMBERS, SINGLE_MEMBERS, STEP_MEMBERS, derive_state, summarise
from app.step import ExecutionState, State


def row(state="succeeded", target=None, result=None, **more):
    return {
        "id": 7,
        "position": 2,
        "key": "disk",
        "tool": "df",
        "operation": "usage",
        "effect": "read",
        "stage": 1,
        "state": state,
        "target": {"name": target, "asset_id": 1} if target else None,
        "result": result,
        "reason": None,
        "attempt": 1,
        "queue": "automation",
        "worker": "auto-1",
        "blocked_by": None,
    } | more


def test_a_single_row_gives_the_whole_contract():
    result = {
        "summary": "2 file systems",
        "output": [{"mount": "/"}],
        "exit_code": 0,
        "changed": False,
        "artifacts": [{"id": "a", "name": "x"}],
        "duration_s": 0.25,
        "stdout_tail": "text",
    }
    step = summarise([row(target="web-01", result=result)])
    assert step == {
        "position": 2,
        "id": "disk",
        "tool": "df",
        "operation": "usage",
        "effect": "read",
        "run_as": None,
        "section": "main",
        "stage": 1,
        "state": "succeeded",
        "ok": True,
        "failed": False,
        "changed": False,
        "reason": None,
        "summary": "2 file systems",
        "failed_targets": [],
        "output": [{"mount": "/"}],
        "exit_code": 0,
        "artifacts": [{"id": "a", "name": "x"}],
        "results": [
            {
                "step_id": 7,
                "target": "web-01",
                "item": None,
                "state": "succeeded",
                "reason": None,
                "changed": False,
                "exit_code": 0,
                "output": [{"mount": "/"}],
                "truncated": False,
                "before": None,
                "after": None,
                "summary": "2 file systems",
                "stdout_tail": "text",
                "stderr_tail": "",
                "artifacts": [{"id": "a", "name": "x"}],
                "duration_s": 0.25,
                "attempt": 1,
                "queue": "automation",
                "worker": "auto-1",
                "blocked_by": None,
                "stopped": None,
            }
        ],
    }
    assert set(STEP_MEMBERS) | set(SINGLE_MEMBERS) <= set(step)
    assert tuple(step["results"][0]) == RESULT_MEMBERS


def test_only_a_row_with_evidence_shows_it():
    evidence = {"armed_at": "2026-01-01", "lines": [], "late": []}
    step = summarise([row("interrupted", evidence=evidence), row("running", evidence=None)])
    assert step["results"][0]["evidence"] == evidence
    assert "evidence" not in step["results"][1]


def test_a_row_shows_its_item_and_what_was_before_and_after():
    step = summarise([row(item=80, run_as="root", result={"before": 1, "after": 2})])
    assert step["run_as"] == "root"
    [result] = step["results"]
    assert (result["item"], result["before"], result["after"]) == (80, 1, 2)


def test_a_fanned_out_step_has_no_single_output():
    step = summarise(
        [
            row(target="web-01", result={"summary": "fine", "changed": False}),
            row("failed", target="web-02", reason="unreachable", result={"summary": "no route"}),
            row("succeeded", target="web-03", result={"changed": True}),
        ],
        section="finally",
    )
    assert not set(SINGLE_MEMBERS) & set(step)
    assert step["section"] == "finally"
    assert (step["state"], step["ok"], step["failed"]) == ("failed", False, True)
    assert step["failed_targets"] == ["web-02"]
    assert step["changed"] is True
    assert step["reason"] == "unreachable"
    assert step["summary"] == "2 of 3 targets succeeded; not: web-02 (unreachable)"


def test_a_long_list_of_failures_is_cut():
    step = summarise([row("failed", target=f"h{n}", reason="timeout") for n in range(8)])
    assert step["summary"].endswith("h4 (timeout) and 3 more")
    assert len(step["failed_targets"]) == 8


def test_a_skipped_step_is_neither_ok_nor_failed():
    step = summarise(
        [row("skipped", reason=None, result={"summary": "when: disk.failed is false"})]
    )
    assert (step["ok"], step["failed"], step["failed_targets"]) == (False, False, [])
    assert step["output"] is None


def test_changed_is_unknown_where_one_target_cannot_tell():
    rows = [row(result={"changed": False}), row(result={"changed": None})]
    assert summarise(rows)["changed"] is None


@pytest.mark.parametrize(
    ("states", "word"),
    [
        (["pending", "pending"], "pending"),
        (["queued", "queued"], "queued"),
        (["queued", "waiting"], "queued"),
        (["waiting", "pending"], "waiting"),
        (["queued", "running"], "running"),
        (["queued", "succeeded"], "running"),
        (["interrupted", "running"], "interrupted"),
        (["failed", "cancelled", "succeeded"], "failed"),
        (["cancelled", "succeeded"], "cancelled"),
        (["skipped", "succeeded"], "succeeded"),
        (["skipped", "skipped"], "skipped"),
    ],
)
def test_state_of_a_step_with_several_rows(states, word):
    assert (
        summarise([row(state, target=f"h{n}") for n, state in enumerate(states)])["state"] == word
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["running", "interrupted"], ExecutionState.ATTENTION),
        (["failed", "queued"], ExecutionState.RUNNING),
        (["succeeded", "pending"], ExecutionState.RUNNING),
        (["waiting", "pending"], ExecutionState.WAITING),
        (["waiting", "running"], ExecutionState.RUNNING),
        (["waiting", "due"], ExecutionState.RUNNING),
        (["succeeded", "failed", "cancelled"], ExecutionState.FAILED),
        (["succeeded", "cancelled"], ExecutionState.CANCELLED),
        (["succeeded", "skipped"], ExecutionState.SUCCEEDED),
        (["skipped"], ExecutionState.SUCCEEDED),
    ],
)
def test_state_of_an_execution(states, expected):
    rows = [row(state) for state in states]
    assert derive_state(rows) is expected


#: The order of the words, first match: a word and the row states that call for it.
ORDER = [
    (ExecutionState.ATTENTION, {State.INTERRUPTED}),
    (ExecutionState.RUNNING, {State.RUNNING, State.QUEUED, State.DUE}),
    (ExecutionState.WAITING, {State.WAITING}),
    (ExecutionState.RUNNING, {State.PENDING}),
    (ExecutionState.FAILED, {State.FAILED}),
    (ExecutionState.CANCELLED, {State.CANCELLED}),
    (ExecutionState.SUCCEEDED, {State.SUCCEEDED, State.SKIPPED}),
]


@given(st.lists(st.sampled_from(State), min_size=1, max_size=8))
def test_the_state_of_an_execution_is_the_first_word_that_fits(states):
    expected = next(word for word, calls in ORDER if calls & set(states))
    rows = [row(state) for state in states]
    assert derive_state(rows) is expected
    assert derive_state(rows[::-1] + rows) is expected


def test_every_state_of_a_row_calls_for_a_word():
    assert set().union(*(calls for _, calls in ORDER)) == set(State)
