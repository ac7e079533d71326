import threading

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound, UserError
from app.selector import parse_selector
from app.step import LOCAL, Target
from app.store.inventory import (
    Inventory,
    create_asset,
    delete_asset,
    find_asset,
    list_assets,
    update_asset,
)
from app.store.models import Asset, Event

ASSETS = (
    {"hostname": "web-01", "ip_address": "10.0.0.1", "environment": "production",
     "tags": {"role": "web", "rack": 3, "dmz": True}},
    {"hostname": "web-02", "ip_address": "10.0.0.2", "environment": "production",
     "tags": {"role": "web"}, "connection": {"type": "http", "port": 8080, "base_path": "/x"}},
    {"hostname": "web-03", "ip_address": "10.0.1.3", "environment": "production",
     "tags": {"role": "web"}, "status": "maintenance"},
    {"hostname": "db-01", "ip_address": "10.0.2.1", "environment": "staging",
     "tags": {"role": "db", "rack": "3"}, "os": "Debian 12"},
    {"hostname": "win-01", "ip_address": "fd00::1", "os": "Windows Server 2022"},
    {"hostname": "old-01", "status": "retired"},
    {"hostname": "bare-01"},
)  # fmt: skip


@pytest.fixture
def session(engine):
    with Session(engine, expire_on_commit=False) as session:
        session.info.update(tenant="default", actor="ada")
        yield session


@pytest.fixture
def ids(session):
    made = {values["hostname"]: create_asset(session, values)["id"] for values in ASSETS}
    session.commit()
    return made


@pytest.fixture
def pick(engine, ids):
    inventory = Inventory(engine)
    return lambda given: inventory.select("default", parse_selector(given))


def names(selection):
    return [target.name for target in selection.targets]


# Selecting


FINDS = (
    ("web-01", ["web-01"]),
    ("WEB-01", ["web-01"]),
    ("db-01,web-01", ["db-01", "web-01"]),
    ("10.0.0.2", ["web-02"]),
    ("fd00::1", ["win-01"]),
    ("environment=production", ["web-01", "web-02"]),
    ("environment=production|staging", ["db-01", "web-01", "web-02"]),
    ("environment=production,tags.role=web,!web-01", ["web-02"]),
    ("ip_address=10.0.0.0/23", ["web-01", "web-02"]),
    ("ip_address=10.0.0.0/8,!ip_address=10.0.0.0/24", ["db-01"]),
    ("ip_address=fd00::/16", ["win-01"]),
    ("tags.rack=3", ["db-01", "web-01"]),
    ("tags.dmz=true", ["web-01"]),
    ('os="Debian 12"', ["db-01"]),
    ("status=active,!environment=production", ["bare-01", "db-01", "win-01"]),
    ("status=active,!(environment=production,tags.rack=3)",
     ["bare-01", "db-01", "web-02", "win-01"]),
    (["web-02", {"tags": {"role": "db"}}], ["web-02", "db-01"]),
    (["web-02", {"status": "active"}, "!win-01"], ["web-02", "bare-01", "db-01", "web-01"]),
    ("hostname=web-01,environment=staging", []),
    ([], []),
    ("type=camera", []),
)  # fmt: skip


def test_a_selector_finds_its_assets(pick, subtests):
    for given, targets in FINDS:
        with subtests.test(given=given):
            selection = pick(given)
            assert names(selection) == targets
            assert selection.unknown == ()


def test_ids_and_asset_objects_select(pick, ids):
    assert names(pick(ids["db-01"])) == ["db-01"]
    assert names(pick([ids["db-01"], "web-01"])) == ["db-01", "web-01"]
    assert names(pick({"id": ids["db-01"], "hostname": "db-01", "type": "server"})) == ["db-01"]
    assert names(pick({"id": [ids["db-01"]], "environment": "staging"})) == ["db-01"]


def test_resting_assets_are_left_out_and_named(pick):
    assert pick("environment=production").left_out == ("web-03 (maintenance)",)
    named = pick("web-03,old-01,web-01")
    assert names(named) == ["web-01"]
    assert named.left_out == ("web-03 (maintenance)", "old-01 (retired)")
    assert pick("environment=production,!web-03").left_out == ()


def test_unknown_names_are_told_wherever_they_stand(pick):
    selection = pick(["web-01", "web-99", "10.9.9.9", 4711, {"os": "x", "not": ["web-98"]}, "!w-1"])
    assert names(selection) == ["web-01"]
    assert selection.unknown == ("web-99", "10.9.9.9", "4711", "web-98", "w-1")


def test_an_asset_that_is_named_and_left_out_is_not_unknown(pick):
    selection = pick("web-01,web-02,!web-01")
    assert names(selection) == ["web-02"]
    assert selection.unknown == ()


def test_an_address_of_several_assets_names_none(pick, session):
    create_asset(session, {"hostname": "twin", "ip_address": "10.0.0.1"})
    session.commit()
    selection = pick("10.0.0.1")
    assert selection.unknown == ("10.0.0.1 (twin, web-01)",)


