"""Where a step runs: its queue, and whether any worker there has what it needs (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.step import Target
from app.surroundings import Draft, Scene
from app.worker_offer import LIVE_S, WorkerOffer
from queues import Domain

#: What stands for every network interface of a host (pcap(3)).
ANY = "any"


def find_queue(draft: Draft, scene: Scene) -> str:
    """The queue of a step; notes a fault for a `vantage` that cannot be."""
    vantage = draft.step.vantage
    if vantage is not None and draft.tool.domain is not Domain.NETWORK:
        draft.faults.add(
            "vantage",
            "vantage_not_taken",
            f"{draft.name} belongs to {draft.tool.domain}: only network steps have a vantage",
            given=vantage,
            hint="leave `vantage` out",
        )
        vantage = None
    capture = "net_raw" in draft.operation.needs.capabilities
    return scene.rules.routing.queue_for(draft.tool.domain, capture=capture, vantage=vantage)


def find_needs(
    draft: Draft, parameters: Mapping[str, Any], targets: Sequence[Target]
) -> dict[str, Any]:
    """What a worker must have for a step; what runs elsewhere needs no program of its own."""
    needs = draft.operation.needs
    on_worker = draft.operation.at == "worker" or any(t.asset_id is None for t in targets)
    interface = parameters.get(needs.interface) if needs.interface and on_worker else None
    return {
        "programs": list(needs.programs) if on_worker else [],
        "capabilities": list(needs.capabilities),
        "interface": interface,
        "vantage": draft.step.vantage,
    }


def check_capabilities(draft: Draft, queue: str, needs: Mapping[str, Any], scene: Scene) -> None:
    """Note a fault for what no worker of the queue has offered in 24 h, warn of what is absent."""
    if scene.offers is None:
        return
    serving = [offer for offer in scene.offers if queue in offer.queues]
    vantage = draft.step.vantage
    if vantage is not None and not serving:
        hosts = sorted({o.host for o in scene.offers if o.pool == "capture"})
        message = f"no worker on {vantage!r} has served {queue} in the last 24 h"
        draft.faults.add("vantage", "no_worker", message, given=vantage, allowed=hosts)
        return
    wanted = [*needs["capabilities"], *needs["programs"]]
    for name in wanted:
        offering = [offer for offer in serving if _offers(offer, name)]
        if not offering:
            draft.faults.add(
                "tool",
                "no_capability",
                f"no worker has offered {name} in the last 24 h",
                given=draft.name,
                allowed=_offered(serving),
                hint=f"start a worker for queue {queue} on a host that has {name}",
            )
        elif not any(map(_is_present, offering)):
            away = ", ".join(sorted({offer.name for offer in offering}))
            scene.warn(f"{draft.name} waits: {name} is absent now (seen on {away})")
    _check_interface(draft, serving, needs, scene)
    if not wanted and not any(map(_is_present, serving)):
        scene.warn(f"{draft.name} waits: no worker serves the queue {queue} now")


def _check_interface(
    draft: Draft, serving: Sequence[WorkerOffer], needs: Mapping[str, Any], scene: Scene
) -> None:
    """As for programs: no worker knows the network interface, or only one that is away."""
    name = needs["interface"]
    if name is None:
        return
    offering = [o for o in serving if name in o.interfaces or (name == ANY and o.interfaces)]
    if not offering:
        draft.faults.add(
            f"parameters.{draft.operation.needs.interface}",
            "no_capability",
            f"no worker has offered the network interface {name} in the last 24 h",
            given=name,
            allowed=sorted({each for offer in serving for each in offer.interfaces}),
            hint="`vantage` names the host to run on",
        )
    elif not any(map(_is_present, offering)):
        away = ", ".join(sorted({offer.name for offer in offering}))
        scene.warn(f"{draft.name} waits: {name} is absent now (seen on {away})")
    elif len(offering) < len(serving):
        hosts = " or ".join(sorted({offer.host for offer in offering}))
        scene.warn(f"{draft.name} may come to a host without {name}; say `vantage: {hosts}`")


def _offers(offer: WorkerOffer, name: str) -> bool:
    return name in offer.capabilities or name in offer.programs


def _offered(serving: Sequence[WorkerOffer]) -> list[str]:
    return sorted({name for o in serving for name in (*o.capabilities, *o.programs)})


def _is_present(offer: WorkerOffer) -> bool:
    return not offer.stopped and offer.seconds_ago <= LIVE_S
