"""What people are shown before they say yes, and what their yes is bound to."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.approvals import asking_assets, bind_steps, find_changes, make_ask, shown_assets
from app.plan import Need
from app.privilege import KnownLogin
from tool_catalog.loader import Catalog

SELF = Need("self")
ROOT = KnownLogin("root-key", "root")
SUDO = {"method": "sudo", "user": "root"}
LOGINS = {1: ROOT, 2: KnownLogin("deploy", "deploy", SUDO)}


@pytest.fixture
def ask(check, catalog):
    """`ask(text)`: what is asked for a plan all of whose steps need a reason."""

    def run(text, logins=None, needs=None):
        steps = [
            replace(step, approval=None if step.dynamic else (needs or {}).get(step.key, SELF))
            for step in check(text).steps
        ]
        bound = bind_steps(steps, catalog, LOGINS if logins is None else logins)
        return SimpleNamespace(
            steps=bound,
            ask=make_ask(bound, catalog, LOGINS if logins is None else logins, 60.0),
        )

    return run


STOP = """
steps:
- {tool: systemctl, operation: stop, targets: [web-01, web-02], confirm: [web-01, web-02],
   parameters: {unit: nginx.service}}
"""


def test_the_same_command_is_shown_once_for_all_its_targets(ask):
    shown = ask(STOP).ask.shown
    [step] = shown["steps"]
    assert (step["id"], step["tool"], step["operation"]) == ("systemctl", "systemctl", "stop")
    [command] = step["commands"]
    assert command["command"]["line"] == "systemctl stop -- nginx.service"
    assert [(t["name"], t["credential"]) for t in command["targets"]] == [
        ("web-01", "root-key"),
        ("web-02", "deploy"),
    ]


def test_items_are_shown_one_by_one(ask):
    text = """
steps:
- {tool: systemctl, operation: stop, for_each: [a.service, b.service], targets: web-01,
   confirm: web-01, parameters: {unit: "{{ item }}"}}
"""
    [step] = ask(text).ask.shown["steps"]
    assert [(c["item"], c["command"]["line"]) for c in step["commands"]] == [
        ("a.service", "systemctl stop -- a.service"),
        ("b.service", "systemctl stop -- b.service"),
    ]


def test_a_step_in_batches_is_one_step(ask):
    text = """
steps:
- targets: [web-01, web-02]
  batch: 1
  steps: [{tool: systemctl, operation: stop, confirm: [web-01, web-02], parameters: {unit: a}}]
"""
    [step] = ask(text).ask.shown["steps"]
    assert [t["name"] for t in step["commands"][0]["targets"]] == ["web-01", "web-02"]


def test_secrets_are_shown_by_name_only(ask):
    text = """
