"""Waiting for something outside of this process, which tells nobody when it happens."""

import time
from collections.abc import Callable
from typing import Any

WAIT_S = 60
POLL_S = 0.02


def wait_until(
    happened: Callable[[], Any],
    what: str | Callable[[], str] = "it did not happen",
    timeout_s: float = WAIT_S,
) -> Any:
    """Poll until `happened` gives something true, and give that; `what` tells what is missing."""
    deadline = time.monotonic() + timeout_s
    while not (found := happened()):
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(POLL_S)
    return found