def test_local_is_the_worker_itself(pick):
    assert pick("local").targets == (LOCAL,)
    assert names(pick("web-01,local")) == ["local", "web-01"]
    assert pick("local,!local").targets == ()
    assert names(pick(["local", {"environment": "staging"}])) == ["local", "db-01"]


def test_a_selector_is_one_statement(engine, pick):
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    pick(["web-01", "nope", {"environment": "production", "not": ["web-02"]}])
    assert len(statements) == 1


def test_another_tenant_sees_none_of_it(engine, ids):
    selection = Inventory(engine).select("other", parse_selector("web-01"))
    assert (selection.targets, selection.unknown) == ((), ("web-01",))


def test_how_an_asset_is_reached(pick, ids):
    (plain,) = pick("web-01").targets
    assert plain == Target("web-01", ids["web-01"], "10.0.0.1", "ssh")
    (http,) = pick("web-02").targets
    assert (http.connection, http.port, http.options) == ("http", 8080, {"base_path": "/x"})
    assert pick("win-01").targets[0].connection == "winrm"
    assert pick("bare-01").targets[0].address == "bare-01"


def test_the_connection_goes_before_what_follows_from_the_asset(pick, session):
    create_asset(
        session,
        {
            "hostname": "win-02",
            "ip_address": "10.0.3.2",
            "os": "windows",
            "connection": {"type": "ssh", "address": "jump.example", "host_key": "ssh-ed25519 A"},
        },
    )
    session.commit()
    (target,) = pick("win-02").targets
    assert (target.connection, target.address, target.os) == ("ssh", "jump.example", "windows")
    assert target.options == {"host_key": "ssh-ed25519 A"}


INJECTIONS = ("' or 1=1 --", "%", "_", '"}', "\\", "x'; drop table assets; --", "$$", ":x", "%(x)s")


def test_no_value_of_a_selector_is_sql(pick, session, subtests):
    for value in INJECTIONS:
        with subtests.test(value=value):
            assert pick({"environment": value}).targets == ()
            assert pick({"tags": {"role": value}}).targets == ()
            assert pick({"os": value}).targets == ()
            assert list_assets(session, {}).total == len(ASSETS)


# Changing


def test_a_bad_value_is_refused_by_name_and_nothing_is_written(session):
    with pytest.raises(UserError, match=r"type: .*one of server.*; status: "):
        create_asset(session, {"hostname": "a", "type": "toaster", "status": "gone"})
    assert session.scalars(select(Asset)).all() == []
    assert session.scalars(select(Event)).all() == []


def test_a_taken_host_name_is_a_conflict_that_leaves_the_transaction_usable(session, ids):
    with pytest.raises(Conflict, match=f"web-01 exists as asset {ids['web-01']}"):
        create_asset(session, {"hostname": "WEB-01"})
    assert find_asset(session, "web-01").id == ids["web-01"]
    session.commit()


def test_two_sessions_create_the_same_host_name_and_one_wins(engine):
    begin = threading.Barrier(8)
    outcomes = []

    def create():
        with Session(engine) as session:
            session.info.update(tenant="default", actor="ada")
            begin.wait()
            try:
                create_asset(session, {"hostname": "web-01"})
                session.commit()
                outcomes.append("created")
            except Conflict:
                outcomes.append("conflict")

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["created"]
    with engine.connect() as connection:
        kinds = connection.execute(text("select kind from events")).scalars().all()
    assert kinds == ["asset.created"]


def test_another_tenant_may_use_the_same_host_name(engine, ids):
    with Session(engine) as other:
        other.info["tenant"] = "other"
        create_asset(other, {"hostname": "web-01"})
        other.commit()
        assert list_assets(other, {}).total == 1
        with pytest.raises(NotFound):
            find_asset(other, str(ids["web-02"]))


def test_merging_follows_rfc_7396_and_tells_what_moved(session, ids):
    create_asset(session, {"hostname": "m", "metadata": {"a": {"b": 1, "c": 2}, "d": [1]}})
    asset, moved = update_asset(session, "m", {"metadata": {"a": {"b": None, "e": 3}, "d": [2]}})
    assert asset["metadata"] == {"a": {"c": 2, "e": 3}, "d": [2]}
    assert moved == {
        "metadata": {
            "before": {"a": {"b": 1, "c": 2}, "d": [1]},
            "after": {"a": {"c": 2, "e": 3}, "d": [2]},
        }
    }
    _, moved = update_asset(session, "m", {"tags": {"x": "1"}}, replace=frozenset({"tags"}))
    assert moved["tags"]["after"] == {"x": "1"}


# RFC 7396, appendix A, without the rows whose original is no object: a field always is one.
RFC_7396 = (
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
)


def test_the_cases_of_the_rfc(session, subtests):
    for number, (before, patch, after) in enumerate(RFC_7396):
        with subtests.test(number=number):
            create_asset(session, {"hostname": f"h{number}", "metadata": before})
            asset, _ = update_asset(session, f"h{number}", {"metadata": patch})
            assert asset["metadata"] == after


