"""A worker that can do everything, where a test wants none to run."""

from app.worker_offer import WorkerOffer
from queues import Pool, Routing

PROGRAMS = ("df", "ping", "nmap", "tcpdump", "setpriv")


def everything(name: str, host: str, routing: Routing) -> WorkerOffer:
    """What it says of itself: all queues, all programs, raw sockets."""
    queues = [queue for pool in Pool for queue in routing.queues_of(pool, host)]
    return WorkerOffer(
        name=name,
        host=host,
        pool="all",
        queues=tuple(dict.fromkeys(queues)),
        slots=4,
        programs=dict.fromkeys(PROGRAMS, ""),
        capabilities=("net_raw", "net_admin"),
        interfaces=("lo",),
    )
