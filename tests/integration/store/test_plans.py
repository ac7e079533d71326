"""Versions of stored plans in the real ledger."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.plan_name import PlanName
from app.store.db import make_engine
from app.store.models import Event
from app.store.plans import NewPlan, StoredPlans

NEW = NewPlan("default", "nightly", "steps: [{tool: df}]  # why\n", "ops", {"df": "1"}, "first")


@pytest.fixture
def plans(engine):
    return StoredPlans(engine)


def test_a_version_is_kept_as_it_was_handed_in(plans):
    row, created = plans.save(NEW)
    assert created
    found = plans.find("default", PlanName("nightly"))
    assert (found.version, found.document, found.note) == (1, NEW.document, "first")
    assert (found.saved_by, found.tools) == ("ops", {"df": "1"})
    assert found.digest == row.digest
    assert found.saved_at.tzinfo is not None


def test_the_same_text_gives_the_version_that_there_is(plans):
    first, _ = plans.save(NEW)
    again, created = plans.save(replace(NEW, note="again", saved_by="eve"))
    assert (again.version, again.note, created) == (first.version, "first", False)


def test_an_older_text_becomes_the_newest_again(plans):
    plans.save(NEW)
    plans.save(replace(NEW, document="steps: [{tool: ping}]\n"))
    row, created = plans.save(NEW)
    assert (row.version, created) == (3, True)


def test_the_same_text_over_a_changed_tool_is_a_new_version(plans):
    plans.save(NEW)
    row, created = plans.save(replace(NEW, tools={"df": "2"}))
    assert (row.version, created) == (2, True)


def test_versions_are_found_by_number_and_the_newest_by_name(plans):
    for number in range(3):
        plans.save(replace(NEW, document=f"steps: []  # {number}\n"))
    assert plans.find("default", PlanName("nightly")).version == 3
    assert plans.find("default", PlanName("nightly", 2)).document == "steps: []  # 1\n"
    assert plans.find("default", PlanName("nightly", 4)) is None
    assert plans.find("default", PlanName("other")) is None
    assert [row.version for row in plans.list_versions("default", "nightly")] == [3, 2, 1]


def test_the_list_holds_the_newest_of_each_name(plans):
    plans.save(replace(NEW, name="b"))
    plans.save(NEW)
    plans.save(replace(NEW, document="steps: []\n"))
    listed = [(row.name, row.version) for row in plans.list_newest("default")]
    assert listed == [("b", 1), ("nightly", 2)]
    assert plans.list_names("default") == ["b", "nightly"]


def test_another_tenants_plans_are_not_seen(plans):
    plans.save(NEW)
    row, created = plans.save(replace(NEW, tenant="other"))
    assert (row.version, created) == (1, True)
    assert plans.find("third", PlanName("nightly")) is None
    assert plans.list_newest("third") == []
    assert plans.list_versions("third", "nightly") == []


def test_saving_is_an_event_and_saving_nothing_new_is_none(plans, engine):
    plans.save(NEW)
    plans.save(NEW)
    with Session(engine) as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "plan.saved"))
    assert (event.actor, event.data["plan"], event.data["version"]) == ("ops", "nightly", 1)


def test_many_who_save_at_once_get_a_version_each(database_url):
    engines = [make_engine(database_url, pool_size=1) for _ in range(6)]
    gate = threading.Barrier(len(engines))
    versions = []

    def save(number):
        gate.wait(timeout=10)
        text = f"steps: []  # {number}\n"
        versions.append(StoredPlans(engines[number]).save(replace(NEW, document=text))[0].version)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for engine in engines:
        engine.dispose()
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