def test_an_update_that_changes_nothing_writes_nothing(session, ids):
    before = find_asset(session, "web-01").updated_at
    events = len(session.scalars(select(Event)).all())
    asset, moved = update_asset(session, "web-01", {"tags": {"role": "web"}, "status": "active"})
    assert moved == {}
    assert asset["updated_at"] == before.isoformat()
    assert len(session.scalars(select(Event)).all()) == events


def test_renaming_to_a_taken_name_undoes_only_itself(session, ids):
    update_asset(session, "web-02", {"os": "debian"})
    with pytest.raises(Conflict, match="web-01 exists as asset"):
        update_asset(session, "web-02", {"hostname": "web-01"})
    session.commit()
    assert find_asset(session, "web-02").os == "debian"


def test_a_merge_is_checked_as_a_whole(session, ids):
    with pytest.raises(UserError, match="credential of the asset"):
        update_asset(session, "web-02", {"connection": {"token": "x"}})
    with pytest.raises(UserError, match="cannot name a tag"):
        update_asset(session, "web-02", {"tags": {"a b": "x"}})


def test_concurrent_merges_lose_neither(engine, ids):
    def merge(tag):
        with Session(engine) as session:
            session.info.update(tenant="default", actor="ada")
            update_asset(session, "bare-01", {"tags": {tag: "x"}})
            session.commit()

    threads = [threading.Thread(target=merge, args=(f"t{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Session(engine) as session:
        session.info["tenant"] = "default"
        assert find_asset(session, "bare-01").tags == {f"t{number}": "x" for number in range(6)}


def test_deleting_takes_the_credentials_along_and_is_told(session, ids):
    session.execute(
        text(
            "insert into secrets (id, tenant, name, kind, asset_ids, version, key_id, wrapped_key,"
            " sealed) values (gen_random_uuid(), 'default', 'web', 'credential', array[:id], 1,"
            " 'k', '\\x00', '\\x00')"
        ),
        {"id": ids["web-01"]},
    )
    removed = delete_asset(session, "web-01")
    session.commit()
    assert removed["credentials"] == ["web"]
    assert session.execute(text("select count(*) from secrets")).scalar() == 0
    with pytest.raises(NotFound, match="web-01"):
        delete_asset(session, "web-01")


def test_each_change_leaves_an_event_with_the_names_of_its_fields(session):
    session.info["step_id"] = 7
    made = create_asset(session, {"hostname": "a", "metadata": {"note": "canary"}})
    update_asset(session, "a", {"hostname": "b", "os": "debian"})
    delete_asset(session, str(made["id"]))
    session.commit()
    rows = session.scalars(select(Event).order_by(Event.id)).all()
    assert [(row.kind, row.actor, row.step_id) for row in rows] == [
        ("asset.created", "ada", 7),
        ("asset.updated", "ada", 7),
        ("asset.deleted", "ada", 7),
    ]
    assert rows[1].data == {"asset_id": made["id"], "hostname": "b", "fields": ["hostname", "os"]}
    assert "canary" not in str([row.data for row in rows])


# Searching


HELD = (
    ("WEB-0", ["web-01", "web-02", "web-03"]),
    ("debian", ["db-01"]),
    ("windows server", ["win-01"]),
    ("db", ["db-01"]),
    ("%", []),
    ("{", []),
    ('"', []),
    ("role", ["web-01", "web-02", "web-03", "db-01"]),
    ("true", ["web-01"]),
    ("web_01", []),
    ("\\", []),
    ("' or 1=1 --", []),
    ("nothing like it", []),
)


def test_free_text_is_text(session, ids, subtests):
    for words, found in HELD:
        with subtests.test(words=words):
            page = list_assets(session, {}, words=words)
            assert [asset["hostname"] for asset in page.assets] == found
            assert page.total == len(found)


def test_text_is_found_at_any_depth(session):
    create_asset(session, {"hostname": "a", "metadata": {"x": [{"deep": ['needle "q"']}]}})
    for words in ("NEEDLE", 'needle "q"', "deep", "x"):
        assert list_assets(session, {}, words=words).total == 1
    assert list_assets(session, {}, words='"deep"').total == 0


def test_marks_of_like_are_found_as_they_are(session):
    create_asset(session, {"hostname": "a", "metadata": {"note": "100% of a_b \\ c"}})
    create_asset(session, {"hostname": "b", "metadata": {"note": "100 of aXb"}})
    for words in ("100%", "a_b"):
        page = list_assets(session, {}, words=words)
        assert [asset["hostname"] for asset in page.assets] == ["a"]


def test_pages_are_ordered_by_id_and_know_the_total(session, ids):
    first = list_assets(session, {}, limit=3)
    rest = list_assets(session, {}, limit=100, offset=3)
    assert first.total == rest.total == len(ASSETS)
    found = [asset["id"] for asset in first.assets + rest.assets]
    assert found == sorted(ids.values())
