"""Importing assets over HTTP: what would change, what was changed, and what is refused."""

import time
from dataclasses import replace

import pytest
from sqlalchemy import text

from app.api.assets import MAX_IMPORT_BYTES
from app.client import Farm
from app.errors import Forbidden, Malformed, TooLarge, UserError
from app.principal import Role
from app.safety import DEFAULT_POLICY, read_policy


@pytest.fixture
def put(api_farm):
    """`put({"web-01": {...}}, apply=True)`: what the API answers."""
    with api_farm.client() as farm:

        def call(drafts, **members):
            assets = [{"hostname": name, "fields": fields} for name, fields in drafts.items()]
            return farm.http.post("/assets/import", {"assets": assets, **members})

        yield call


def rows(engine, query):
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def events(engine):
    return rows(
        engine, "select kind, actor, data from events where kind like 'asset.%' order by id"
    )


WEB = {"ip_address": "192.0.2.1", "tags": {"group.web": True}, "connection": {"port": 2222}}


def test_nothing_is_written_until_it_shall_be_applied(put, engine):
    shown = put({"web-01": WEB})
    assert shown["new"] == {"web-01": WEB}
    assert shown["applied"] is False
    assert rows(engine, "select * from assets") == []
    assert put({"web-01": WEB}, apply=True) == shown | {"applied": True}
    [asset] = rows(engine, "select * from assets")
    assert (asset["hostname"], asset["type"], asset["status"]) == ("web-01", "server", "active")
    assert (asset["tags"], asset["connection"]) == ({"group.web": True}, {"port": 2222})
    again = put({"web-01": WEB}, apply=True)
    assert (again["new"], again["changed"], again["unchanged"]) == ({}, {}, ["web-01"])


def test_each_asset_that_changes_leaves_an_event(put, engine):
    put({"web-01": WEB, "web-02": {}, "web-03": WEB}, apply=True)
    draft = {"os": "debian 12", "tags": {"group.db": True}, "connection": {"port": 22}}
    shown = put({"web-01": draft, "web-02": {}}, owned_tags="group.", apply=True)
    assert shown["changed"] == {
        "web-01": {
            "connection.port": {"before": 2222, "after": 22},
            "os": {"before": None, "after": "debian 12"},
            "tags.group.db": {"before": None, "after": True},
            "tags.group.web": {"before": True, "after": None},
        }
    }
    assert (shown["unchanged"], shown["not_in_file"]) == (["web-02"], ["web-03"])
    kept = {row["hostname"]: row for row in rows(engine, "select * from assets")}
    assert kept["web-01"]["tags"] == {"group.db": True}
    assert kept["web-03"]["tags"] == {"group.web": True}
    told = events(engine)
    assert [(each["kind"], each["data"]["hostname"]) for each in told] == [
        ("asset.created", "web-01"),
        ("asset.created", "web-02"),
        ("asset.created", "web-03"),
        ("asset.updated", "web-01"),
    ]
    assert {each["actor"] for each in told} == {"test-operator"}
    assert told[-1]["data"]["fields"] == ["connection", "os", "tags"]


def test_a_bad_asset_keeps_all_of_them_out(put, engine):
    drafts = {"web-01": WEB, "a b": {}, "web-02": {"ip_address": "192.0.2"}, "localhost": {}}
    with pytest.raises(Malformed) as caught:
        put(drafts, apply=True)
    assert [fault.path for fault in caught.value.faults] == ["assets[1]", "assets[2]", "assets[3]"]
    assert "ip_address" in caught.value.faults[1].message
    assert rows(engine, "select * from assets") == []


def test_what_fails_in_the_middle_takes_everything_back(put, engine):
    put({"web-01": {"metadata": {"large": "x" * 20_000}}}, apply=True)
    with pytest.raises(UserError, match="bytes of JSON"):
        put({"new-01": {}, "web-01": {"metadata": {"other": "x" * 20_000}}}, apply=True)
    assert [row["hostname"] for row in rows(engine, "select hostname from assets")] == ["web-01"]


