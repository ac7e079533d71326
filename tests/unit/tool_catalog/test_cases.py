import pytest

from tool_catalog.cases import Proof, find_cases, read_case
from tool_catalog.model import CatalogError


@pytest.fixture
def write(tmp_path):
    def write(text, name="df/one"):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_case_is_found_by_its_place(write, tmp_path):
    write("operation: usage\nproven_by: real\nargv: [df]\n")
    write("operation: usage\nproven_by: argv\nfault: {path: a, code: b}\n", "df/another")
    (tmp_path / "test_cases.py").write_text("")
    another, one = find_cases(tmp_path)
    assert (one.tool, one.name, one.operation, one.proven_by) == ("df", "one", "usage", Proof.REAL)
    assert (one.parameters, one.claims["argv"]) == ({}, ["df"])
    assert another.name == "another"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1", "must be a mapping"),
        ("operation: [", "df/one.yaml:"),
        ("operation: usage\nproven_by: rael\nargv: []", "proven_by: must be one of real"),
        ("proven_by: real\nargv: []", "operation: is missing"),
        ("operation: usage\nproven_by: real", "claims nothing"),
        ("operation: usage\nproven_by: real\nrun: {exit_code: 0}", "result goes with run"),
        ("operation: usage\nproven_by: real\nargvs: []", "did you mean 'argv'"),
    ],
)
def test_a_case_that_proves_nothing_is_refused(write, text, words):
    with pytest.raises(CatalogError, match=words):
        read_case(write(text))
