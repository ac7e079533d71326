"""The checker sees what it is there to see."""

import base64
import json
from urllib.parse import quote

import pytest

from tests.faults.canary import find_shown, make_canary
from tests.faults.replay import UNASKED, replay_executions, replay_rows

ROW = {"id": 1, "execution_id": "e", "state": "succeeded", "shown": "a step", "attempt": 1}


def events(*kinds):
    return [
        {
            "id": number,
            "execution_id": "e",
            "step_id": 1 if kind.startswith("step.") else None,
            "kind": kind,
            "attempt": 1,
            "told_state": None,
        }
        for number, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        ("queued", []),
        ("succeeded", ["step.running", "step.succeeded"]),
        ("succeeded", ["step.running", "step.queued", "step.running", "step.succeeded"]),
        ("failed", ["step.running", "step.interrupted", "step.failed"]),
        ("skipped", ["step.skipped"]),
        (
            "succeeded",
            ["step.running", "step.failed", "execution.resumed", "step.running", "step.succeeded"],
        ),
        ("failed", ["step.running", "step.failed", "execution.resumed"]),
    ],
)
def test_events_replay_to_the_row(state, kinds):
    assert list(replay_rows([ROW | {"state": state}], events(*kinds))) == []


@pytest.mark.parametrize(
    ("state", "kinds", "told"),
    [
        ("succeeded", ["step.running"], "lead to running"),
        ("succeeded", ["step.succeeded"], "was unstarted and became succeeded"),
        ("running", ["step.running", "step.running"], UNASKED),
        ("running", ["step.running", "step.succeeded", "step.running"], UNASKED),
        (
            "succeeded",
            [
                "step.running",
                "step.succeeded",
                "execution.resumed",
                "step.running",
                "step.succeeded",
            ],
            UNASKED,
        ),
        ("queued", ["step.running", "step.failed"], "lead to failed"),
    ],
)
def test_events_that_do_not_fit_are_seen(state, kinds, told):
    assert told in " ".join(replay_rows([ROW | {"state": state}], events(*kinds)))


def test_an_execution_ends_as_its_events_say():
    execution = {"id": "e", "name": "a plan", "state": "failed", "finished_at": 1}
    told = events("execution.accepted", "execution.finished")
    told[1]["told_state"] = "succeeded"
    assert "its events end with succeeded" in " ".join(replay_executions([execution], told))
    told[1]["told_state"] = "failed"
    assert list(replay_executions([execution], told)) == []
    assert "begin with" in " ".join(replay_executions([execution], told[1:]))


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda text: quote(text, safe=""),
        quote,
        lambda text: text.encode().hex(),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    ],
    ids=["plain", "json", "url", "url path", "hex", "base64", "base64 of urls"],
)
def test_a_canary_is_seen_in_every_form(write, before):
    canary = make_canary()
    assert list(find_shown([write(f"{before}{canary} behind it")], canary))
    assert not list(find_shown([write(f"{before}{make_canary()} behind it")], canary))
