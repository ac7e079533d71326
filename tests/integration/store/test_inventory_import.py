"""Imports beside others who change the inventory at that moment."""

import threading

import pytest
from sqlalchemy import insert, select, text

from app.errors import Conflict
from app.principal import Principal, Role
from app.store.db import make_sessions
from app.store.inventory_import import compare_assets, import_assets
from app.store.models import Asset

ADA = Principal(1, "ada", Role.OPERATOR)


def names(engine):
    with make_sessions(engine)() as session:
        return list(session.scalars(select(Asset.hostname).order_by(Asset.hostname)))


def wait_until_blocked(engine):
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    with engine.connect() as connection:
        for _ in range(1000):
            if connection.execute(text(waiting)).scalar():
                return
            connection.execute(text("select pg_sleep(0.01)"))
            connection.rollback()
    pytest.fail("nobody waits for a lock")


def test_somebody_adds_the_same_asset_meanwhile(engine):
    caught = []

    def run():
        try:
            import_assets(engine, ADA, {"new-01": {}, "web-01": {"os": "debian"}}, None)
        except Conflict as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    with engine.begin() as other:
        other.execute(insert(Asset).values(tenant="default", hostname="web-01"))
        thread.start()
        wait_until_blocked(engine)
    thread.join(20)
    assert "web-01 was added by somebody else meanwhile" in str(caught[0])
    assert caught[0].hint == "import again"
    assert names(engine) == ["web-01"]


def test_a_difference_is_made_without_a_lock_or_a_trace(engine):
    with engine.begin() as other:
        other.execute(insert(Asset).values(tenant="default", hostname="web-01"))
        found = compare_assets(engine, ADA, {"web-02": {}}, None)
    assert (list(found.new), found.not_in_file) == (["web-02"], [])
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from events")).scalar() == 0


def test_every_mix_of_fields_is_taken_in(engine):
    drafts = {
        "a": {},
        "b": {"os": "x", "metadata": {"rack": 1}},
        "c": {"ip_address": "2001:db8::1"},
        "d": {"os": "y", "metadata": {}},
    }
    import_assets(engine, ADA, drafts, None)
    again = import_assets(engine, ADA, drafts, None)
    assert (again.new, again.changed, list(again.unchanged)) == ({}, {}, ["a", "b", "c", "d"])
