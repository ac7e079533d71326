"""What a fault is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    #: Has an arena of its own, for one seed: it takes long, or needs settings of its own.
    alone: bool = False
    #: Those of the farm where it plays alone.
    settings: Mapping[str, str] = field(default_factory=dict)

    def fits(self, broker: str) -> bool:
        """Whether it makes sense where this is the broker ("redis", "redis7", "rabbitmq")."""
        return broker.startswith(self.broker)
