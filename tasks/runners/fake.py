"""A runner that records commands and plays back answers: for tests and for trying plans out."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from app.command import Command
from app.errors import StepError, Stopped
from app.step import Credential, Target
from tasks.runners.base import RawOutput, StepControl
from tasks.runners.checks import refuse_stopped


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked for."""

    command: Command
    target: Target
    credential: Credential | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What will happen: an output after a while, or an error before the effect."""

    raw: RawOutput = field(default_factory=lambda: RawOutput(exit_code=0))
    takes_s: float = 0.0
    error: StepError | None = None


class FakeRunner:
    """Answers each call in order with the next of `answers`, or with what `answer` makes of it.

    The last answer repeats. Safe to use from many threads.
    """

    def __init__(
        self,
        answers: Sequence[Answer] = (Answer(),),
        answer: Callable[[Call], Answer] | None = None,
    ) -> None:
        self._answers = list(answers)
        self._answer = answer
        self._lock = threading.Lock()
        #: Every call so far, in order.
        self.calls: list[Call] = []
        self.closed = False

    def run(
        self,
        command: Command,
        target: Target,
        credential: Credential | None,
        control: StepControl,
    ) -> RawOutput:
        """Record the call and play back its answer as a real runner would."""
        answer = self._next(Call(command, target, credential))
        refuse_stopped(control)
        if answer.error is not None:
            raise answer.error
        control.before_effect()
        started = time.monotonic()
        for name, data in (("stdout", answer.raw.stdout), ("stderr", answer.raw.stderr)):
            for line in data.decode(errors="replace").splitlines():
                control.on_line(name, line)
        ended = replace(answer.raw, stopped="verified", exit_code=None)
        run_for_s = answer.takes_s if command.run_for_s is None else command.run_for_s
        if control.cancelled.wait(min(answer.takes_s, run_for_s, control.seconds_left)):
            raise Stopped("stopped on request", verified=True)
        took_s = time.monotonic() - started
        if not control.seconds_left:
            return replace(ended, timed_out=True, duration_s=took_s)
        if run_for_s < answer.takes_s:
            return replace(ended, ran_its_time=True, duration_s=took_s)
        return replace(answer.raw, duration_s=took_s)

    def close(self) -> None:
        """Nothing is kept; remembers that it was asked."""
        self.closed = True

    def _next(self, call: Call) -> Answer:
        with self._lock:
            self.calls.append(call)
            if self._answer is not None:
                return self._answer(call)
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
