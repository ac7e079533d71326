"""The ledger commits, and the driver says that it failed."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.errors import Unavailable
from app.store import deadletters, decisions, ledger, outbox

#: Every module that speaks to the ledger's functions.
_SPEAKERS = (ledger, outbox, decisions, deadletters)
#: Of the answers that follow a function's first one.
SHARE = 0.2


def lose_answers(log: Path) -> Callable[[], None]:
    """Lose the first answer of each function and one in five of the others.

    The names of those that were lost are appended to `log`. Gives what ends it.
    """
    dice, lock, told = random.Random(os.getpid()), threading.Lock(), set[str]()
    work = ledger.call

    def lossy(connection: Any, function: str, *arguments: Any) -> Any:
        answer = work(connection, function, *arguments)
        with lock:
            is_first = function not in told
            told.add(function)
            lost = is_first or dice.random() < SHARE
        if lost:
            with log.open("a") as names:
                names.write(function + "\n")
            raise Unavailable(f"the answer of {function} was lost on its way")
        return answer

    _speak_by(lossy)
    return lambda: _speak_by(work)


def _speak_by(call: Callable[..., Any]) -> None:
    for speaker in _SPEAKERS:
        speaker.call = call


def lost_of(log: Path) -> set[str]:
    """The functions whose answers were lost so far."""
    return set(log.read_text().split()) if log.exists() else set()
