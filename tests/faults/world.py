"""The fake world: a file that effects are appended to, and the tools that append them.

What happened stands in this file and nowhere else; the ledger's word is compared with it. Every
line is one write to a file opened for appending: whole, and in the order of what happened.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: An effect between two waits, so that a fault can fall before it, after it and into it.
_SCRIPT = (
    'printf "begin %s %s %s\\n" "$1" "$FAKE_HOST" $$ >> "$0"; sleep "$2";'
    ' printf "effect %s %s %s\\n" "$1" "$FAKE_HOST" $$ >> "$0"; sleep "$3";'
    ' printf "end %s %s %s\\n" "$1" "$FAKE_HOST" $$ >> "$0"; exit "$4"'
)
_OPERATION = """
  {name}:
    summary: {name}
    effect: {effect}
    {repeat}
    takes: [world, step, before, after, exit, canary]
    argv: [sh, -c, '{script}', "{{world}}", "{{step}}", "{{before}}", "{{after}}", "{{exit}}"]
    env: {{CANARY: "{{canary}}"}}
    examples: [{{parameters: {{world: /tmp/w, step: x}}}}]
"""
_HEAD = """
summary: Leave a trace in the fake world
execution_location: automation-service
default: look
parameters:
  world: {type: path, required: true, example: /tmp/w}
  step: {type: string, required: true, example: x}
  before: {type: string, default: "0", example: "0.1"}
  after: {type: string, default: "0", example: "0.1"}
  exit: {type: string, default: "0", example: "0"}
  canary: {type: secret, summary: Must be seen nowhere}
operations:
"""
#: Tools that behave badly; each leaves its process id first, as the effect.
_ROGUES = {
    "segfault": "kill -SEGV $$",
    "deaf": "trap '' TERM INT HUP; sleep 600 & wait; sleep 600",
    "forks": "for n in 1 2 3; do (sleep 600 & sleep 600) & done; wait",
    "gigabyte": "head -c 1000000000 /dev/zero | tr '\\0' x",
}
_ROGUE_HEAD = """
summary: Behave badly
execution_location: automation-service
parameters:
  world: {type: path, required: true, example: /tmp/w}
  step: {type: string, required: true, example: x}
operations:
"""
_ROGUE = """
  {name}:
    summary: {name}
    effect: change
    repeat: never
    timeout_s: 2
    takes: [world, step]
    argv: [sh, -c, '{script}', "{{world}}", "{{step}}"]
    examples: [{{parameters: {{world: /tmp/w, step: x}}}}]
"""
#: Belongs to a domain that has no worker in the arena: its rows wait until a test claims them.
_IDLE = """
summary: Wait for a worker that never comes
execution_location: network-analyzer-service
operations:
  once:
    summary: once
    effect: change
    repeat: never
    argv: ["true"]
    examples: [{parameters: {}}]
"""
#: Operation name to (effect, repeat).
ROGUES = tuple(_ROGUES)
OPERATIONS = {
    "look": ("read", None),
    "once": ("change", "never"),
    "again": ("change", "idempotent"),
    "wipe": ("destroy", "never"),
}


def write_tool(folder: Path) -> None:
    """Put the tool `trace` into a folder of site tools."""
    text = _HEAD
    for name, (effect, repeat) in OPERATIONS.items():
        text += _OPERATION.format(
            name=name,
            effect=effect,
            repeat=f"repeat: {repeat}" if repeat else "",
            script=_SCRIPT.replace("'", "''"),
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trace.yaml").write_text(text)
    (folder / "rogue.yaml").write_text(_write_rogues())
    (folder / "idle.yaml").write_text(_IDLE)


def _write_rogues() -> str:
    text = _ROGUE_HEAD
    for name, misdeed in _ROGUES.items():
        script = 'printf "effect %s %s %s\\n" "$1" "$FAKE_HOST" $$ >> "$0"; ' + misdeed
        text += _ROGUE.format(name=name, script=script.replace("'", "''"))
    return text


@dataclass(frozen=True, slots=True)
class Trace:
    """One line of the world: `kind` is begin, effect or end; `step` is "<plan>/<step id>"."""

    kind: str
    step: str
    host: str
    pid: int


class World:
    """The file, read whole whenever it is asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def traces(self) -> list[Trace]:
        """Everything that happened, in order."""
        lines = (line.split() for line in self.path.read_text().splitlines())
        return [Trace(kind, step, host, int(pid)) for kind, step, host, pid in lines]

    def effects(self) -> Counter[tuple[str, str]]:
        """How often each (step, host) had its effect."""
        return count(trace for trace in self.traces() if trace.kind == "effect")


def count(traces: Iterable[Trace]) -> Counter[tuple[str, str]]:
    """Traces by (step, host)."""
    return Counter((trace.step, trace.host) for trace in traces)
