"""The state machine's table in ARCHITECTURE.md, and the tests that prove each of its rows."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORE_TESTS = ROOT / "tests" / "integration" / "store"
MARK = "transition"


@dataclass(frozen=True)
class Row:
    """One row: "running -> queued" and the ledger functions that do it, the first one first."""

    change: str
    functions: tuple[str, ...]

    @property
    def name(self) -> tuple[str, str]:
        """As tests name it; no two rows have the same."""
        return self.change, self.functions[0]

    @property
    def sources(self) -> set[str]:
        """The states that it starts from."""
        return _words(self.change.split("->", maxsplit=1)[0])

    @property
    def ends(self) -> set[str]:
        """The states that it leads to, by any way."""
        return _words(" ,".join(self.change.split("->")[1:]))


@dataclass(frozen=True)
class Proof:
    """A test that says which row it proves, from which side."""

    name: tuple[str, str]
    happens: bool
    test: str


def read_table() -> list[Row]:
    """The rows under "From -> to", as they stand in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    lines = text.split("| From -> to |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [Row(cell[0], tuple(re.findall(r"`(\w+)`", cell[1]))) for cell in cells]


def read_proofs() -> list[Proof]:
    """Every `@pytest.mark.transition(change, function, happens=...)` of the ledger's tests."""
    return [
        proof
        for path in sorted(STORE_TESTS.glob("test_*.py"))
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
        for proof in _read_marks(path, function)
    ]


def _read_marks(path: Path, function: ast.FunctionDef) -> Iterator[Proof]:
    for mark in function.decorator_list:
        if not isinstance(mark, ast.Call) or not ast.unparse(mark.func).endswith(f".{MARK}"):
            continue
        change, word = (ast.literal_eval(argument) for argument in mark.args)
        [happens] = (ast.literal_eval(keyword.value) for keyword in mark.keywords)
        yield Proof((change, word), happens, f"{path.name}::{function.name}")


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text))
