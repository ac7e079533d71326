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
LOGINS = {1: ROOT, 2: KnownLogin("deploy", "deploy", {"method": "sudo", "user": "root"})}


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
        {"tool": digest, "credential": "root-key"},
        {"tool": digest, "credential": "deploy"},
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


def test_what_changed_since_it_was_asked_is_named(ask, catalog):
    shown = ask(STOP).ask.shown
    assert find_changes(shown, catalog, LOGINS) == []
    assert find_changes(shown, with_changed_tool(catalog), LOGINS) == [
        "the file of systemctl changed"
    ]
    assert find_changes(shown, Catalog({}), LOGINS) == ["the file of systemctl changed"]
    assert find_changes(shown, catalog, {1: KnownLogin("new", "x")}) == [
        "the credential of web-01 was root-key, is new",
        "the credential of web-02 was deploy, is none",
    ]