steps:
- {tool: sendmail, parameters: {to: a@example.com, subject: x, password: {$secret: smtp}}}
"""
    asked = ask(text).ask
    [command] = asked.shown["steps"][0]["commands"]
    assert command["targets"] == []
    assert command["command"]["parameters"]["password"] == {"$secret": "smtp"}
    json.dumps(asked.shown)


def test_the_rows_hold_what_must_be_so_when_they_run(ask, catalog):
    [step] = ask(STOP).steps
    digest = catalog.find("systemctl").digest
    assert [row.bound for row in step.rows] == [
        {"tool": digest, "login": {"credential": "root-key", "user": "root", "become": None}},
        {"tool": digest, "login": {"credential": "deploy", "user": "deploy", "become": SUDO}},
    ]


def test_what_needs_no_yes_is_neither_shown_nor_bound(ask):
    more = "- {tool: df}\n- {tool: df, id: more, parameters: {path: '{{ steps.df.summary }}'}}"
    asked = ask(STOP + more, needs={"df": None})
    assert [step["id"] for step in asked.ask.shown["steps"]] == ["systemctl"]
    assert [row.bound for step in asked.steps[1:] for row in step.rows] == [None, None]
    assert asking_assets(asked.steps) == {1, 2} == shown_assets(asked.ask.shown)


def test_nothing_to_ask_is_no_question(ask):
    assert ask("steps: [{tool: df}]", needs={"df": None}).ask is None


def test_the_needs_of_all_steps_come_together(ask):
    text = STOP + "- {tool: df}\n"
    asked = ask(text, needs={"df": Need("other", {"dba": 2})}).ask
    assert asked.need == Need("other", {"dba": 2})
    assert [step["needs"] for step in asked.shown["steps"]] == [
        {"who": "self", "groups": {}},
        {"who": "other", "groups": {"dba": 2}},
    ]
    assert asked.expires_s == 60.0


CHANGES = [
    STOP.replace("nginx.service", "ssh.service"),
    STOP.replace("[web-01, web-02]", "[web-01]"),
    STOP.replace("systemctl,", "systemctl, run_as: deploy,"),
    STOP.replace("operation: stop", "operation: restart"),
    STOP + "- {tool: df}\n",
]


@pytest.mark.parametrize("text", CHANGES)
def test_whatever_would_run_otherwise_has_another_digest(ask, text):
    assert ask(text).ask.digest != ask(STOP).ask.digest


def test_the_same_has_the_same_digest_and_another_login_another(ask):
    assert ask(STOP).ask.digest == ask(STOP).ask.digest
    assert ask(STOP, logins={**LOGINS, 2: ROOT}).ask.digest != ask(STOP).ask.digest


def with_changed_tool(catalog):
    tools = dict(catalog.tools)
    tools["systemctl"] = tools["systemctl"].model_copy(update={"digest": "another"})
    return Catalog(tools)


def targets_of(asked):
    rows = [row for step in asked.steps for row in step.rows]
    return {row.target.asset_id: row.target for row in rows}


def test_a_tool_file_that_changed_since_it_was_asked_is_named(ask, catalog):
    asked = ask(STOP)
    shown, targets = asked.ask.shown, targets_of(asked)
    assert find_changes(shown, catalog, LOGINS, targets) == []
    for changed in (with_changed_tool(catalog), Catalog({})):
        assert find_changes(shown, changed, LOGINS, targets) == ["the file of systemctl changed"]


LOGIN_CHANGES = [
    (KnownLogin("new", "deploy", SUDO), "new as deploy, sudo to root"),
    (KnownLogin("deploy", "root", SUDO), "deploy as root, sudo to root"),
    (KnownLogin("deploy", "deploy"), "deploy as deploy"),
    (None, "none"),
]


@pytest.mark.parametrize(("login", "words"), LOGIN_CHANGES)
def test_a_login_that_is_another_one_is_named(ask, catalog, login, words):
    asked = ask(STOP)
    logins = {1: ROOT} | ({2: login} if login else {})
    assert find_changes(asked.ask.shown, catalog, logins, targets_of(asked)) == [
        f"the credential of web-02 was deploy as deploy, sudo to root, is {words}"
    ]
    assert ask(STOP, logins=logins).ask.digest != asked.ask.digest


MOVES = [
    ({"address": "192.0.2.99"}, "the address of web-02 was web-02.example.com, is 192.0.2.99"),
    ({"port": 2222}, "the port of web-02 was None, is 2222"),
    ({"name": "web-09"}, "the name of web-02 was web-02, is web-09"),
    ({"options": {"host_key": ["other"]}}, "the connection of web-02 changed"),
]


@pytest.mark.parametrize(("members", "words"), MOVES)
def test_a_target_that_is_elsewhere_by_now_is_named(ask, catalog, members, words):
    asked = ask(STOP)
    targets = targets_of(asked)
    moved = targets | {2: replace(targets[2], **members)}
    assert find_changes(asked.ask.shown, catalog, LOGINS, moved) == [words]
    gone = {1: targets[1]}
    assert find_changes(asked.ask.shown, catalog, LOGINS, gone) == [
        "web-02 is gone, in maintenance or retired"
    ]


def test_facts_that_decide_nothing_may_change(ask, catalog):
    asked = ask(STOP)
    targets = targets_of(asked)
    grown = targets | {2: replace(targets[2], os="debian 13")}
    assert find_changes(asked.ask.shown, catalog, LOGINS, grown) == []


def test_a_step_that_a_worker_runs_itself_is_bound_to_no_login(ask, catalog):
    asked = ask("steps: [{tool: asset-delete, parameters: {hostname: web-01, confirm: true}}]")
    assert asked.steps[0].rows[0].bound["login"]["credential"] is None
    assert find_changes(asked.ask.shown, catalog, LOGINS, {}) == []
