"""Output beyond what stays inline: parsed further, kept whole, without its secrets."""

import json
from dataclasses import replace

import pytest

from app.step import Artifact, Secret, State, StepResult
from tasks import whole_output
from tasks.runners.base import RawOutput, Whole
from tasks.scrub import Scrubber
from tasks.whole_output import keep_output, keep_whole, read_more

DONE = StepResult(State.SUCCEEDED, "3 rows")


class Store:
    """Takes files as the artifact store does: they are gone from where they were."""

    def __init__(self):
        self.kept = {}

    def put(self, path, name, kind):
        self.kept[name] = path.read_bytes()
        path.unlink()
        return Artifact(f"id-{name}", name, kind, len(self.kept[name]), "")


@pytest.fixture
def store():
    return Store()


def spilled(folder, text, name="stdout", *, complete=True):
    path = folder / name
    path.write_bytes(text)
    return {name: Whole(path, len(text), complete=complete)}


def test_what_is_not_in_a_file_stays_as_it_is():
    raw = RawOutput(stdout=b"short")
    assert read_more(raw) is raw


def test_a_parser_gets_more_than_what_stays_inline(tmp_path):
    raw = RawOutput(stdout=b"a\n", truncated=True, whole=spilled(tmp_path, b"a\nb\n"))
    assert read_more(raw) == replace(raw, stdout=b"a\nb\n", truncated=False)


def test_a_parser_gets_whole_lines_of_what_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_output, "PARSED_BYTES", 5)
    raw = read_more(RawOutput(truncated=True, whole=spilled(tmp_path, b"one\ntwo\n")))
    assert (raw.stdout, raw.truncated) == (b"one\n", True)
    no_lines = read_more(RawOutput(truncated=True, whole=spilled(tmp_path, b"12345678")))
    assert no_lines.stdout == b"12345"
    dropped = read_more(RawOutput(whole=spilled(tmp_path, b"one\nt", complete=False)))
    assert (dropped.stdout, dropped.truncated) == (b"one\n", True)


def test_the_whole_of_what_was_cut_is_an_artifact_that_the_result_names(tmp_path, store):
    raw = RawOutput(whole=spilled(tmp_path, b"one\ntwo\n"))
    result = keep_whole(replace(DONE, truncated=True), raw, store.put, Scrubber())
    assert store.kept == {"stdout.txt": b"one\ntwo\n"}
    assert result.summary == "3 rows; all of it is artifact id-stdout.txt (stdout, 8 bytes)"
    assert [artifact.kind for artifact in result.artifacts] == ["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["stdout"], "its owner removes that one"


def test_nothing_is_kept_of_what_is_all_in_the_result(tmp_path, store):
    raw = RawOutput(whole=spilled(tmp_path, b"one\ntwo\n"))
    assert keep_whole(DONE, raw, store.put, Scrubber()) == DONE
    assert store.kept == {}


def test_a_failure_keeps_all_that_was_said(tmp_path, store):
    whole = spilled(tmp_path, b"x" * 9) | spilled(tmp_path, b"y" * 9, "stderr", complete=False)
    failed = StepResult(State.FAILED, "exit code 1")
    result = keep_whole(failed, RawOutput(whole=whole), store.put, Scrubber())
    assert sorted(store.kept) == ["stderr.txt", "stdout.txt"]
    assert result.summary.endswith(
        "; the beginning of it is artifact id-stderr.txt (stderr, 9 bytes)"
    )


def test_rows_that_grew_beyond_the_cap_leave_their_text(tmp_path, store):
    raw = RawOutput(stdout=b"a b\nc d\n")
    keep_whole(replace(DONE, truncated=True), raw, store.put, Scrubber())
    assert store.kept == {"stdout.txt": b"a b\nc d\n"}


def test_no_secret_is_in_an_artifact(tmp_path, store):
    text = b"begin\nuse hunter2-hunter2 here\npassword=abc \xff\nend"
    raw = RawOutput(whole=spilled(tmp_path, text))
    keep_whole(replace(DONE, truncated=True), raw, store.put, Scrubber([Secret("hunter2-hunter2")]))
    assert store.kept["stdout.txt"] == b"begin\nuse *** here\npassword=*** \xff\nend"


def test_a_store_that_is_away_leaves_no_copy_behind(tmp_path):
    def refuse(*_):
        raise RuntimeError

    raw = RawOutput(whole=spilled(tmp_path, b"one\n"))
    with pytest.raises(RuntimeError):
        keep_whole(replace(DONE, truncated=True), raw, refuse, Scrubber())
    assert [path.name for path in tmp_path.iterdir()] == ["stdout"]


def test_a_large_output_of_python_is_cut_and_kept(store):
    rows = [{"number": number, "token": "hunter2-hunter2"} for number in range(9000)]
    scrub = Scrubber([Secret("hunter2-hunter2")])
    result = keep_output(replace(DONE, output={"rows": rows, "count": 9000}), store.put, scrub)
    assert result.truncated
    assert result.output["count"] == 9000
    assert 0 < len(result.output["rows"]) < 9000
    whole = json.loads(store.kept["json"])
    assert whole["rows"][-1] == {"number": 8999, "token": "***"}
    assert result.summary.startswith("3 rows (cut at 256 KiB); all of it is artifact id-json (")


def test_a_small_output_of_python_stays_as_it_is(store):
    result = replace(DONE, output={"rows": [1, 2, 3]})
    assert keep_output(result, store.put, Scrubber()) is result
    assert store.kept == {}
