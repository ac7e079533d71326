"""What came back from a runner becomes a step's result (pure).

Nothing here removes secrets: `tasks.scrub` does, over the whole result.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from app.json_text import make_storable
from app.observe.redact import TELLING_NAMES
from app.step import State, StepResult
from tasks.http_status import FAILS_FOR_NOW, MAY_HAVE_ACTED, reason_of, show_status
from tasks.parsers.base import ParseError, cut
from tasks.parsers.fields import pick_fields
from tasks.parsers.table import nothing, parse
from tasks.runners.base import RawOutput
from tool_catalog.model import Effect, ErrorRule, Operation, Outcome, Reason

#: What is kept inline of an output, as JSON.
OUTPUT_BYTES = 256 * 1024
TAIL_CHARACTERS = 2000
_SUMMARY_CHARACTERS = 300
_SUMMARY_FIELDS = 4

#: Reasons that may pass by themselves.
_TRANSIENT = frozenset({Reason.UNREACHABLE, Reason.TIMEOUT})

#: What programs say to who is not root, where their tool file has no words of its own for it.
_NOT_ROOT = re.compile(
    r"(?i)permission denied|operation not permitted|access denied|must be (run as )?root"
    r"|are you root|only root|need to be root|superuser|insufficient (permissions|privileges)"
)
_TELLING = re.compile(rf"(?i){TELLING_NAMES}$")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def interpret(operation: Operation, parameters: Mapping[str, Any], raw: RawOutput) -> StepResult:
    """The result of an operation: first time-out, then its error rules, exit codes and parser.

    The output of an artifact operation is `{"artifact": None, ...}` until the file is stored.
    """
    answer = _Answer(operation, raw)
    if raw.timed_out:
        return _timed_out(answer)
    for rule in operation.errors:
        found = re.search(rule.match, answer.where(rule.where), re.MULTILINE)
        if found:
            return answer.failed(rule.reason, _say(rule, parameters, found))
    outcome = answer.outcome
    if outcome == "failed":
        return _refused(answer) if raw.status else _failed(answer)
    try:
        output = _read(answer, outcome)
    except ParseError as error:
        read = f"{error} (only the first {len(raw.stdout):,} bytes were read)"
        why = read if raw.truncated else str(error)
        return answer.failed(Reason.INVALID_OUTPUT, why)
    return answer.succeeded(output, outcome)


class _Answer:
    """One raw output, decoded, on its way to a result."""

    def __init__(self, operation: Operation, raw: RawOutput) -> None:
        self.operation = operation
        self.raw = raw
        self.stdout = _decode(raw.stdout)
        self.stderr = _decode(raw.stderr)

    @property
    def outcome(self) -> Outcome:
        """What status or exit code says; `run_for`'s end is success, so is 0 unless stated."""
        code = self.raw.exit_code
        if self.raw.status is not None and self.operation.http is not None:
            return "ok" if self.raw.status in self.operation.http.ok else "failed"
        if self.raw.ran_its_time or code == 0:
            return self.operation.exit_codes.get(0, "ok")
        return "failed" if code is None else self.operation.exit_codes.get(code, "failed")

    def where(self, place: str) -> str:
        """The text that an error rule looks at; a body is standard output."""
        return self.stderr if place == "stderr" else self.stdout

    def failed(self, reason: Reason, summary: str, *, unknown: bool = False) -> StepResult:
        """A result that failed."""
        return StepResult(
            state=State.FAILED,
            summary=cut(summary, _SUMMARY_CHARACTERS),
            reason=reason,
            exit_code=self.raw.exit_code,
            stdout_tail=_tail(self.raw.stdout_tail or self.raw.stdout),
            stderr_tail=_tail(self.raw.stderr_tail or self.raw.stderr),
            duration_s=self.raw.duration_s,
            transient=reason in _TRANSIENT or self.raw.status in FAILS_FOR_NOW,
            unknown=unknown,
            stopped=self.raw.stopped if self.raw.timed_out else None,
        )

    def succeeded(self, output: object, outcome: Outcome) -> StepResult:
        """A result that succeeded, with what did not fit said in its summary."""
        fitting, dropped = fit_output(make_storable(output))
        summary = _summarise(fitting, self, outcome)
        cut_short = dropped or (self.raw.truncated and self.operation.output.artifact is None)
        if cut_short:
            summary += " (cut at 256 KiB)"
        return StepResult(
            state=State.SUCCEEDED,
            summary=cut(summary, _SUMMARY_CHARACTERS),
            output=fitting,
            exit_code=self.raw.exit_code,
            changed=self.operation.effect is not Effect.READ,
            stdout_tail=_tail(self.raw.stdout_tail or self.raw.stdout),
            stderr_tail=_tail(self.raw.stderr_tail or self.raw.stderr),
            duration_s=self.raw.duration_s,
            truncated=cut_short,
        )


def _failed(answer: _Answer) -> StepResult:
    """A command that ended as a failure."""
    if answer.operation.root != "never" and _NOT_ROOT.search(answer.stderr):
        words = f"{_failure(answer)}; run it with run_as: root"
        return answer.failed(Reason.NO_PRIVILEGE, words)
    return answer.failed(Reason.EXIT_CODE, _failure(answer))


