"""What a worker says it can do (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: A worker counts as up this long after its last heartbeat.
LIVE_S = 30.0
#: What a worker offered counts as known this long after it was last seen.
REMEMBERED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class WorkerOffer:
    """One worker process: where it is, what it serves and what it has."""

    name: str
    host: str
    pool: str
    queues: tuple[str, ...]
    slots: int
    #: Program to version ("" where it tells none), e.g. {"nmap": "7.93"}.
    programs: Mapping[str, str] = field(default_factory=dict)
    #: e.g. ("net_raw",).
    capabilities: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    #: Since its last sign of life.
    seconds_ago: float = 0
    #: It said goodbye: an orderly stop, so that it is not up now whatever `seconds_ago` says.
    stopped: bool = False
