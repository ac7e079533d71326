"""The lab by hand: start parts of it, say how to use them, and end them all at Ctrl-C.

Use: python -m tests.lab.main [PART | PART=COUNT] ...
"""

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.lab.parts import PARTS
from tests.lab.warden import guarded

DEFAULT = ("hosts=2", "postgres", "redis", "smtp", "http")
TICK_S = 0.5
#: Parts that make namespaces.
NEED_ROOT = {"hosts", "engine"}


def main(words: list[str]) -> int:
    """Give the exit status: 2 for words that are no parts."""
    wanted = [word.partition("=") for word in words or DEFAULT]
    if fault := _fault(wanted):
        print(fault, file=sys.stderr)
        return 2
    # Ctrl-C is for us; what we start inherits the mask and is ended in turn.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with guarded() as warden, ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="opsfarm-lab-"))
        warden.remove(folder)
        folder.chmod(0o711)  # servers that do not run as root pass through it
        for name, _, count in wanted:
            _start(stack, name, int(count or 1), folder)
        print("Ctrl-C ends all of it.", flush=True)
        while signal.sigtimedwait({signal.SIGINT}, TICK_S) is None:
            pass  # SIGTERM may have come to another thread; its handler runs here
        print("\nending ...", flush=True)
    return 0


def _start(stack: ExitStack, name: str, count: int, folder: Path) -> None:
    began = time.monotonic()
    own = folder / name
    own.mkdir()
    lines = stack.enter_context(PARTS[name](own, count))
    print(f"{name} ({time.monotonic() - began:.1f} s)", flush=True)
    for line in lines:
        print(f"    {line}", flush=True)


def _fault(wanted: list[tuple[str, str, str]]) -> str:
    for name, _, count in wanted:
        if name not in PARTS:
            return f"there is no part {name!r}; there are: {', '.join(PARTS)}"
        if count and not (count.isdecimal() and int(count) > 0):
            return f"{name}={count}: a count is a number from 1"
        if name in NEED_ROOT and os.geteuid() != 0:
            return f"{name} needs root: it makes namespaces"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
