"""From ledger rows to a Celery chain (pure: builds, sends nothing)."""

from celery import Celery, Signature, chain

from app.store.ledger import Link, Sending
from queues import RUN_STEP


def build_links(sending: Sending, celery: Celery) -> list[Signature]:
    """One immutable signature for each row of the run: ids on the wire, nothing else."""
    return [_build_link(link, sending, celery) for link in sending.run]


def build_chain(sending: Sending, celery: Celery) -> Signature:
    """The run as Celery's own chain; a run of one row is its single signature."""
    links = build_links(sending, celery)
    return links[0] if len(links) == 1 else chain(*links, app=celery)


def _build_link(link: Link, sending: Sending, celery: Celery) -> Signature:
    return Signature(
        RUN_STEP,
        args=(link.step_id, link.attempt),
        immutable=True,
        app=celery,
        options={
            "queue": link.queue,
            # For Flower only: no worker reads them.
            "shadow": f"{link.tool}.{link.operation}",
            "argsrepr": f"{sending.plan_name} {link.position} x{sending.targets}",
        },
    )
