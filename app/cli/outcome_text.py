"""An execution's end in words: the tool's own text for one step, a table for many."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.cli.board import tell_reason
from app.cli.interrupted import note_interrupted
from app.cli.output import cell, note, print_output, print_table, print_text
from app.cli.waits import tell_waits
from app.outcome import UNSUCCESSFUL
from app.step import State


def print_steps(execution: Mapping[str, Any]) -> None:
    """A table of the steps, then what went wrong, target by target."""
    rows = [
        [
            step["position"],
            step["id"],
            f"{step['tool']} {step['operation']}",
            step["state"],
            len(step["results"]),
            _longest(step),
            step["summary"],
        ]
        for step in execution["steps"]
    ]
    print_table(["#", "step", "tool", "state", "targets", "seconds", "summary"], rows)
    for step in execution["steps"]:
        note_failures(step)
    for line in tell_waits(execution["steps"]):
        note(line)
    note_interrupted(execution)


def print_tool_text(step: Mapping[str, Any], order: Sequence[str] = ()) -> None:
    """What the tool gave on its one target, or a table over its targets.

    `order` is that of the tool's output fields.
    """
    results = step["results"]
    if len(results) == 1:
        _print_result(results[0], order)
    else:
        rows = [[row["target"], row["state"], row["reason"], row["summary"]] for row in results]
        print_table(["target", "state", "reason", "summary"], rows)
    note_failures(step)


def print_results(step: Mapping[str, Any]) -> None:
    """What each target gave, one after the other."""
    for result in step["results"]:
        note(f"{step['tool']} on {result['target'] or 'the farm'}: {result['state']}")
        _print_result(result)
    note_failures(step)


def note_failures(step: Mapping[str, Any]) -> None:
    """What went wrong, on standard error, with the last words of the tool."""
    for result in step["results"]:
        if result["state"] not in UNSUCCESSFUL:
            continue
        on = f" on {result['target']}" if result["target"] else ""
        reason = tell_reason(result["reason"], result["stopped"])
        summary = result["summary"] if result["summary"] != result["reason"] else ""
        words = f": {cell(summary)}" if summary else ""
        note(f"step {step['position']} ({step['tool']}){on}: {result['state']}{reason}{words}")
        for line in result["stderr_tail"].splitlines():
            note(f"  {line}")


def _print_result(result: Mapping[str, Any], order: Sequence[str] = ()) -> None:
    """Typed output as a table, the tool's own text as it is, else its summary."""
    output = result["output"]
    if output not in (None, "", [], {}):
        print_output(output, order)
    elif result["stdout_tail"]:
        print_text(result["stdout_tail"])
    elif result["state"] == State.SUCCEEDED:
        print_text(result["summary"])
    for artifact in result["artifacts"]:
        note(f"artifact {artifact['id']}: {artifact['name']}, {artifact['size_bytes']} bytes")


def _longest(step: Mapping[str, Any]) -> str:
    durations = [row["duration_s"] for row in step["results"] if row["duration_s"] is not None]
    return f"{max(durations):.1f}" if durations else ""
