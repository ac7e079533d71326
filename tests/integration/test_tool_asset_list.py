"""asset-list against a real PostgreSQL."""

import pytest

from app.errors import StepError
from app.step import State
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason


@pytest.fixture
def assets(engine):
    return AssetBench(engine)


@pytest.fixture
def stocked(assets):
    for number in range(1, 8):
        kind = "camera" if number % 2 else "server"
        assets.run("asset-create", hostname=f"host-{number}", type=kind, tags={"odd": number % 2})
    return assets


def found(result):
    return [asset["hostname"] for asset in result.output["assets"]]


@pytest.mark.proves("asset-list", "list")
def test_pages_are_ordered_by_id_and_know_the_total(stocked):
    first = stocked.run("asset-list", limit=3)
    second = stocked.run("asset-list", limit=3, offset=3)
    last = stocked.run("asset-list", limit=3, offset=6)
    hosts = found(first) + found(second) + found(last)
    assert hosts == [f"host-{number}" for number in range(1, 8)]
    assert {page.output["total"] for page in (first, second, last)} == {7}
    assert (second.output["limit"], second.output["offset"], second.output["count"]) == (3, 3, 3)
    assert (first.summary, first.changed, first.state) == ("3 of 7 assets", False, State.SUCCEEDED)


def test_filters_narrow_the_total_too(stocked):
    cameras = stocked.run("asset-list", type="camera", limit=1)
    assert (found(cameras), cameras.output["total"]) == (["host-1"], 4)
    assert stocked.run("asset-list", tags={"odd": 0}).output["total"] == 3


def test_an_empty_inventory_and_a_page_beyond_the_end_are_lists_of_none(assets):
    assert assets.run("asset-list").output == {
        "assets": [],
        "count": 0,
        "total": 0,
        "limit": 100,
        "offset": 0,
    }
    assets.run("asset-create", hostname="host-1")
    beyond = assets.run("asset-list", offset=10)
    assert (beyond.output["assets"], beyond.output["total"]) == ([], 1)


def test_a_tag_that_cannot_be_is_refused(assets):
    with pytest.raises(StepError, match="no field") as caught:
        assets.run("asset-list", tags={"a b": "x"})
    assert caught.value.reason is Reason.INVALID_PARAMETER
