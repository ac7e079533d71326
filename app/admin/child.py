"""One process that the supervisor keeps alive."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.admin.state import ProcessState, ProcessStatus
from queues import NOT_POSSIBLE, REFUSED

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
#: Having run this long, a process starts with the short pause again.
STEADY_S = 60.0


@dataclass(slots=True)
class Child:
    """A command, its surroundings, and what became of it. Start it from the main thread.

    (A child gets its death signal when the thread that started it ends.)
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str]
    #: What ends it in order.
    stop_signal: signal.Signals = signal.SIGTERM
    #: What it gets when the supervisor dies without a word.
    death_signal: signal.Signals = signal.SIGKILL
    state: ProcessState = ProcessState.STOPPED
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    note: str = ""
    _pause_s: float = field(default=FIRST_PAUSE_S, init=False)
    _start_again_at: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start it now, its output at the end of its log."""
        _keep_one_old(self.log)
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(  # noqa: S603  # the Procfile's and our own argv
                [*_die_with_parent(self.argv, self.death_signal)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(self.env),
            )
        self.state, self.note = ProcessState.RUNNING, ""
        self.started_at = time.time()

    def watch(self) -> bool:
        """Note an end, start it again when its pause is over. True when something changed."""
        if self.state is ProcessState.RUNNING:
            return self._note_end()
        if self.is_paused and time.monotonic() >= self._start_again_at:
            self.restarts += 1
            self.start()
            return True
        return False

    def ask_to_end(self) -> None:
        """Send the signal that ends it in order; it is not started again."""
        if self.state is not ProcessState.NOT_POSSIBLE:
            self.state = ProcessState.STOPPED
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)

    def kill(self) -> None:
        """End it now."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def is_paused(self) -> bool:
        """Whether it is started again when its pause is over."""
        return self.state in {ProcessState.RESTARTING, ProcessState.REFUSED}

    @property
    def ended(self) -> bool:
        """Whether no process of it is left."""
        return self.process is None or self.process.poll() is not None

    @property
    def status(self) -> ProcessStatus:
        """As others see it."""
        pid = None if self.process is None or self.ended else self.process.pid
        return ProcessStatus(
            self.name, self.state, pid, self.started_at, self.restarts, note=self.note
        )

    def _note_end(self) -> bool:
        code = self.process.poll() if self.process else None
        if code is None:
            return False
        last = last_line(self.log)
        if code == NOT_POSSIBLE:
            self.state, self.note = ProcessState.NOT_POSSIBLE, last
            return True
        if time.time() - self.started_at > STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        self.state, self.note = ProcessState.RESTARTING, f"ended with {_describe(code)}: {last}"
        if code == REFUSED:
            self.state, self.note = ProcessState.REFUSED, last
        self._start_again_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return True


def last_line(log: Path, longest: int = 300) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - 4096))
            lines = source.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip()[:longest] for line in reversed(lines) if line.strip()), "")


def _keep_one_old(log: Path, largest: int = 20_000_000) -> None:
    if log.exists() and log.stat().st_size > largest:
        log.replace(log.with_suffix(".log.old"))


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _die_with_parent(argv: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """Let the kernel end it when we die; without setpriv the next start ends what was left."""
    if shutil.which("setpriv") is None:
        return list(argv)
    rule = f"--pdeathsig={death_signal.name.removeprefix('SIG')}"
    # Last before the program: changing user or namespace would take the rule back.
    if argv[0] in {"setpriv", "unshare"}:
        place = next(i for i, word in enumerate(argv) if i and not word.startswith("-"))
        return [*argv[:place], "setpriv", rule, *argv[place:]]
    return ["setpriv", rule, *argv]


def is_running(status: ProcessStatus) -> bool:
    """Whether that very process still lives (its number may have a new owner by now)."""
    if status.pid is None:
        return False
    try:
        fields = Path(f"/proc/{status.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    if fields[0] == "Z":
        return False
    ticks = os.sysconf("SC_CLK_TCK")
    booted_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return abs(booted_at + int(fields[19]) / ticks - status.since) < 2.0  # noqa: PLR2004  # clock steps


def end_leftovers(left: Sequence[ProcessStatus], patience_s: float = 10.0) -> None:
    """End the processes of a supervisor that died without ending them."""
    living = [each for each in left if is_running(each)]
    for each in living:
        server = each.name in {"postgres", "redis"}
        _signal(each, signal.SIGINT if server else signal.SIGKILL)
    deadline = time.monotonic() + patience_s
    while any(is_running(each) for each in living) and time.monotonic() < deadline:
        time.sleep(0.02)
    for each in living:
        if is_running(each):
            _signal(each, signal.SIGKILL)


def _signal(process: ProcessStatus, number: signal.Signals) -> None:
    if process.pid is not None and is_running(process):
        os.kill(process.pid, number)
