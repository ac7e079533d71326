"""`python -m tests.faults.process POOL`: a real process of the farm that can be made to break.

The hosts of the fake world are no machines: a step on one runs here, with the host's name in
its environment. Where a trigger file lies, the process breaks at that point, once.
"""

import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.errors import Unavailable
from app.store import ledger, outbox
from tasks import workshop
from tasks.runners.local import LocalRunner
from tasks.runners.table import make_runners
from workers.__main__ import main

#: Where this process may be told to die (by a trigger file of that name).
POINTS = ("before_claim", "after_claim", "after_arm", "after_effect", "after_finish")
#: The folder of trigger files.
TRIGGERS = "FAULT_TRIGGERS"
#: The share of the ledger's answers that are lost after the commit.
LOST_ANSWERS = "FAULT_LOST_ANSWERS"


def take_trigger(name: str) -> bool:
    """Whether a fault was asked for here; each trigger is taken by one process only."""
    try:
        Path(os.environ[TRIGGERS], name).unlink()
    except FileNotFoundError:
        return False
    return True


def die_at(point: str) -> None:
    """End like a machine that lost its power, if that was asked for."""
    if take_trigger(point):
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, *, before: str | None = None, after: str | None = None) -> None:
    """Let a method die before or after its work."""
    work: Callable[..., Any] = getattr(owner, name)

    def broken(*args: Any, **kwargs: Any) -> Any:
        if before:
            die_at(before)
        answer = work(*args, **kwargs)
        if after:
            die_at(after)
        return answer

    setattr(owner, name, broken)


class FakeHost(LocalRunner):
    """A host of the fake world."""

    def run(self, command: Any, target: Any, credential: Any, control: Any) -> Any:
        """Run it here, under the host's name."""
        command = replace(command, env={**command.env, "FAKE_HOST": target.name})
        raw = super().run(command, target, credential, control)
        die_at("after_effect")
        return raw


def make_fake_runners(settings: Any) -> dict[str, Any]:
    """Every connection leads into the fake world."""
    runners = make_runners(settings)
    fake = FakeHost(settings.state_dir.absolute() / "run")
    return dict.fromkeys(runners, fake)


def lose_answers(share: float) -> None:
    """Let the ledger commit and then say that it failed."""
    dice = random.Random(os.getpid())
    work = ledger.call

    def lossy(connection: Any, function: str, *arguments: Any) -> Any:
        answer = work(connection, function, *arguments)
        if dice.random() < share:
            raise Unavailable("the answer was lost on its way")
        return answer

    ledger.call = lossy
    outbox.call = lossy


def break_things() -> None:
    """Install every fault that may be asked for."""
    wrap(ledger.Ledger, "claim_step", before="before_claim", after="after_claim")
    wrap(ledger.Ledger, "arm_step", after="after_arm")
    wrap(ledger.Ledger, "finish_step", after="after_finish")
    workshop.make_runners = make_fake_runners
    if share := float(os.environ.get(LOST_ANSWERS, "0")):
        lose_answers(share)


if __name__ == "__main__":
    break_things()
    sys.exit(main(sys.argv[1:]))
