import shutil
import time
from pathlib import Path

import pytest
import yaml

from queues import Domain
from tool_catalog import loader
from tool_catalog.loader import load_catalog, load_tool
from tool_catalog.model import CatalogError, Effect, Repeat
from tool_catalog.names import UnknownName

DRAFTS = Path(__file__).parent / "drafts"


def tool(**more):
    return {"summary": "For a test", "operations": {"show": show()}, **more}


def show(**more):
    return {
        "summary": "Shows it",
        "effect": "read",
        "argv": ["true"],
        "examples": [{"parameters": {}}],
        **more,
    }


@pytest.fixture
def write(tmp_path):
    def write(body, name="sample"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(body if isinstance(body, str) else yaml.safe_dump(body, sort_keys=False))
        return path

    return write


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A catalogue of a test's own in place of ours."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setattr(loader, "TOOLS", folder)

    def write(place, body):
        path = folder / f"{place}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(body, sort_keys=False))

    return write


@pytest.mark.parametrize("path", sorted(DRAFTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_drafts_load(path):
    assert load_tool(path).operations


def test_what_a_draft_becomes():
    systemctl = load_tool(DRAFTS / "systemctl.yaml")
    restart = systemctl.operations["restart"]
    assert (restart.effect, restart.repeat) == (Effect.CHANGE, Repeat.PROBE)
    assert list(restart.parameters) == ["unit"]
    assert [rule.reason for rule in restart.errors] == ["not_found", "missing_program"]
    # `list` takes no unit, so the rule whose words need one is not its own.
    assert [rule.reason for rule in systemctl.operations["list"].errors] == ["missing_program"]
    assert systemctl.operations["list"].repeat is Repeat.READ


@pytest.mark.parametrize("effect", ["change", "destroy"])
def test_what_acts_says_what_may_follow_an_unknown_outcome(write, effect):
    path = write(tool(operations={"show": show(), "set": show(effect=effect)}))
    with pytest.raises(CatalogError, match=r"operations\.set\.repeat: is missing.*never"):
        load_tool(path)
    path = write(tool(operations={"show": show(), "set": show(effect=effect, repeat="never")}))
    assert load_tool(path).operations["set"].repeat is Repeat.NEVER


def test_the_place_gives_the_domain(tools):
    tools("network/scan/one", tool())
    tools("comms/two", tool(execution_location="communication-service"))
    catalog = load_catalog()
    one, two = catalog.tools.values()
    assert (one.domain, one.folder) == (Domain.NETWORK, "network/scan")
    assert (two.domain, two.folder) == (Domain.COMMS, "comms")


def test_a_sites_own_tools(tools, tmp_path):
    tools("asset/one", tool())
    own = tmp_path / "own"
    own.mkdir()
    stated = tool(execution_location="network-analyzer-service")
    (own / "two.yaml").write_text(yaml.safe_dump(stated))
    (own / "three.yaml").write_text(yaml.safe_dump(tool()))
    catalog = load_catalog(str(own), Domain.COMMS)
    domains = {name: (t.domain, t.folder) for name, t in catalog.tools.items()}
    assert domains == {
        "one": (Domain.ASSET, "asset"),
        "two": (Domain.NETWORK, ""),
        "three": (Domain.COMMS, ""),
    }


@pytest.mark.parametrize(
    ("place", "body", "words"),
    [
        ("network/scan/one", tool(execution_location="asset-service"), "folder of network"),
        ("network/scan/one", tool(execution_location="asset-servce"), "mean 'asset-service'"),
        ("network/scan/one", tool(execution_location=["x"]), "no location"),
        ("nowhere/one", tool(), "'nowhere' is no domain"),
        ("network/One", tool(), "lower-case words"),
    ],
)
def test_a_tool_in_the_wrong_place_is_refused(tools, place, body, words):
    tools(place, body)
    with pytest.raises(CatalogError, match=words) as refused:
        load_catalog()
    assert str(refused.value).startswith(f"tools/{place}.yaml:")


def test_one_name_twice_is_refused(tools):
    tools("network/scan/one", tool())
    tools("network/probes/one", tool())
    with pytest.raises(
        CatalogError, match=r"tools/network/scan/one\.yaml:1:1: .* tools/network/probes/one\.yaml"
    ):
        load_catalog()


def test_a_tool_path_that_is_not_there_is_refused(tools):
    with pytest.raises(CatalogError, match="OPSFARM_TOOL_PATH"):
        load_catalog("/no/such/folder")


def test_names_in_any_form(tools):
    tools("comms/slack-cli", tool(operations={"dry_run": show()}))
    catalog = load_catalog()
    for name in ("slack-cli", "slack_cli", "SLACK-CLI"):
        assert catalog.find(name).name == "slack-cli"
    found = catalog.find("slack-cli")
    for name in ("dry_run", "DRY-RUN", None):
        assert catalog.operation(found, name).name == "dry_run"
    with pytest.raises(UnknownName) as unknown:
        catalog.find("slak-cli")
    assert (unknown.value.kind, unknown.value.suggestion) == ("tool", "slack-cli")
    with pytest.raises(UnknownName) as unknown:
        catalog.operation(found, "dry_rn")
    assert (unknown.value.kind, unknown.value.suggestion) == ("operation", "dry_run")


def test_without_a_default_an_operation_must_be_named(tools):
    tools("asset/one", tool(operations={"show": show(), "list": show()}))
    tools("asset/two", tool(operations={"show": show(), "list": show()}, default="list"))
    catalog = load_catalog()
    assert catalog.operation(catalog.find("two"), None).name == "list"
    with pytest.raises(UnknownName) as unknown:
        catalog.operation(catalog.find("one"), None)
    assert unknown.value.allowed == ("show", "list")


def test_the_digest_follows_the_files(tools):
    tools("asset/one", tool())
    first = load_catalog().digest
    assert load_catalog().digest == first
    tools("asset/one", tool(summary="Another"))
    assert load_catalog().digest != first
    assert loader.read_digest() == load_catalog().digest


def test_a_catalogue_of_184_tools_loads_quickly(tools, tmp_path):
    draft = (DRAFTS / "systemctl.yaml").read_text()
    folder = tmp_path / "tools" / "automation"
    folder.mkdir()
    for number in range(184):
        (folder / f"tool-{number}.yaml").write_text(draft)
    began = time.process_time()
    assert len(load_catalog().tools) == 184
    assert time.process_time() - began < 1.5  # a guard against quadratic work


def test_ours_load_wherever_the_project_stands(tmp_path, monkeypatch):
    copy = tmp_path / "elsewhere"
    shutil.copytree(loader.TOOLS, copy)
    ours = load_catalog()
    monkeypatch.setattr(loader, "TOOLS", copy)
    assert load_catalog().digest == ours.digest
