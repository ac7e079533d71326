"""What a fault is."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.arena import Arena


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to hurt a farm."""

    name: str
    run: Callable[[Arena], None]
    #: Only where this is the broker: "redis" or "rabbitmq"; both when empty.
    broker: str = ""
    #: Part of the fast set of `make test`.
    fast: bool = False
    #: Plans do not meet on hosts: nothing has a reason to be published twice.
    apart: bool = False
    #: How many plans it needs at least to fall among them.
    plans: int = 16
    #: Takes so long that one seed is enough, and that it has an arena of its own.
    alone: bool = False

    def fits(self, broker: str) -> bool:
        """Whether it makes sense where this is the broker ("redis", "redis7", "rabbitmq")."""
        return broker.startswith(self.broker)
