"""What a person reads of an interrupted step before saying how it ended."""

import pytest

from app.cli.interrupted import note_interrupted, tell_evidence

EVIDENCE = {
    "attempt": 1,
    "worker": "automation@h1",
    "armed_at": "2026-03-02T10:00:01.5+00:00",
    "last_output_at": "2026-03-02T10:00:03+00:00",
    "lines": [["stdout", "one"], ["stderr", "two\x1b[2J"]],
    "late": [{"at": "2026-03-02T10:02:40+00:00", "state": "succeeded", "summary": "done"}],
    "probe": {"found": "unknown", "evidence": {"ActiveState": "activating"}},
}
BARE = {**EVIDENCE, "armed_at": None, "lines": [], "late": [], "probe": None}


def row(step_id, target, state="interrupted", **members):
    return {
        "step_id": step_id,
        "target": target,
        "state": state,
        "stopped": None,
        "evidence": EVIDENCE,
        **members,
    }


def execution(*rows, step="restart"):
    return {"execution_id": "0197c0de", "steps": [{"id": step, "results": list(rows)}]}


def commands(capsys):
    lines = capsys.readouterr().err.splitlines()
    return [line.partition("#")[0].strip() for line in lines if "opsfarm executions" in line]


def test_everything_that_is_known_is_told():
    assert list(tell_evidence(EVIDENCE, "unverified")) == [
        "may have acted: since 2026-03-02 10:00:01 UTC, attempt 1 on worker automation@h1",
        "last output:    2026-03-02 10:00:03 UTC, stderr: two\N{REPLACEMENT CHARACTER}[2J",
        "late result:    2026-03-02 10:02:40 UTC, succeeded: done",
        'its probe:      unknown, seen: {"ActiveState": "activating"}',
        "stop:           unverified",
    ]


def test_what_is_not_known_is_not_made_up():
    assert list(tell_evidence(BARE)) == [
        "may have acted: attempt 1 on worker automation@h1",
        "last output:    none",
    ]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([row(7, "web-01")], "restart"),
        ([row(7, None)], "restart"),
        ([row(7, "web-01"), row(8, "web-02", "succeeded")], "restart --target web-01"),
        # Items of `for_each` on one target: only the row itself tells them apart.
        ([row(7, "web-01"), row(8, "web-01", "succeeded")], "row:7"),
    ],
)
def test_each_command_names_its_row_and_no_other(capsys, rows, named):
    note_interrupted(execution(*rows))
    assert commands(capsys) == [
        f"opsfarm executions resolve 0197c0de {named} --as {choice} --reason TEXT"
        for choice in ("succeeded", "failed", "retry", "skip")
    ]


def test_a_name_that_a_shell_would_read_is_quoted(capsys):
    note_interrupted(execution(row(7, "a b"), row(8, "c", "running")))
    assert "--target 'a b'" in commands(capsys)[0]


def test_many_rows_are_not_all_written_out(capsys):
    note_interrupted(execution(*(row(n, f"web-{n}") for n in range(5))))
    told = capsys.readouterr().err
    assert told.count("--as retry") == 3
    assert "5 rows wait so; 'opsfarm deadletter list' shows all" in told


def test_nothing_is_said_of_other_rows(capsys):
    failed = {key: value for key, value in row(7, "web-01", "failed").items() if key != "evidence"}
    note_interrupted(execution(failed, row(8, "web-02", "running")))
    assert capsys.readouterr().err == ""
