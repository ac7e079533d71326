"""command with real programs of this host."""

import pytest

from app.step import State
from tool_catalog.model import Reason


@pytest.mark.proves("command", "run")
def test_every_item_is_one_argument_and_no_shell_reads_it(bench, tmp_path):
    words = ["two words", "$(touch /tmp/never)", "*", ";", "-n", "", "line\nbreak"]
    given = {"argv": ["printf", "<%s>", *words]}
    result = bench.run("command", "run", given).result
    assert result.state is State.SUCCEEDED
    assert result.output == "".join(f"<{word}>" for word in words)


def test_it_changes_what_it_was_told_to(bench, tmp_path):
    planted = tmp_path / "a file with spaces"
    result = bench.run("command", "run", {"argv": ["touch", str(planted)]}).result
    assert (result.state, result.changed) == (State.SUCCEEDED, True)
    assert planted.exists()


def test_standard_input_reaches_the_program(bench):
    given = {"argv": ["sort", "-u"], "stdin": "pear\napple\npear\n"}
    assert bench.run("command", "run", given).result.output == "apple\npear\n"


def test_a_failing_program_fails_the_step_with_its_last_words(bench, tmp_path):
    given = {"argv": ["ls", str(tmp_path / "missing")]}
    result = bench.run("command", "run", given).result
    assert (result.state, result.reason, result.exit_code) == (State.FAILED, Reason.EXIT_CODE, 2)
    assert "No such file or directory" in result.summary


def test_a_program_that_is_not_there_is_told(bench):
    result = bench.run("command", "run", {"argv": ["no-such-program"]}).result
    assert (result.state, result.reason) == (State.FAILED, Reason.MISSING_PROGRAM)
    assert "no-such-program is not installed" in result.summary
