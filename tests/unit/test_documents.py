"""The documents stay true: their plans pass the check, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from app.block_reader import BLOCK_KEYS, PARALLEL_KEYS
from app.blocks import leaves_of, plant_plan
from app.outcome import RESULT_MEMBERS, SINGLE_MEMBERS, STEP_MEMBERS
from app.plan_reader import ENVELOPE_KEYS, PLAN_KEYS, read_request
from app.safety import read_policy
from app.sandbox import FILTERS
from app.selector import Selection
from app.step import LOCAL, State, Target
from app.step_reader import STEP_KEYS
from app.validate import Rules, validate
from queues import Routing
from tool_catalog.loader import load_catalog
from tool_catalog.model import Reason

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
WRITTEN = sorted(
    [*PROJECT.glob("*.md"), *(p for p in DOCS.rglob("*.md") if p.parent.name != "tools")]
)
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
LONGEST_DECISION = 25


def name_of(path):
    return str(path.relative_to(PROJECT))


def plans():
    for path in (PROJECT / "README.md", DOCS / "plans.md"):
        blocks = re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks, 1):
            yield pytest.param(block, id=f"{name_of(path)}:{number}")


class AnyFarm:
    """Knows every asset and secret that a document names."""

    def select(self, selector):
        asked = selector.names or ("web-01",)
        targets = [
            LOCAL if name == LOCAL.name else Target(name, number, name, "ssh")
            for number, name in enumerate(asked, 1)
        ]
        return Selection(tuple(targets))

    def offers(self):
        return None

    def secret_names(self):
        return {"hook-token"}

    def logins(self, asset_ids):
        return {}


@pytest.fixture(scope="module")
def catalog():
    return load_catalog()


@pytest.mark.parametrize("text", list(plans()))
def test_plans_of_the_documents_pass_the_check(text, catalog):
    plan = read_request(text.encode()).plan
    checked = validate(plan, catalog, AnyFarm(), Rules(read_policy(), Routing()))
    asked = len(list(leaves_of(plant_plan(plan))))
    assert {step.position for step in checked.steps} == set(range(1, asked + 1))


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/security.md", "docs/http-api.md"])
def test_files_that_are_cited_exist(name):
    cited = re.findall(
        r"`((?:app|tasks|workers|tool_catalog|tests|docs)/[\w./-]+)", (PROJECT / name).read_text()
    )
    assert [path for path in cited if not (PROJECT / path).exists()] == []


def test_every_key_of_a_plan_is_described():
    text = (DOCS / "plans.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", text))
    keys = {*PLAN_KEYS, *STEP_KEYS, *BLOCK_KEYS, *PARALLEL_KEYS, *ENVELOPE_KEYS}
    assert keys - named == set()


def test_every_word_of_the_result_contract_is_described():
    words = set(re.findall(r"\w+", (DOCS / "plans.md").read_text()))
    contract = {*STEP_MEMBERS, *SINGLE_MEMBERS, *RESULT_MEMBERS, *map(str, State), *FILTERS}
    assert (contract | set(map(str, Reason))) - words == set()


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_decisions_are_short_and_of_one_form(path):
    text = path.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Status",
        "Consequences",
    ]
    assert text.startswith(f"# {path.name[:4]}: ")
    assert len(text.splitlines()) < LONGEST_DECISION
