"""asset-query against a real PostgreSQL."""

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
    for given in (
        {"hostname": "web-01", "ip_address": "10.0.0.1", "environment": "production",
         "tags": {"role": "web", "rack": 3}, "os": "debian 12"},
        {"hostname": "web-02", "ip_address": "10.0.0.2", "environment": "production",
         "tags": {"role": "proxy"}, "status": "maintenance", "criticality": "high"},
        {"hostname": "cam-01", "ip_address": "10.0.1.1", "type": "camera",
         "metadata": {"note": "100% sure_thing"}},
    ):  # fmt: skip
        assets.run("asset-create", **given)
    return assets


def found(result):
    return [asset["hostname"] for asset in result.output["assets"]]


@pytest.mark.proves("asset-query", "query")
def test_each_condition_finds_and_all_must_hold(stocked, subtests):
    for given, hosts in (
        ({"hostname": "WEB-01"}, ["web-01"]),
        ({"ip": "10.0.0.2"}, ["web-02"]),
        ({"ip": "10.0.0.2/32"}, ["web-02"]),
        ({"ip": "10.0.0.0/24"}, ["web-01", "web-02"]),
        ({"ip": "10.0.0.0/8", "type": "camera"}, ["cam-01"]),
        ({"type": "server"}, ["web-01", "web-02"]),
        ({"status": "maintenance"}, ["web-02"]),
        ({"environment": "production", "status": "active"}, ["web-01"]),
        ({"criticality": "high"}, ["web-02"]),
        ({"os": "debian 12"}, ["web-01"]),
        ({"tags": {"role": "web", "rack": 3}}, ["web-01"]),
        ({"tags": {"rack": "3"}}, ["web-01"]),
        ({"tags": {"role": ["web", "proxy"]}}, ["web-01", "web-02"]),
        ({"text": "DEBIAN"}, ["web-01"]),
        ({"text": "100%"}, ["cam-01"]),
        ({"text": "proxy", "environment": "production"}, ["web-02"]),
    ):
        with subtests.test(given=given):
            result = stocked.run("asset-query", **given)
            assert found(result) == hosts
            assert result.output["count"] == result.output["total"] == len(hosts)
            assert result.changed is False


def test_by_id(stocked):
    (row,) = stocked.rows("select id from assets where hostname = 'cam-01'")
    assert found(stocked.run("asset-query", id=row["id"])) == ["cam-01"]


def test_naming_one_that_does_not_exist_is_an_error(stocked, subtests):
    for given, words in (
        ({"id": 4711}, "no asset with id 4711"),
        ({"hostname": "web-99"}, "no asset with hostname web-99"),
        ({"ip": "10.9.9.9"}, "no asset with address 10.9.9.9"),
        ({"hostname": "web-01", "type": "camera"}, "hostname web-01 and the type asked for"),
    ):
        with subtests.test(given=given):
            with pytest.raises(StepError, match=words) as caught:
                stocked.run("asset-query", **given)
            assert caught.value.reason is Reason.NOT_FOUND


def test_filters_that_nothing_meets_succeed_with_none(stocked):
    result = stocked.run("asset-query", environment="staging")
    assert (result.state, result.summary) == (State.SUCCEEDED, "0 assets")
    assert result.output == {"assets": [], "count": 0, "total": 0}
    assert stocked.run("asset-query", ip="10.9.0.0/16").output["total"] == 0


def test_a_limit_tells_what_it_cut(stocked):
    result = stocked.run("asset-query", ip="10.0.0.0/8", limit=2)
    assert found(result) == ["web-01", "web-02"]
    assert result.summary == "2 of 3 assets"
    assert (result.output["count"], result.output["total"]) == (2, 3)


def test_no_value_is_sql_or_a_wildcard(stocked, subtests):
    for value in ("' or 1=1 --", "%", "_", "\\", "x'); drop table assets; --", '"role": "web"}'):
        with subtests.test(value=value):
            assert stocked.run("asset-query", environment=value).output["total"] == 0
            assert stocked.run("asset-query", tags={"role": value}).output["total"] == 0
    for value in ("' or 1=1 --", "w_b", "\\", "x'); drop table assets; --"):
        with subtests.test(text=value):
            assert stocked.run("asset-query", text=value).output["total"] == 0
    assert len(stocked.rows("select * from assets")) == 3


def test_the_name_of_a_tag_is_checked(stocked):
    with pytest.raises(StepError, match="no field") as caught:
        stocked.run("asset-query", tags={"role' or '1": "x"})
    assert caught.value.reason is Reason.INVALID_PARAMETER


def test_another_tenant_finds_none(stocked, engine):
    other = AssetBench(engine, tenant="other")
    assert other.run("asset-query", type="server").output["total"] == 0
    with pytest.raises(StepError):
        other.run("asset-query", hostname="web-01")
