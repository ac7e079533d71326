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
    "probe": {
        "found": "not done",
        "at": "2026-03-02T10:00:09+00:00",
        "evidence": {"ActiveState": "activating"},
        "asked_at": None,
        "due": False,
        "next_at": "2026-03-02T10:02:21+00:00",
        "counts_at": "2026-03-02T10:02:21+00:00",
    },
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
        (
            "its probe:      not done at 2026-03-02 10:00:09 UTC, "
            "what was begun may still be at work until 2026-03-02 10:02:21 UTC, "
            "asked next at 2026-03-02 10:02:21 UTC, "
            'seen: {"ActiveState": "activating"}'
        ),
        "stop:           unverified",
    ]


def test_what_is_not_known_is_not_made_up():
    assert list(tell_evidence(BARE)) == [
        "may have acted: attempt 1 on worker automation@h1",
        "last output:    none",
    ]


PROBE = {"found": "not asked", "asked_at": None, "due": False, "next_at": None}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({}, "not asked"),
        ({"due": True}, "not asked, asked as soon as a worker is there"),
        ({"asked_at": "2026-03-02T10:00:05+00:00"}, "asked at 2026-03-02 10:00:05 UTC"),
        (
            {"found": "no answer", "at": "2026-03-02T10:00:09+00:00", "why": "no route"},
            "no answer at 2026-03-02 10:00:09 UTC, no route",
        ),
        (
            {"found": "no answer", "next_at": "2026-03-02T10:00:19+00:00"},
            "no answer, asked next at 2026-03-02 10:00:19 UTC",
        ),
    ],
)
def test_how_far_its_probe_got_is_told(members, told):
    line = list(tell_evidence({**BARE, "probe": {**PROBE, **members}}))[-1]
    assert line == f"its probe:      {told}"


@pytest.mark.parametrize(
    ("members", "offered", "by_itself"),
    [
        ({}, True, False),
        ({"next_at": "2026-03-02T10:00:19+00:00"}, True, True),
        ({"due": True}, False, True),
        ({"asked_at": "2026-03-02T10:00:19+00:00"}, False, True),
    ],
)
def test_a_probe_is_offered_while_nobody_asks_it(capsys, members, offered, by_itself):
    evidence = {**BARE, "probe": {**PROBE, **members}}
    note_interrupted(execution(row(7, "web-01", evidence=evidence)))
    told = capsys.readouterr().err
    assert ("restart --as probe " in told) is offered
    assert ("what its probe finds settles it" in told) is by_itself


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
    *reasoned, probe = commands(capsys)
    assert reasoned == [
        f"opsfarm executions resolve 0197c0de {named} --as {choice} --reason TEXT"
        for choice in ("succeeded", "failed", "retry", "skip")
    ]
    assert probe == f"opsfarm executions resolve 0197c0de {named} --as probe"


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
