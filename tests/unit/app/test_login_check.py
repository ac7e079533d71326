"""Whether a step's targets can be whom it runs as is known before it runs."""

import pytest

from app.errors import PlanRejected
from app.privilege import KnownLogin

ROOT = KnownLogin("root-key", "root")
PLAIN = KnownLogin("key", "ops")
SUDO = KnownLogin("sudo-key", "ops", {"method": "sudo", "user": "root"})

AS_ROOT = "steps: [{tool: df, run_as: root, targets: %s}]"


@pytest.fixture
def logins(farm, monkeypatch):
    """`logins[1] = PLAIN`: the login of the asset with that id; every question is kept."""
    known, asked = {}, []

    def find(ids):
        asked.append(set(ids))
        return {each: known[each] for each in ids if each in known}

    monkeypatch.setattr(farm, "logins", find, raising=False)
    known["asked"] = asked
    return known


def faults_of(check, text):
    with pytest.raises(PlanRejected) as caught:
        check(text)
    return caught.value.faults


def test_who_can_be_become_is_no_fault(check, logins):
    logins.update({1: ROOT, 2: SUDO})
    assert len(check(AS_ROOT % "[web-01, web-02]").steps[0].rows) == 2


def test_who_cannot_is_named_once_for_all_targets_of_a_login(check, logins):
    logins.update({1: PLAIN, 2: PLAIN, 3: SUDO, **dict.fromkeys(range(4, 8), PLAIN)})
    (fault,) = faults_of(check, AS_ROOT % "[web-01, web-02, db-01, node-1, node-2, node-3, node-4]")
    assert (fault.path, fault.code, fault.given) == ("steps[0].run_as", "no_privilege", "root")
    assert "credential key of web-01, web-02, node-1 and 3 more logs in as ops" in fault.message
    assert logins["asked"] == [{1, 2, 3, 4, 5, 6, 7}]


def test_an_asset_without_a_login_is_not_judged(check, logins):
    assert check(AS_ROOT % "web-01")


def test_nobody_asks_where_nobody_else_is_meant(check, logins):
    check("steps: [{tool: df, targets: web-01}]")
    assert logins["asked"] == []


def test_the_same_assets_are_asked_for_once(check, logins):
    logins.update({1: SUDO, 2: SUDO})
    plan = "steps: [{tool: df, run_as: root, targets: web-01}, "
    plan += "{tool: df, id: b, run_as: root, targets: [web-01, web-02]}]"
    check(plan)
    assert logins["asked"] == [{1}, {2}]
