"""asset-create against a real PostgreSQL."""

import pytest

from app.errors import StepError
from app.step import State
from tests.lab.inventory import AssetBench
from tool_catalog.model import Reason


@pytest.fixture
def assets(engine):
    return AssetBench(engine)


@pytest.mark.proves("asset-create", "create")
def test_the_plain_call_adds_a_row_that_sql_reads_back(assets):
    result = assets.run(
        "asset-create", hostname="web-server-01", ip_address="192.168.1.100", type="server"
    )
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    (row,) = assets.rows("select *, host(ip_address) as ip from assets")
    assert (row["hostname"], row["ip"], row["type"]) == ("web-server-01", "192.168.1.100", "server")
    assert (row["status"], row["tenant"]) == ("active", "default")
    assert result.summary == f"created asset {row['id']} web-server-01"
    assert result.output == {
        "id": row["id"],
        "hostname": "web-server-01",
        "ip_address": "192.168.1.100",
        "type": "server",
        "status": "active",
        "environment": None,
        "criticality": None,
        "os": None,
        "connection": {},
        "tags": {},
        "metadata": {},
        "created_at": row["created_at"].isoformat(),
        "updated_at": row["updated_at"].isoformat(),
    }


def test_every_field_is_kept(assets):
    given = {
        "hostname": "cam-01",
        "ip_address": "fd00::1",
        "type": "camera",
        "status": "maintenance",
        "environment": "production",
        "criticality": "high",
        "os": "AXIS OS 11",
        "connection": {"type": "http", "port": 443, "verify_tls": True},
        "tags": {"floor": 3, "role": "door", "ptz": False},
        "metadata": {"rack": {"row": "B", "unit": 4}, "notes": ["Tür", "日本"]},
    }
    output = assets.run("asset-create", **given).output
    assert {name: output[name] for name in given} == given


def test_a_taken_host_name_is_a_conflict_that_writes_nothing(assets):
    first = assets.run("asset-create", hostname="web-01").output
    before = assets.rows("select * from assets"), assets.rows("select * from events")
    with pytest.raises(StepError, match=f"web-01 exists as asset {first['id']}") as caught:
        assets.run("asset-create", hostname="WEB-01", os="other")
    assert caught.value.reason is Reason.CONFLICT
    assert not caught.value.transient
    assert (assets.rows("select * from assets"), assets.rows("select * from events")) == before


def test_the_event_names_the_fields_and_the_step(assets):
    made = assets.run("asset-create", hostname="web-01", metadata={"note": "canary"}).output
    (event,) = assets.rows("select * from events")
    assert (event["kind"], event["actor"], event["step_id"]) == ("asset.created", "ada", 7)
    assert event["data"] == {
        "asset_id": made["id"],
        "hostname": "web-01",
        "fields": ["hostname", "metadata", "status", "type"],
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hostname": "local"}, "worker's own host"),
        ({"hostname": "localhost"}, "worker's own host"),
        ({"hostname": "a", "connection": {"password": "hunter2"}}, "credential of the asset"),
        ({"hostname": "a", "connection": {"type": "telnet"}}, "one of ssh, winrm, http"),
        ({"hostname": "a", "tags": {"a b": "c"}}, "cannot name a tag"),
        ({"hostname": "a", "tags": {"a": {"b": "c"}}}, "printable"),
    ],
)
def test_values_that_cannot_serve_are_refused_by_name(assets, given, words):
    with pytest.raises(StepError, match=words) as caught:
        assets.run("asset-create", **given)
    assert caught.value.reason is Reason.INVALID_PARAMETER
    assert "hunter2" not in caught.value.message
    assert assets.rows("select * from assets") == []


def test_an_asset_of_another_tenant_is_no_conflict(assets, engine):
    AssetBench(engine, tenant="other").run("asset-create", hostname="web-01")
    assets.run("asset-create", hostname="web-01")
    assert len(assets.rows("select * from assets")) == 2
