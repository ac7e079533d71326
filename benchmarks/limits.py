"""What a whole catalogue and a whole plan cost, beside the limits that we set ourselves.

Run: python -m benchmarks.limits [--rounds 5]

184 files' worth: the tools that there are, again and again under other names, so the figures are
those of real files. Every figure is the median CPU time of fresh interpreters.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tool_catalog.cases import CASES
from tool_catalog.loader import TOOLS

TOOL_COUNT = 184
STEP_COUNT = 1000

LOAD = """
import resource, sys, time
from tool_catalog.loader import load_catalog
began = time.process_time()
catalog = load_catalog(sys.argv[1])
print(time.process_time() - began)
assert len(catalog.tools) >= 184
"""
CHECK = """
import sys, time
from pathlib import Path
from tool_catalog.check import check_catalog
from tool_catalog.loader import load_catalog
began = time.process_time()
check_catalog(load_catalog(sys.argv[1]), Path(sys.argv[2]))
print(time.process_time() - began)
"""
VALIDATE = """
import sys, time
from pathlib import Path
from app.plan_reader import read_request
from app.safety import read_policy
from app.selector import Selection
from app.step import Target
from app.validate import Rules, validate
from queues import Routing
from tool_catalog.loader import load_catalog

class Surroundings:
    def select(self, selector):
        return Selection((Target("web-01", 1, "192.0.2.1", "ssh"),))
    def offers(self):
        return None
    def secret_names(self):
        return set()
    def logins(self, asset_ids):
        return {}

catalog, rules = load_catalog(), Rules(read_policy(), Routing())
body = Path(sys.argv[1]).read_bytes()
began = time.process_time()
plan = read_request(body).plan
read = time.process_time()
checked = validate(plan, catalog, Surroundings(), rules)
print(time.process_time() - read)
assert len(checked.steps) == 1000
"""


def write_copies(tools: Path, cases: Path) -> None:
    """Copies of the tools, until there are as many as the catalogue shall have, and their cases."""
    originals = sorted(TOOLS.rglob("*.yaml"))
    missing = TOOL_COUNT - len(originals)
    for number, path in enumerate(islice(cycle(originals), missing)):
        name = f"{path.stem}-copy-{number}"
        (tools / f"{name}.yaml").write_text(path.read_text())
        (cases / name).mkdir()
        for case in sorted((CASES / path.stem).glob("*.yaml")):
            (cases / name / case.name).write_text(case.read_text())


def write_plan(path: Path) -> None:
    """A plan of a thousand steps: each acts on an asset, every tenth looks at an earlier one."""
    steps = []
    for number in range(STEP_COUNT):
        step: dict[str, object] = {
            "tool": "df",
            "id": f"s{number}",
            "targets": "web-01",
            "parameters": {"path": "/var"},
        }
        if number % 10 == 9:
            step["when"] = f"steps.s{number - 1}.ok"
        steps.append(step)
    path.write_text(json.dumps({"steps": steps}))


def time_script(script: str, *arguments: Path) -> float:
    """The seconds that a script prints, run in an interpreter of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(answer.stdout)


def measure(rounds: int) -> list[tuple[str, float, float]]:
    """Each figure's name, its median in seconds and its limit."""
    with tempfile.TemporaryDirectory() as folder:
        tools, cases, plan = Path(folder, "tools"), Path(folder, "cases"), Path(folder, "plan.json")
        tools.mkdir()
        cases.mkdir()
        write_copies(tools, cases)
        write_plan(plan)
        figures: list[tuple[str, float, Callable[[], float]]] = [
            ("catalogue load, 184 files", 0.3, lambda: time_script(LOAD, tools)),
            ("opsfarm tools check, 184 files", 3.0, lambda: time_script(CHECK, tools, cases)),
            ("validate a 1,000-step plan", 0.25, lambda: time_script(VALIDATE, plan)),
        ]
        runs = [[run() for _, _, run in figures] for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*runs, strict=True)]
    return [(name, took, limit) for (name, limit, _), took in zip(figures, medians, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    table = Table("figure", "measured", "limit", "kept")
    for name, took_s, limit_s in measure(parser.parse_args().rounds):
        kept = "yes" if took_s <= limit_s else "NO"
        table.add_row(name, f"{took_s * 1000:,.0f} ms", f"{limit_s * 1000:,.0f} ms", kept)
    Console().print(table)


if __name__ == "__main__":
    main()
