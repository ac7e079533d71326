"""Blocks, batches, parallel stages, items and limits: whole plans through real processes."""

import json

import pytest
from sqlalchemy import text

from tests.lab.farm import Farm, lines_of, mark

HOSTS = ("web-1", "web-2", "web-3", "web-4", "web-5")


@pytest.fixture
def farm(database_url, redis_server, tmp_path):
    farm = Farm(database_url, redis_server, tmp_path)
    with farm.parts.engine.begin() as connection:
        for name in HOSTS:
            connection.execute(
                text(
                    "insert into assets (tenant, hostname, connection, tags) values"
                    ' (\'default\', :name, \'{"type": "local"}\', \'{"role": "web"}\')'
                ),
                {"name": name},
            )
    farm.start("automation")
    farm.start("dispatcher")
    yield farm
    farm.close()


def on_each(tmp_path, key, **members):
    """A step without targets of its own: it acts on its block's."""
    return {**mark(tmp_path / "log", key, id=key), "targets": None, **members}


def without_none(step):
    return {name: value for name, value in step.items() if value is not None}


def shown(execution, key):
    """{"web-1": "succeeded", ...} of one step."""
    [step] = [step for step in execution["steps"] if step["id"] == key]
    return {row["target"]: row["state"] for row in step["results"]}


def rolling(tmp_path, targets, **members):
    """Three steps over batches of two; web-2 fails in the second one."""
    guard = {
        "id": "check",
        "tool": "script",
        "parameters": {"script": 'test "$(wc -l < ' + str(tmp_path / "log") + ')" -ne 2'},
    }
    steps = [without_none(on_each(tmp_path, "drain")), guard, without_none(on_each(tmp_path, "up"))]
    return {"targets": targets, "batch": 2, "steps": steps, **members}


@pytest.mark.parametrize("targets", ["tags.role=web", "{{ steps.roll.output.names }}"])
def test_batches_pass_one_after_the_other(farm, tmp_path, targets):
    (tmp_path / "names").write_text(json.dumps({"names": list(HOSTS)}))
    roll = {"tool": "roll", "parameters": {"file": str(tmp_path / "names")}, "targets": "local"}
    block = rolling(tmp_path, targets)
    block["steps"][1]["parameters"] = {"script": "true"}
    accepted = farm.submit(roll, block, mark(tmp_path / "log", "end", id="end"))
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded", execution
    assert lines_of(tmp_path / "log") == (["drain"] * 2 + ["up"] * 2) * 2 + ["drain", "up", "end"]
    assert [step["id"] for step in execution["steps"]] == ["roll", "drain", "check", "up", "end"]
    assert shown(execution, "up") == dict.fromkeys(HOSTS, "succeeded")


def test_a_failed_batch_ends_the_block_and_finally_runs(farm, tmp_path):
    last = mark(tmp_path / "end", "failed: {{ steps.check.failed_targets | length }}", id="last")
    accepted = farm.submit(rolling(tmp_path, "tags.role=web"), **{"finally": [last]})
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "failed"
    assert lines_of(tmp_path / "log") == ["drain"] * 2, "nobody came up, nobody else was drained"
    assert set(shown(execution, "up").values()) == {"skipped"}
    assert shown(execution, "drain")["web-3"] == "skipped"
    failed = list(shown(execution, "check").values()).count("failed")
    assert lines_of(tmp_path / "end") == [f"failed: {failed}"]


def test_steps_side_by_side_and_items_with_a_limit(farm, tmp_path):
    def item(key):
        return mark(tmp_path / key, "{{ item }}", id=key, for_each=["x", "y", "z"], max_parallel=1)

    accepted = farm.submit(
        {"parallel": [item("a"), mark(tmp_path / "b", "b", id="b")]},
        mark(tmp_path / "c", "{{ steps.a.results | map(attribute='item') | join }}", id="c"),
    )
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded", execution
    assert lines_of(tmp_path / "a") == ["x", "y", "z"]
    assert lines_of(tmp_path / "c") == ["xyz"]
    assert [row["item"] for row in execution["steps"][0]["results"]] == ["x", "y", "z"]


def test_no_targets_skip_the_step_that_says_so(farm, tmp_path):
    step = mark(tmp_path / "a", id="a", on_empty="skip") | {"targets": "tags.role=none"}
    accepted = farm.submit(step, mark(tmp_path / "b", id="b"))
    execution = farm.wait_for(accepted.execution_id)
    assert execution["state"] == "succeeded"
    assert [step["state"] for step in execution["steps"]] == ["skipped", "succeeded"]
