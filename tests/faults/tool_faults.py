"""Faults of tools: killed, crashing, deaf, forking, endless; and on a real host over SSH."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.plans import OWN_HOSTS
from tests.faults.world import ROGUES


def kill_tools(arena: Arena) -> None:
    """Kill tools at work, not their workers."""
    for _ in range(5):
        begun = [trace for trace in arena.world.traces() if trace.kind == "begin"]
        ended = {trace.pid for trace in arena.world.traces() if trace.kind == "end"}
        for trace in begun[-10:]:
            if trace.pid not in ended and is_tool(trace.pid, arena.world.path):
                with suppress(ProcessLookupError):
                    os.kill(trace.pid, signal.SIGKILL)
        time.sleep(0.2)


def is_tool(pid: int, world: Path) -> bool:
    """Whether that process is a tool of this world now."""
    try:
        return str(world).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def run_rogues(arena: Arena) -> None:
    """Tools that crash, will not end, leave children behind and write without end."""
    for number, name in enumerate(ROGUES):
        tag = f"rogue-{name}-{arena.seed}"
        parameters = {"world": str(arena.world.path), "step": f"{tag}/s0"}
        step = {"tool": "rogue", "operation": name, "id": "s0", "parameters": parameters}
        arena.submit({"name": tag, "steps": [step | {"targets": OWN_HOSTS[number]}]})
    arena.wait_until(lambda: not _open_rogues(arena), 20)
    left = [t.pid for t in arena.world.traces() if is_tool(t.pid, arena.world.path)]
    alive = [t for t in arena.world.traces() if t.pid in left and "rogue-" in t.step]
    arena.note(*(f"{trace.step} left process {trace.pid} behind" for trace in alive))


def _open_rogues(arena: Arena) -> list[int]:
    rows = arena.read().rows
    return [r["id"] for r in rows if "rogue-" in r["plan"] and r["state"] in {"queued", "running"}]
