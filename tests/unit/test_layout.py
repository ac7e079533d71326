"""What keeps the project readable, counted: layout, arrows, sizes, locks, version."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "tasks", "workers", "tool_catalog")
SOURCES = sorted(
    [path for name in PACKAGES for path in (PROJECT / name).rglob("*.py")]
    + [PROJECT / "queues.py", *(PROJECT / "benchmarks").rglob("*.py")]
)
TOP_LEVEL = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    ".pre-commit-config.yaml",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "GLOSSARY.md",
    "LICENSE",
    "Makefile",
    "Procfile",
    "README.md",
    "app",
    "benchmarks",
    "docker",
    "docs",
    "pyproject.toml",
    "queues.py",
    "requirements",
    "tasks",
    "tests",
    "tool_catalog",
    "workers",
}
#: Revisions are history, written by Alembic and never edited.
MIGRATIONS = PROJECT / "app" / "store" / "migrations" / "versions"
LONGEST_FUNCTION = 40
LONGEST_MODULE = 400


def name_of(path):
    return str(path.relative_to(PROJECT))


def parsed(path):
    return ast.parse(path.read_text(), str(path))


def functions(path):
    return [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_the_top_level_is_fixed():
    if not (PROJECT / ".git").exists():
        pytest.skip("only a clone knows which files are the project's")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={PROJECT}", "ls-files"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} - TOP_LEVEL == set()


def test_imports_point_one_way():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_queues_imports_the_standard_library_alone():
    names = set()
    for node in ast.walk(parsed(PROJECT / "queues.py")):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == set()


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent != MIGRATIONS], ids=name_of)
def test_modules_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE
    long = [f.name for f in functions(path) if f.end_lineno - f.lineno + 1 > LONGEST_FUNCTION]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_imported_late(path):
    late = [
        f"{function.name}, line {node.lineno}"
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert late == []


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_export_nothing(name):
    for path in (PROJECT / name).rglob("__init__.py"):
        body = [
            node
            for node in parsed(path).body
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ]
        assert body == [], name_of(path)


def test_no_package_hides_the_source_under_tests():
    # The folder of shared helpers is imported as tests.lab; everything else is found by path.
    found = {name_of(path) for path in (PROJECT / "tests").rglob("__init__.py")}
    assert found <= {"tests/lab/__init__.py"}


@pytest.mark.parametrize("name", ["build", "runtime", "test"])
def test_the_locks_hold_versions_and_hashes_but_no_address(name):
    lock = (PROJECT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*-", lock.replace("    --hash=", "    "), re.MULTILINE)
    packages = re.split(r"\n(?=\S)", lock)
    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9._-]+==[^\s;]+( ; .+?)? \\\n    --hash=sha256:", package), package


@pytest.mark.parametrize("name", ["build", "runtime", "test"])
def test_every_asked_for_package_is_locked(name):
    asked = (PROJECT / "requirements" / f"{name}.in").read_text()
    lock = (PROJECT / "requirements" / f"{name}.txt").read_text()
    wanted = re.findall(r"^([A-Za-z][A-Za-z0-9._-]*)", asked, re.MULTILINE)
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    assert {re.sub(r"[._]", "-", package).lower() for package in wanted} - locked == set()


def test_what_both_locks_hold_is_the_same_version():
    def versions(name):
        lock = (PROJECT / "requirements" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.MULTILINE))

    runtime, test = versions("runtime"), versions("test")
    shared = runtime.keys() & test.keys()
    assert {name: test[name] for name in shared} == {name: runtime[name] for name in shared}


def test_the_changelog_and_the_command_know_the_version():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    changelog = (PROJECT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)
    assert "## [Unreleased]" in changelog
    assert released
    assert released[0] == project["version"]
    command = (PROJECT / "app" / "cli" / "main.py").read_text()
    assert f'version_option("{project["version"]}"' in command


def test_every_target_of_the_makefile_explains_itself_or_helps_another():
    makefile = (PROJECT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert phony - explained == {"docs-check"}


def test_every_hook_is_local():
    hooks = (PROJECT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^\s*-?\s*repo: (\S+)", hooks, re.MULTILINE) == ["local"]