def _timed_out(answer: _Answer) -> StepResult:
    raw = answer.raw
    gone = "it was ended" if raw.stopped == "verified" else f"it may still run: {raw.remains}"
    return answer.failed(
        Reason.TIMEOUT,
        f"no end within its time; {gone}",
        unknown=answer.operation.effect is not Effect.READ,
    )


def _refused(answer: _Answer) -> StepResult:
    """An answer whose status is none of those that the operation takes for success."""
    status, effect = answer.raw.status or 0, answer.operation.effect
    return answer.failed(
        reason_of(status),
        show_status(status, answer.raw.headers, answer.stdout),
        unknown=status in MAY_HAVE_ACTED and effect is not Effect.READ,
    )


def _say(rule: ErrorRule, parameters: Mapping[str, Any], found: re.Match[str]) -> str:
    """The rule's words, with parameters and the named groups of its match."""
    known = {**parameters, **{name: text or "" for name, text in found.groupdict().items()}}
    return _PLACEHOLDER.sub(lambda hole: str(known.get(hole[1], hole[0])), rule.say)


def _failure(answer: _Answer) -> str:
    """The last thing a failed command said on standard error, or its exit code."""
    lines = _tail(answer.raw.stderr_tail or answer.raw.stderr).strip().splitlines()
    code = answer.raw.exit_code
    ended = "ended without an exit code" if code is None else f"exit code {code}"
    return f"{ended}: {lines[-1].strip()}" if lines else ended


def _read(answer: _Answer, outcome: Outcome) -> object:
    """The output as its tool file promises it; raises ParseError."""
    declared = answer.operation.output
    if declared.artifact is not None:
        return {"artifact": None, **_stderr_groups(answer)}
    empty = outcome == "empty" and not answer.stdout.strip()
    output = nothing(declared) if empty else parse(answer.stdout, declared)
    if declared.stderr is None:
        return output
    if isinstance(output, dict):
        return {**output, **_stderr_groups(answer)}
    return {"text" if isinstance(output, str) else "rows": output, **_stderr_groups(answer)}


def _stderr_groups(answer: _Answer) -> dict[str, Any]:
    """Named groups of `output.stderr`, of their declared types; none where it does not match."""
    declared = answer.operation.output
    if declared.stderr is None:
        return {}
    found = re.search(declared.stderr, answer.stderr, re.MULTILINE)
    names = list(re.compile(declared.stderr).groupindex)
    groups = dict.fromkeys(names) if found is None else found.groupdict()
    kinds = {name: declared.fields.get(name, "text") for name in names}
    return pick_fields(groups, kinds)


def _summarise(output: object, answer: _Answer, outcome: Outcome) -> str:
    """One useful line."""
    if answer.operation.output.artifact is not None:
        size = f"{answer.operation.output.artifact} of {answer.raw.artifact_bytes:,} bytes"
        return ", ".join([size, *_scalars(output)])
    words = describe(output) or ("nothing found" if outcome == "empty" else "done")
    if outcome != "partial":
        return words
    return f"partial: {words}; {_failure(answer)}"


def describe(output: object) -> str:
    """An output in a few words; "" for nothing."""
    if isinstance(output, list):
        return f"{len(output)} row{'' if len(output) == 1 else 's'}" if output else ""
    if isinstance(output, dict):
        return ", ".join(_scalars(output))
    lines = str(output if output is not None else "").strip().splitlines()
    return cut(lines[0]) if lines else ""


def _scalars(output: object) -> list[str]:
    """The first few plain fields of an object; the length of its lists."""
    if not isinstance(output, dict):
        return []
    told = []
    for name, value in output.items():
        if _TELLING.search(name):
            continue  # without its name beside it nobody would see that it is a secret
        if isinstance(value, list):
            told.append(f"{len(value)} {name}")
        elif isinstance(value, str | int | float) and value != "":
            told.append(f"{name} {cut(str(value), 40)}")
    return told[:_SUMMARY_FIELDS]


def _decode(data: bytes) -> str:
    """Text that PostgreSQL takes: no NUL."""
    return data.decode(errors="replace").replace("\0", "\ufffd")


def _tail(data: bytes) -> str:
    """The end of a stream; whole lines, where there are any: half a line may hide what it is."""
    text = _decode(data)
    if len(text) <= TAIL_CHARACTERS:
        return text
    end = text[-TAIL_CHARACTERS:]
    return end[end.find("\n") + 1 :] or end


def fit_output(output: object) -> tuple[object, bool]:
    """The output within its cap, by dropping rows from the end; and whether any were dropped."""
    if isinstance(output, str):
        text = output.encode()[:OUTPUT_BYTES].decode(errors="ignore")
        return text, len(text) < len(output)
    if _size(output) <= OUTPUT_BYTES:
        return output, False
    if isinstance(output, list):
        return _first_that_fit(output, OUTPUT_BYTES), True
    if isinstance(output, dict):
        name = max(output, key=lambda member: _size(output[member]))
        room = OUTPUT_BYTES - (_size(output) - _size(output[name]))
        member = output[name]
        kept = _first_that_fit(member, room) if isinstance(member, list) else None
        return {**output, name: kept}, True
    return None, True


def _first_that_fit(rows: list[Any], room_bytes: int) -> list[Any]:
    used = 2
    for count, row in enumerate(rows):
        used += _size(row) + 2
        if used > room_bytes:
            return rows[:count]
    return rows


def _size(value: object) -> int:
    return len(json.dumps(value))
