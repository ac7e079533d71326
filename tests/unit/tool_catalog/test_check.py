import re
from pathlib import Path

import pytest

from queues import EXECUTION_LOCATIONS
from tool_catalog import check, loader, model
from tool_catalog.cases import Proof, find_cases
from tool_catalog.check import TargetTool, check_catalog, new_tool, read_targets
from tool_catalog.loader import load_catalog
from tool_catalog.model import CatalogError
from tool_catalog.output_checks import FIELD_TYPES, PARSERS


@pytest.fixture
def ground(tmp_path, monkeypatch):
    """An empty catalogue and an empty folder of cases."""
    tools, cases = tmp_path / "tools", tmp_path / "cases"
    tools.mkdir()
    cases.mkdir()
    monkeypatch.setattr(loader, "TOOLS", tools)
    return {"tools": tools, "cases": cases}


def test_the_target_list():
    targets = read_targets()
    assert len(targets) == len({target.name for target in targets}) == 184
    domains = [target.domain for target in targets]
    counts = {domain: domains.count(domain) for domain in set(domains)}
    assert counts == {"automation": 134, "comms": 4, "asset": 5, "network": 41}


def test_how_many_of_the_target_exist():
    print("\n".join(check_catalog(load_catalog()).lines()))
    report = check_catalog(load_catalog())
    assert sum(row.wanted for row in report.folders) == 184
    assert not [fault for fault in report.faults if "target list" in fault]


def test_a_new_tool_loads_and_its_case_counts(ground):
    tool_file, case_file = new_tool("uptime", "automation/linux", **ground)
    assert tool_file == ground["tools"] / "automation/linux/uptime.yaml"
    assert case_file == ground["cases"] / "uptime/show.yaml"
    catalog = load_catalog()
    assert catalog.tools["uptime"].operations["show"].argv[0] == "uptime"
    report = check_catalog(catalog, ground["cases"])
    assert report.faults == ()
    [row] = [row for row in report.folders if row.folder == "automation/linux"]
    assert (row.present, row.proven) == (1, {Proof.ARGV: 1})
    lines = report.lines()
    place = lines.index(f"{'automation/linux':24}   1 of  48  1 argv")
    assert lines[place + 1] == f"  {'uptime':24} show argv"


def test_a_site_s_own_tool_is_written_and_loads(ground, tmp_path):
    own = tmp_path / "own"
    path = check.new_site_tool("door-bell", own)
    catalog = load_catalog(str(own))
    assert (path, list(catalog.tools)) == (own / "door-bell.yaml", ["door-bell"])
    report = check_catalog(catalog, ground["cases"])
    assert report.faults == ()
    assert report.lines()[-3:-1] == ["beside the target list", f"  {'door-bell':24} show unproven"]
    with pytest.raises(CatalogError, match="is there already"):
        check.new_site_tool("door-bell", own)
    with pytest.raises(CatalogError, match="lower-case"):
        check.new_site_tool("Door", own)


def test_a_tool_in_an_unknown_folder_is_named(ground):
    new_tool("one", "asset", **ground)
    odd = ground["tools"] / "automation" / "linx"
    odd.mkdir(parents=True)
    (ground["tools"] / "asset" / "one.yaml").rename(odd / "one.yaml")
    [fault] = check_catalog(load_catalog(), ground["cases"]).faults
    assert fault == "one: there is no folder 'automation/linx'; did you mean 'automation/linux'?"


def test_each_operation_is_told_with_its_proof():
    [line] = [line for line in check_catalog(load_catalog()).lines() if line.startswith("  chmod ")]
    assert line.split(maxsplit=1)[1] == "show, set real"


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("Uptime", "automation/linux", "lower-case"),
        ("../x", "automation/linux", "lower-case"),
        ("mine", "automation/linx", "no folder 'automation/linx'; did you mean 'automation/linux'"),
        ("mine", "nowhere", "known are asset, automation, automation/cloud"),
        ("uptime", "network/scan", "the target list has it in automation/linux"),
    ],
)
def test_a_new_tool_that_cannot_be(ground, name, folder, words):
    with pytest.raises(CatalogError, match=words):
        new_tool(name, folder, **ground)
    assert list(ground["tools"].iterdir()) == []


def test_a_tool_is_not_written_over(ground):
    new_tool("uptime", "automation/linux", **ground)
    with pytest.raises(CatalogError, match="is there already"):
        new_tool("uptime", "automation/linux", **ground)


def test_what_is_amiss_is_named(ground):
    new_tool("one", "asset", **ground)
    new_tool("two", "asset", **ground)
    (ground["cases"] / "two" / "show.yaml").unlink()
    stray = ground["cases"] / "three"
    stray.mkdir()
    (stray / "a.yaml").write_text("operation: show\nproven_by: argv\nargv: [x]\n")
    targets = [TargetTool("one", "network", "network/scan")]
    report = check_catalog(load_catalog(), ground["cases"], targets)
    assert report.faults == (
        "one: is in asset (asset), the target list says network/scan (network)",
        "two show: no case in tests/tools/two/",
        "three/a.yaml: no operation three show",
    )


def test_the_strongest_proof_of_an_operation_counts(ground):
    new_tool("one", "asset", **ground)
    real = (ground["cases"] / "one" / "show.yaml").read_text().replace(": argv", ": real")
    (ground["cases"] / "one" / "real.yaml").write_text(real)
    assert check.prove_operations(find_cases(ground["cases"])) == {("one", "show"): Proof.REAL}


TEMPLATE = (Path(check.__file__).with_name("_template.yaml")).read_text()
#: Keys of the model that a file has no place for: its name, place and digest are not written.
_NOT_WRITTEN = {"name", "domain", "folder", "digest", "sources"}


def keys_of_a_file():
    shapes = (model.Parameter, model.Needs, model.ErrorRule, model.Output, model.Rule)
    shapes += (model.HttpRequest, model.Verify, model.Undo, model.Example, model.Operation)
    for shape in (*shapes, model.Tool):
        for name, field in shape.model_fields.items():
            yield field.alias or name


@pytest.mark.parametrize("key", sorted(set(keys_of_a_file()) - _NOT_WRITTEN))
def test_the_template_names_every_key(key):
    assert re.search(rf"\b{key}\b", TEMPLATE)


@pytest.mark.parametrize(
    "word",
    [
        *model.ParameterType,
        *model.Effect,
        *model.Repeat,
        *PARSERS,
        *FIELD_TYPES,
        *EXECUTION_LOCATIONS,
        "takes",
        "execution_location",
    ],
)
def test_the_template_names_every_word(word):
    assert re.search(rf"\b{word}\b", TEMPLATE)
