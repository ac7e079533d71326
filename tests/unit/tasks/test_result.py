"""From raw output to a step's result."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.step import State
from tasks.result import OUTPUT_BYTES, interpret
from tasks.runners.base import RawOutput
from tool_catalog.model import Operation, Reason


def operation(**members):
    given = {
        "name": "show",
        "summary": "shows",
        "effect": "read",
        "repeat": "read",
        "argv": ["tool"],
        "examples": [{"parameters": {}}],
    }
    return Operation.model_validate({**given, **members})


def result_of(stdout="", exit_code=0, *, stderr="", parameters=None, raw=None, **members):
    came = RawOutput(
        exit_code=exit_code, stdout=stdout.encode(), stderr=stderr.encode(), **(raw or {})
    )
    return interpret(operation(**members), parameters or {}, came)


def test_success_carries_output_tails_and_duration():
    result = result_of("hello\nworld\n", stderr="note\n", raw={"duration_s": 1.5})
    assert result.state is State.SUCCEEDED
    assert result.output == "hello\nworld\n"
    assert result.summary == "hello"
    assert (result.stdout_tail, result.stderr_tail) == ("hello\nworld\n", "note\n")
    assert (result.exit_code, result.duration_s, result.changed) == (0, 1.5, False)


def test_a_change_that_succeeded_changed_something():
    assert result_of(effect="change", repeat="idempotent").changed is True


def test_unknown_exit_code_fails_with_the_last_words():
    result = result_of(exit_code=2, stderr="usage\ndisk on fire\n")
    assert result.state is State.FAILED
    assert result.reason is Reason.EXIT_CODE
    assert result.summary == "exit code 2: disk on fire"
    assert result.output is None


@pytest.mark.parametrize(
    ("exit_code", "state"),
    [(0, State.SUCCEEDED), (1, State.SUCCEEDED), (2, State.SUCCEEDED), (3, State.FAILED)],
)
def test_exit_codes_mean_what_the_file_says(exit_code, state):
    codes = {1: "empty", 2: "partial", 3: "failed"}
    assert result_of("x=1", exit_code, exit_codes=codes).state is state


def test_zero_may_mean_failure():
    assert result_of(exit_codes={0: "failed"}).state is State.FAILED


def test_empty_is_a_success_with_nothing_in_it():
    fields = {"fields": {"a": "text"}}
    rows = result_of("", 1, exit_codes={1: "empty"}, output={"parser": "json", **fields})
    assert (rows.output, rows.summary) == ([], "nothing found")
    one = result_of("", 1, exit_codes={1: "empty"}, output={"parser": "key_value", **fields})
    assert one.output == {}


def test_partial_says_so_and_why():
    result = result_of(
        "H\n/a\n/b\n",
        1,
        stderr="df: /gone: Permission denied\n",
        exit_codes={0: "ok", 1: "partial"},
        output={"parser": "columns", "fields": {"mount": "text"}},
    )
    assert result.state is State.SUCCEEDED
    assert result.summary == "partial: 2 rows; exit code 1: df: /gone: Permission denied"


def test_error_rules_give_reason_and_words_from_parameters_and_groups():
    rule = {
        "match": r"Unit (?P<unit>\S+) not found",
        "in": "stderr",
        "reason": "not_found",
        "say": "{unit} does not exist on {host}; {unknown}",
    }
    result = result_of(
        exit_code=5,
        stderr="Unit web.service not found\n",
        parameters={"host": "web-03"},
        errors=[rule],
    )
    assert result.reason is Reason.NOT_FOUND
    assert result.summary == "web.service does not exist on web-03; {unknown}"


def test_error_rules_count_even_when_the_exit_code_is_zero():
    rule = {"match": "Failed to resolve", "reason": "not_found", "say": "no such host"}
    assert result_of(stderr="Failed to resolve x", errors=[rule]).state is State.FAILED


def test_error_rules_look_only_where_they_say():
    rule = {"match": "bad", "in": "stdout", "reason": "not_found", "say": "bad"}
    assert result_of(stderr="bad", errors=[rule]).state is State.SUCCEEDED
    assert result_of("bad", errors=[{**rule, "in": "body"}]).state is State.FAILED


@pytest.mark.parametrize(("effect", "unknown"), [("read", False), ("change", True)])
def test_time_out_of_a_change_is_an_unknown_outcome(effect, unknown):
    result = result_of(
        "half", raw={"timed_out": True, "stopped": "verified"}, effect=effect, repeat="never"
    )
    assert result.reason is Reason.TIMEOUT
    assert result.unknown is unknown
    assert result.transient
    assert result.stopped == "verified"
    assert result.stdout_tail == "half"


def test_run_for_is_success_whatever_the_exit_code():
    assert result_of("x", 143, raw={"ran_its_time": True}).state is State.SUCCEEDED


def test_bad_output_fails_and_shows_the_line():
    result = result_of(
        '{"a": 1}\nnonsense here\n', output={"parser": "ndjson", "fields": {"a": "integer"}}
    )
    assert result.reason is Reason.INVALID_OUTPUT
    assert result.summary == "line 2 is not JSON: nonsense here"


def test_bad_output_that_was_cut_says_so():
    result = result_of("[1, 2", output={"parser": "json"}, raw={"truncated": True})
    assert result.reason is Reason.INVALID_OUTPUT
    assert result.summary.endswith("(only the first 5 bytes were read)")


def test_standard_error_joins_the_output_of_an_artifact():
    output = {
        "artifact": "pcap",
        "stderr": r"(?P<captured>\d+) packets captured[\s\S]*?(?P<dropped>\d+) packets dropped",
        "fields": {"captured": "integer"},
    }
    result = result_of(
        stderr="3 packets captured\n9 received\n0 packets dropped by kernel\n",
        output=output,
        raw={"artifact_bytes": 12345, "truncated": True},
    )
    assert result.output == {"artifact": None, "captured": 3, "dropped": "0"}
    assert result.summary == "pcap of 12,345 bytes, captured 3, dropped 0"


@pytest.mark.parametrize(
    ("parser", "stdout", "output"),
    [
        ({"parser": "key_value"}, "a=1", {"a": "1", "job": "7"}),
        ({"parser": "text"}, "t", {"text": "t", "job": "7"}),
        ({"parser": "json"}, "[1]", {"rows": [1], "job": "7"}),
    ],
)
def test_standard_error_joins_every_output(parser, stdout, output):
    result = result_of(stdout, stderr="job 7 at", output={**parser, "stderr": r"job (?P<job>\d+)"})
    assert result.output == output


def test_standard_error_that_does_not_match_gives_nulls():
    result = result_of("a=1", output={"parser": "key_value", "stderr": r"job (?P<job>\d+)"})
    assert result.output == {"a": "1", "job": None}


@pytest.mark.parametrize(
    ("stdout", "parser", "summary"),
    [
        ("[]", "json", "done"),
        ("[1]", "json", "1 row"),
        ("[1, 2]", "json", "2 rows"),
        ('{"a": 1, "b": [1, 2], "c": null, "d": true}', "json", "a 1, 2 b, d True"),
        ("\n  first " + "x" * 200, "text", "first " + "x" * 114 + "…"),
        ("", "text", "done"),
    ],
)
def test_summary_is_one_useful_line(stdout, parser, summary):
    assert result_of(stdout, output={"parser": parser}).summary == summary


def test_tails_are_the_last_2000_characters():
    result = result_of("x" * 3000 + "end", raw={"stderr_tail": b"the real end"})
    assert len(result.stdout_tail) == 2000
    assert result.stdout_tail.endswith("end")
    assert result.stderr_tail == "the real end"


def test_rows_beyond_the_cap_are_dropped_and_told():
    rows = [{"text": "x" * 1000} for _ in range(400)]
    result = result_of(json.dumps(rows), output={"parser": "json"})
    assert 200 < len(result.output) < 400
    assert len(json.dumps(result.output)) <= OUTPUT_BYTES
    assert result.summary.endswith("(cut at 256 KiB)")


def test_the_longest_list_of_an_object_is_cut():
    value = {"name": "scan", "hosts": ["x" * 1000 for _ in range(400)]}
    result = result_of(json.dumps(value), output={"parser": "json"})
    assert result.output["name"] == "scan"
    assert len(json.dumps(result.output)) <= OUTPUT_BYTES


def test_text_beyond_the_cap_is_cut():
    result = result_of("é" * OUTPUT_BYTES)
    assert len(result.output.encode()) <= OUTPUT_BYTES
    assert result.summary.endswith("(cut at 256 KiB)")


def test_output_is_fit_for_postgres():
    result = result_of(r'{"a": "x\u0000y", "b": NaN, "c": "\ud800"}', output={"parser": "json"})
    assert result.output == {"a": "x\ufffdy", "b": None, "c": "\ufffd"}
    assert result_of("a\0b").output == "a\ufffdb"


@given(
    stdout=st.binary(max_size=400),
    stderr=st.binary(max_size=100),
    exit_code=st.integers(0, 255),
    parser=st.sampled_from(
        ["text", "json", "ndjson", "csv", "columns", "key_value", "xml", "nmap", "regex", "jc.df"]
    ),
)
def test_no_output_makes_it_raise(stdout, stderr, exit_code, parser):
    declared = {"parser": parser, "fields": {"a": "integer", "b": "text"}, "pattern": "(?P<a>.+)"}
    raw = RawOutput(exit_code=exit_code, stdout=stdout, stderr=stderr)
    result = interpret(operation(output=declared, exit_codes={1: "partial"}), {}, raw)
    text = json.dumps([result.output, result.summary, result.stdout_tail, result.stderr_tail])
    assert not re.search(r"(?<!\\)(?:\\\\)*\\u0000", text)  # jsonb takes no NUL
    assert "NaN" not in text
    assert "\n" not in result.summary


def over_http(status, body="", **members):
    http = {"method": "GET", "path": "/", "ok": [200, 204]}
    raw = RawOutput(status=status, stdout=body.encode())
    given = {"argv": None, "http": http, **members}
    return interpret(operation(**given), {}, raw)


def test_a_status_that_is_ok_is_a_success():
    result = over_http(200, '{"a": 1}', output={"parser": "json"})
    assert (result.state, result.output, result.exit_code) == (State.SUCCEEDED, {"a": 1}, None)
    assert over_http(204).state is State.SUCCEEDED


def test_another_status_fails_with_its_reason():
    result = over_http(404, "no such thing")
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert result.summary == "answered 404 Not Found: no such thing"
    assert not result.transient
    assert over_http(503).transient


@pytest.mark.parametrize("status", [200, 400])
def test_a_rule_reads_the_body_whatever_the_status(status):
    rule = {
        "match": r"\AError:\s*(?P<text>.+)",
        "in": "body",
        "reason": "refused_by_device",
        "say": "the camera refused: {text}",
    }
    result = over_http(status, "Error:\nquery: unknown value: x\n", errors=[rule])
    assert result.reason is Reason.REFUSED_BY_DEVICE
    assert result.summary == "the camera refused: query: unknown value: x"


def test_a_server_in_between_does_not_know_whether_a_change_was_made():
    change = {"effect": "change", "repeat": "never"}
    assert over_http(504, **change).unknown
    assert not over_http(504).unknown
    assert not over_http(500, **change).unknown


def test_the_end_of_a_stream_begins_with_a_whole_line():
    lines = [f"password={n:05}" for n in range(1000)]
    tail = result_of("\n".join(lines)).stdout_tail
    assert len(tail) <= 2000
    assert tail.splitlines() == lines[-len(tail.splitlines()) :]
    assert result_of("x" * 5000).stdout_tail == "x" * 2000


def test_a_summary_tells_no_value_whose_name_tells_a_secret():
    output = {"parser": "json"}
    given = json.dumps({"user": "ada", "password": "hunter2", "api_key": "k-4711"})
    assert result_of(given, output=output).summary == "user ada"


@pytest.mark.parametrize(
    ("root", "said", "reason"),
    [
        ("maybe", "tool: /x: Permission denied", Reason.NO_PRIVILEGE),
        ("maybe", "E: are you root?", Reason.NO_PRIVILEGE),
        ("needed", "this must be run as root", Reason.NO_PRIVILEGE),
        ("maybe", "no such thing", Reason.EXIT_CODE),
        ("never", "tool: /x: Permission denied", Reason.EXIT_CODE),
    ],
)
def test_who_may_need_root_is_told_so(root, said, reason):
    result = result_of(exit_code=1, stderr=said, root=root)
    assert result.reason is reason
    assert ("run_as: root" in result.summary) is (reason is Reason.NO_PRIVILEGE)


def test_a_tool_has_its_own_words_for_a_missing_right():
    rule = {"match": "denied", "reason": "refused_by_device", "say": "locked"}
    result = result_of(exit_code=1, stderr="Permission denied", root="maybe", errors=[rule])
    assert result.summary == "locked"