def test_a_secret_in_a_connection_is_refused(put):
    with pytest.raises(Malformed) as caught:
        put({"web-01": {"connection": {"password": "planted"}}}, apply=True)
    assert "credential" in caught.value.faults[0].message
    assert "planted" not in str(caught.value.faults)


def test_only_operators_and_admins_import(api_farm):
    for role in (Role.VIEWER, Role.APPROVER):
        with api_farm.client(role) as farm, pytest.raises(Forbidden):
            farm.http.post("/assets/import", {"assets": [{"hostname": "web-01"}]})


def test_what_needs_a_yes_as_a_step_is_not_imported(put, api_farm, engine):
    put({"web-01": WEB | {"environment": "production"}}, apply=True)
    strict = read_policy(DEFAULT_POLICY.with_name("policy.strict.yaml"))
    api_farm.change_parts(rules=replace(api_farm.parts.rules, policy=strict))
    moved = {"web-01": {"environment": "staging"}, "web-02": WEB}
    assert put(moved)["changed"].keys() == {"web-01"}
    told = events(engine)
    with pytest.raises(Forbidden, match=r"asset-update needs an approval here.*: web-01$"):
        put(moved, apply=True)
    assert events(engine) == told
    assert [row["hostname"] for row in rows(engine, "select hostname from assets")] == ["web-01"]
    assert put({"web-02": WEB, "web-01": {}}, apply=True)["new"] == {"web-02": WEB}


def test_tenants_do_not_see_each_other(put, api_farm, engine):
    put({"web-01": WEB}, apply=True)
    _, key = api_farm.parts.principals.add("other", "theirs", Role.ADMIN)
    farm = Farm(url=api_farm.url, key=key)
    shown = farm.http.post("/assets/import", {"assets": [{"hostname": "web-01"}], "apply": True})
    assert list(shown["new"]) == ["web-01"]
    assert farm.http.get("/assets/words")["tags"] == {}
    farm.close()
    assert len(rows(engine, "select * from assets")) == 2


def test_ten_thousand_assets_are_one_request(put, engine):
    drafts = {
        f"web-{number:05}": {"ip_address": f"10.0.{number // 250}.{number % 250}", "tags": {"a": 1}}
        for number in range(10_000)
    }
    began = time.monotonic()
    assert len(put(drafts, apply=True)["new"]) == 10_000
    took_s = time.monotonic() - began
    assert rows(engine, "select count(*) as n from events where kind = 'asset.created'") == [
        {"n": 10_000}
    ]
    assert took_s < 20  # 3 s on an idle machine


def test_a_body_has_a_limit_here_too(api_farm):
    fields = {"metadata": {"x": "y" * MAX_IMPORT_BYTES}}
    body = {"assets": [{"hostname": "web-01", "fields": fields}]}
    with api_farm.client() as farm, pytest.raises(TooLarge):
        farm.http.post("/assets/import", body)


def test_words_for_completion(put, api_farm):
    drafts = {
        "web-01": {"tags": {"role": "web", "spare": True}, "environment": "production"},
        "web-02": {"tags": {"role": "db"}, "os": "debian 12"},
        "db-01": {"environment": "production"},
    }
    put(drafts, apply=True)
    with api_farm.client(Role.VIEWER) as farm:
        assert farm.http.get("/assets/words") == {
            "hostnames": ["db-01", "web-01", "web-02"],
            "fields": {"environment": ["production"], "os": ["debian 12"]},
            "tags": {"role": ["db", "web"], "spare": ["true"]},
        }
        assert farm.http.get("/assets/words", prefix="web")["hostnames"] == ["web-01", "web-02"]
        assert farm.http.get("/assets/words", prefix="%")["hostnames"] == []
        assert farm.http.get("/assets/words", limit=1)["hostnames"] == ["db-01"]
