"""asset-delete against a real PostgreSQL."""

import pytest

from app.errors import StepError
from app.step import State
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason


@pytest.fixture
def assets(engine):
    return AssetBench(engine)


@pytest.mark.proves("asset-delete", "delete")
@pytest.mark.parametrize("by", ["id", "hostname"])
def test_what_was_deleted_is_returned_and_gone(assets, by):
    made = assets.run("asset-create", hostname="web-01", tags={"role": "web"}).output
    assets.run("asset-create", hostname="web-02")
    result = assets.run("asset-delete", **{by: made[by]}, confirm=True)
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    assert result.output == made | {"credentials": []}
    assert result.summary == f"deleted asset {made['id']} web-01"
    assert assets.rows("select hostname from assets") == [{"hostname": "web-02"}]
    kinds = [row["kind"] for row in assets.rows("select kind from events order by id")]
    assert kinds == ["asset.created", "asset.created", "asset.deleted"]


def test_a_missing_asset_is_an_error(assets):
    for name in ({"hostname": "web-99"}, {"id": 4711}):
        with pytest.raises(StepError, match="no asset") as caught:
            assets.run("asset-delete", **name, confirm=True)
        assert caught.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, ("confirm", "missing_parameter")),
        ({"confirm": False}, ("confirm", "not_allowed")),
        ({"confirm": "false"}, ("confirm", "not_allowed")),
        ({"confirm": "yes"}, ("confirm", "wrong_type")),
        ({"confirm": 1}, ("confirm", "wrong_type")),
    ],
)
def test_without_confirmation_the_call_is_a_fault(assets, given, fault):
    assert assets.faults("asset-delete", hostname="web-01", **given) == [fault]


def test_an_asset_is_named_in_exactly_one_way(assets):
    for given in ({}, {"id": 1, "hostname": "web-01"}):
        assert [code for _, code in assets.faults("asset-delete", confirm=True, **given)] == [
            "rule"
        ]


def test_another_tenants_asset_stays(assets, engine):
    made = assets.run("asset-create", hostname="web-01").output
    with pytest.raises(StepError):
        AssetBench(engine, tenant="other").run("asset-delete", id=made["id"], confirm=True)
    assert len(assets.rows("select * from assets")) == 1
