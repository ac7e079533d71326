"""What there is to know about a step whose outcome nobody saw, and the commands to choose from."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from app.cli.output import cell, moment, note
from app.step import Found, State

#: How a person may say that it ended, and what that means.
CHOICES = {
    "succeeded": "it did what it should: the plan goes on",
    "failed": "it did not: the plan stops, or goes on, as it says",
    "retry": "run it once more",
    "skip": "leave it: the plan goes on without it",
    "probe": "have a worker look again, and go by what it sees",
}
#: Rows of one execution whose commands are written out.
_WRITTEN_OUT = 3


def note_interrupted(execution: Mapping[str, Any]) -> None:
    """Say of each interrupted row what speaks for which end, and how to say which it was."""
    rows = list(_interrupted(execution))
    for number, (step, row) in enumerate(rows):
        for line in tell_evidence(row["evidence"], row["stopped"]):
            note(f"  {line}")
        if number < _WRITTEN_OUT:
            note(f"  {_tell_next(row['evidence'].get('probe'))}")
            for choice, meaning in _choices(row["evidence"].get("probe")):
                command = _write_command(execution, step, row, choice)
                note(f"    {command}   # {meaning}")
    if len(rows) > _WRITTEN_OUT:
        note(f"  {len(rows)} rows wait so; 'opsfarm deadletter list' shows all")


def tell_evidence(evidence: Mapping[str, Any], stopped: str | None = None) -> Iterator[str]:
    """Lines `what: value`: when it may have acted, what it said last, what came too late."""
    armed = moment(evidence["armed_at"])
    start = f"attempt {evidence['attempt']} on worker {evidence['worker']}"
    yield f"may have acted: {f'since {armed} UTC, ' if armed else ''}{start}"
    if evidence["lines"]:
        stream, text = evidence["lines"][-1]
        yield f"last output:    {moment(evidence['last_output_at'])} UTC, {stream}: {cell(text)}"
    else:
        yield "last output:    none"
    for late in evidence["late"]:
        said = f"{late['state']}: {cell(late.get('summary'))}"
        yield f"late result:    {moment(late['at'])} UTC, {said}"
    if evidence.get("probe"):
        yield f"its probe:      {_tell_probe(evidence['probe'])}"
    if stopped:
        yield f"stop:           {stopped}"


def _tell_probe(probe: Mapping[str, Any]) -> str:
    """What was found last, and what comes next."""
    found, asked_at = probe["found"], probe.get("asked_at")
    told = []
    if probe.get("at") or not asked_at:
        told = [f"{found} at {moment(probe['at'])} UTC" if probe.get("at") else str(found)]
    if found == Found.NOT_DONE:
        told.append(f"what was begun may still be at work until {moment(probe['counts_at'])} UTC")
    if asked_at:
        told.append(f"asked at {moment(asked_at)} UTC")
    elif probe.get("next_at"):
        told.append(f"asked next at {moment(probe['next_at'])} UTC")
    elif probe.get("due"):
        told.append("asked as soon as a worker is there")
    if probe.get("evidence") is not None:
        told.append(f"seen: {cell(probe['evidence'])}")
    elif probe.get("why"):
        told.append(cell(probe["why"]))
    return ", ".join(told)


def _tell_next(probe: Mapping[str, Any] | None) -> str:
    if _is_open(probe):
        return "what its probe finds settles it; or look at the target, and say how it ended:"
    return "look at the target, then say how it ended:"


def _is_open(probe: Mapping[str, Any] | None) -> bool:
    """Whether the farm has it asked by itself."""
    return bool(probe and (probe.get("asked_at") or probe.get("next_at") or probe.get("due")))


def _choices(probe: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Each way to end it with its meaning; its probe where it has one that is not asked now."""
    asks = probe is not None and not (probe.get("asked_at") or probe.get("due"))
    return [(name, text) for name, text in CHOICES.items() if name != "probe" or asks]


def _interrupted(
    execution: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for step in execution["steps"]:
        for row in step["results"]:
            if row["state"] == State.INTERRUPTED and "evidence" in row:
                yield step, row


def _write_command(
    execution: Mapping[str, Any], step: Mapping[str, Any], row: Mapping[str, Any], choice: str
) -> str:
    """The whole command; `row:` where neither step nor target names the row alone."""
    same = [each for each in step["results"] if each["target"] == row["target"]]
    named = [step["id"]]
    if len(same) > 1:
        named = [f"row:{row['step_id']}"]
    elif len(step["results"]) > 1:
        named += ["--target", row["target"]]
    words = ["opsfarm", "executions", "resolve", execution["execution_id"], *named, "--as", choice]
    return shlex.join(words) + ("" if choice == "probe" else " --reason TEXT")
