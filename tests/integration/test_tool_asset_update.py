"""asset-update against a real PostgreSQL."""

import pytest

from app.errors import StepError
from app.step import State
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason


@pytest.fixture
def assets(engine):
    return AssetBench(engine)


@pytest.fixture
def web(assets):
    return assets.run(
        "asset-create",
        hostname="web-01",
        ip_address="10.0.0.1",
        environment="production",
        os="debian 12",
        connection={"port": 2222, "host_key": "ssh-ed25519 A"},
        tags={"role": "web", "old": "x"},
        metadata={"rack": {"row": "B", "unit": 4}},
    ).output


@pytest.mark.proves("asset-update", "update")
def test_only_what_was_given_changes_and_is_told(assets, web):
    result = assets.run("asset-update", hostname="web-01", status="maintenance", os="debian 13")
    assert result.output["changes"] == {
        "status": {"before": "active", "after": "maintenance"},
        "os": {"before": "debian 12", "after": "debian 13"},
    }
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    assert result.summary == f"changed asset {web['id']} web-01: os, status"
    now = result.output["asset"]
    changed = {"status": "maintenance", "os": "debian 13", "updated_at": now["updated_at"]}
    assert now == web | changed
    assert now["updated_at"] > web["updated_at"]
    (row,) = assets.rows("select status, os, environment from assets")
    assert row == {"status": "maintenance", "os": "debian 13", "environment": "production"}


def test_tags_and_metadata_merge_and_null_removes(assets, web):
    after = assets.run(
        "asset-update",
        id=web["id"],
        tags={"role": "proxy", "old": None, "new": True},
        metadata={"rack": {"unit": 5}, "note": "moved"},
        connection={"port": 22},
    ).output["asset"]
    assert after["tags"] == {"role": "proxy", "new": True}
    assert after["metadata"] == {"rack": {"row": "B", "unit": 5}, "note": "moved"}
    assert after["connection"] == {"port": 22, "host_key": "ssh-ed25519 A"}


def test_tags_and_metadata_are_replaced_on_request(assets, web):
    after = assets.run(
        "asset-update",
        hostname="web-01",
        tags={"role": "db"},
        tags_mode="replace",
        metadata={"rack": "C"},
        metadata_mode="replace",
    ).output["asset"]
    assert (after["tags"], after["metadata"]) == ({"role": "db"}, {"rack": "C"})


def test_named_fields_are_cleared(assets, web):
    fields = ["ip_address", "environment", "os", "tags", "metadata", "connection"]
    after = assets.run("asset-update", hostname="web-01", clear=fields).output["asset"]
    assert [after[name] for name in fields] == [None, None, None, {}, {}, {}]
    assert assets.rows("select ip_address from assets") == [{"ip_address": None}]


def test_the_same_again_changes_nothing(assets, web):
    result = assets.run("asset-update", hostname="web-01", os="debian 12", tags={"role": "web"})
    assert result.changed is False
    assert result.output == {"asset": web, "changes": {}}
    assert "nothing" in result.summary
    assert [row["kind"] for row in assets.rows("select kind from events")] == ["asset.created"]


def test_renaming_and_its_conflict(assets, web):
    other = assets.run("asset-create", hostname="web-02").output
    with pytest.raises(StepError, match=f"web-02 exists as asset {other['id']}") as caught:
        assets.run("asset-update", hostname="web-01", new_hostname="WEB-02", os="lost")
    assert caught.value.reason is Reason.CONFLICT
    assert assets.rows("select os from assets where hostname = 'web-01'") == [{"os": "debian 12"}]
    renamed = assets.run("asset-update", hostname="web-01", new_hostname="web-03").output
    assert renamed["changes"] == {"hostname": {"before": "web-01", "after": "web-03"}}
    assert renamed["asset"]["id"] == web["id"]


@pytest.mark.parametrize("name", [{"hostname": "web-99"}, {"id": 4711}])
def test_a_missing_asset_is_an_error(assets, name):
    with pytest.raises(StepError, match=str(next(iter(name.values())))) as caught:
        assets.run("asset-update", **name, os="x")
    assert caught.value.reason is Reason.NOT_FOUND


def test_another_tenants_asset_is_missing(assets, web, engine):
    with pytest.raises(StepError) as caught:
        AssetBench(engine, tenant="other").run("asset-update", id=web["id"], os="x")
    assert caught.value.reason is Reason.NOT_FOUND
    assert assets.rows("select os from assets") == [{"os": "debian 12"}]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"os": "x", "clear": ["os"]}, "os is both given and cleared"),
        ({"clear": []}, "nothing to change"),
        ({"connection": {"passphrase": "hunter2"}}, "credential of the asset"),
        ({"new_hostname": "local"}, "worker's own host"),
        ({"tags": {"a": None}, "tags_mode": "replace"}, "printable"),
    ],
)
def test_values_that_cannot_serve_change_nothing(assets, web, given, words):
    with pytest.raises(StepError, match=words) as caught:
        assets.run("asset-update", hostname="web-01", **given)
    assert caught.value.reason is Reason.INVALID_PARAMETER
    assert "hunter2" not in caught.value.message
    assert assets.run("asset-query", hostname="web-01").output["assets"] == [web]
