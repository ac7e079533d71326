"""Names that travel through the broker: the task, the domains, their queues and pools.

The leaf of the import graph. Nothing here reads the environment: the prefix and
the overrides come in as a `Routing` that `app.config` builds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

#: The only Celery task there is. Its arguments are `(step_id, attempt)`.
RUN_STEP = "opsfarm.run_step"


class Domain(StrEnum):
    """Who a tool belongs to; the first folder under `tool_catalog/tools/`."""

    COMMS = "comms"
    ASSET = "asset"
    NETWORK = "network"
    AUTOMATION = "automation"


class Pool(StrEnum):
    """A group of worker processes that serve the same queues."""

    COMMS = "comms"
    ASSET = "asset"
    NETWORK = "network"
    CAPTURE = "capture"
    AUTOMATION = "automation"


#: Exit status of a pool that its host cannot serve: a supervisor does not start it again.
NOT_POSSIBLE = 77
#: Exit status of a process whose settings, policy or tool files are wrong (sysexits.h: EX_CONFIG).
REFUSED = 78

#: What a tool file may state as `execution_location`, and the domain it means.
EXECUTION_LOCATIONS: Mapping[str, Domain] = {
    "communication-service": Domain.COMMS,
    "asset-service": Domain.ASSET,
    "network-analyzer-service": Domain.NETWORK,
    "automation-service": Domain.AUTOMATION,
}

#: The queue of steps that open raw sockets, on any host that can.
CAPTURE = "network.capture"


@dataclass(frozen=True, slots=True)
class Routing:
    """Which queue name stands for which domain on this farm."""

    prefix: str = ""
    #: Domain name (or "network.capture") to queue name, before the prefix.
    overrides: Mapping[str, str] = field(default_factory=dict)

    def queue_for(
        self, domain: Domain, *, capture: bool = False, vantage: str | None = None
    ) -> str:
        """The queue of a step: its domain's, or a capture queue, pinned when a host is named."""
        if not capture and vantage is None:
            return self._named(domain.value)
        return self._named(CAPTURE) + (f".{vantage}" if vantage else "")

    def queues_of(self, pool: Pool, host: str) -> tuple[str, ...]:
        """The queues that a pool's workers on `host` consume."""
        if pool is Pool.CAPTURE:
            return (self._named(CAPTURE), f"{self._named(CAPTURE)}.{host}")
        return (self._named(pool.value),)

    def _named(self, name: str) -> str:
        return self.prefix + self.overrides.get(name, name)
