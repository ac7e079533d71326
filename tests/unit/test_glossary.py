"""The glossary holds the project's words, in order."""

import re
from pathlib import Path

import pytest

from app.plan import Plan
from app.principal import Principal, Role
from app.step import Artifact, Credential, Secret, State, Target
from queues import Domain, Pool
from tool_catalog.model import Effect, Operation, Parameter, Reason, Repeat, Tool

GLOSSARY = (Path(__file__).resolve().parents[2] / "GLOSSARY.md").read_text()
ENTRIES = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", GLOSSARY, re.MULTILINE)
WORDS = [word for word, _ in ENTRIES]

#: The words that the project began with.
FIRST_WORDS = """
plan, step, stage, tool, operation, parameter, domain, queue, pool, worker, execution, attempt,
asset, target, vantage, credential, secret, command, runner, raw output, result, outcome, verdict,
policy, ledger, dispatcher, sweeper, lease, token, arm, mutex, selector, block, input, event,
effect, repeat, artifact, principal, tenant
"""
#: Types that are called by their word.
TYPES = (
    Artifact,
    Credential,
    Domain,
    Effect,
    Operation,
    Parameter,
    Plan,
    Pool,
    Principal,
    Reason,
    Repeat,
    Role,
    Secret,
    State,
    Target,
    Tool,
)


def test_entries_are_sorted_and_stand_once():
    assert sorted(set(WORDS)) == WORDS


@pytest.mark.parametrize("word", [" ".join(word.split()) for word in FIRST_WORDS.split(",")])
def test_every_first_word_has_an_entry(word):
    assert word in WORDS


@pytest.mark.parametrize("named", TYPES, ids=lambda named: named.__name__)
def test_types_are_called_by_a_word(named):
    assert named.__name__.lower() in WORDS


@pytest.mark.parametrize("kind", [Domain, Effect, Repeat, Role])
def test_kinds_are_all_told(kind):
    entry = GLOSSARY.partition(f"- **{kind.__name__.lower()}**: ")[2].partition("\n- **")[0]
    told = re.findall(r"[a-z]+", entry.partition(":")[2])
    assert told == [member.value for member in kind]
