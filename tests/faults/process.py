"""`python -m tests.faults.process POOL`: a real process of the farm that can be made to break.

The hosts of the fake world are no machines: a step on one runs here, with the host's name in
its environment; only the host FAR is reached over SSH. Where a trigger file lies, the process
breaks at that point, once.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.store.ledger import Ledger
from tasks import workshop
from tasks.runners.local import LocalRunner
from tasks.runners.ssh import SshRunner
from tasks.runners.table import make_runners
from tests.faults.lossy import lose_answers
from workers.__main__ import main

#: Where this process may be told to die (by a trigger file of that name).
POINTS = ("before_claim", "after_claim", "after_arm", "after_effect", "after_finish")
#: The folder of trigger files.
TRIGGERS = "FAULT_TRIGGERS"
#: A file: the ledger's answers are lost, and which they were is written there.
LOST_ANSWERS = "FAULT_LOST_ANSWERS"
#: The host that is reached over SSH.
FAR = "far-host"


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


class Crossroads(SshRunner):
    """SSH to the one host that there is; the others are fake."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self._fake = FakeHost(scratch)

    def run(self, command: Any, target: Any, credential: Any, control: Any) -> Any:
        """Run it there, under the host's name."""
        if target.name != FAR:
            return self._fake.run(command, target, credential, control)
        command = replace(command, env={**command.env, "FAKE_HOST": FAR})
        return super().run(command, target, credential, control)


def make_fake_runners(settings: Any) -> dict[str, Any]:
    """Every connection leads into the fake world."""
    scratch = settings.state_dir.absolute() / "run"
    runners: dict[str, Any] = dict.fromkeys(make_runners(settings), FakeHost(scratch))
    return runners | {"ssh": Crossroads(scratch)}


def break_things() -> None:
    """Install every fault that may be asked for."""
    wrap(Ledger, "claim_step", before="before_claim", after="after_claim")
    wrap(Ledger, "arm_step", after="after_arm")
    wrap(Ledger, "finish_step", after="after_finish")
    workshop.make_runners = make_fake_runners
    if lost := os.environ.get(LOST_ANSWERS):
        lose_answers(Path(lost))


if __name__ == "__main__":
    break_things()
    sys.exit(main(sys.argv[1:]))
